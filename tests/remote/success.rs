//! What goes well: requests as the wires write them, results as they came, costs as they are.

use std::sync::Arc;

use framewright::domain::film::InputFile;
use framewright::domain::{Clock, JobKind, PictureRole, ProviderKind, RemotePicture, RemoteRequest, UnixMs};
use framewright::execution::remote::generation::generation;
use framewright::execution::{RemoteExecution, RemoteWork};
use framewright::ledger::CallState;
use framewright::media::encode::{PngText, encode_png};
use framewright::providers::aliyun::{Aliyun, Region};
use framewright::providers::minimax::{Minimax, Site};
use framewright::providers::zhipuai::{Authentication, Zhipuai};
use framewright::providers::{self as wires, Account, CreateOptions, Picture, PictureFormat, PictureSource, Provider};
use parking_lot::Mutex;
use secrecy::SecretString;

use crate::providers::{AliyunCloud, MinimaxCloud, Mock, Recorded, ZhipuaiCloud, film as film_bytes, picture};
use crate::stage::{NOW, Stage, completed, film, film_of, id, settings};

/// Holds that a recorded request is what a wire writes.
fn assert_written(provider: &dyn Provider, request: &RemoteRequest, pictures: Vec<Picture>, recorded: &Recorded) {
    let ours = recorded.json()["request_id"].as_str().map(str::to_owned);
    let options = CreateOptions { our_id: ours, callback_url: None };
    let written = wires::create(provider, &request.provider_model, &generation(request, pictures), &options, NOW).unwrap();
    assert_eq!(written.method.as_str(), recorded.method);
    let target =
        written.url.query().map_or_else(|| written.url.path().to_owned(), |query| format!("{}?{query}", written.url.path()));
    assert_eq!(target, recorded.target);
    assert_eq!(written.json(), Some(&recorded.json()));
    for (name, value) in &written.headers {
        assert_eq!(recorded.header(&name.to_ascii_lowercase()), value.expose(), "{name}");
    }
}

fn account(base_url: &str) -> Account {
    Account::new(base_url, SecretString::from("sk-a")).unwrap()
}

#[tokio::test]
async fn a_film_of_aliyun_is_made_fetched_and_paid_for() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let settings = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let progress = told.clone();
    let work = RemoteWork { progress: Arc::new(move |percent| progress.lock().push(percent)), ..Stage::work(&film()) };
    let (result, cost) = completed(stage.executor(&settings).run(work.clone()).await);

    let [artifact] = &result.artifacts[..] else { panic!("{result:?}") };
    assert!(
        artifact.key.starts_with("videos/aliyun_20260102_030405_0_") && artifact.key.strip_suffix(".mp4").is_some(),
        "{}",
        artifact.key
    );
    assert_eq!(stage.storage.get(&artifact.key).await.unwrap(), film_bytes());
    assert_eq!((artifact.width, artifact.height, artifact.seed), (64, 48, 7));
    let video = artifact.video.as_ref().unwrap();
    assert_eq!((video.frames, video.duration_ms, video.codec.as_str()), (12, 500, "h264"));
    for key in [&artifact.thumbnail_key, video.sprite_sheet_key.as_ref().unwrap()] {
        assert!(stage.storage.get(key).await.unwrap().starts_with(&[0xFF, 0xD8, 0xFF]), "{key} is a JPEG");
    }
    assert_eq!(stage.files().len(), 3, "nothing else is left");

    // Ten seconds were asked for; the provider bills five.
    assert_eq!((cost, stage.only_call().await), (500_000, (CallState::Finished, Some(500_000))));
    let call = stage.calls().await.remove(0);
    assert_eq!(call.call.estimated.get(), 1_000_000);
    assert_eq!((call.call.user.as_str(), call.call.key.as_str()), ("ann", "a"));
    let remote_id = call.remote_id.unwrap();
    let manifest = &result.manifest;
    assert_eq!(manifest["remote_task_id"], remote_id);
    assert_eq!(manifest["rewritten_prompt"], "a ship, rewritten");
    assert_eq!(manifest["usage"]["seconds"], 5.0);
    assert_eq!(manifest["cost"], serde_json::json!({ "micros": 500_000, "amount": "0.5", "currency": "EUR" }));
    let links = manifest["original_urls"].as_array().unwrap();
    assert!(links[0].as_str().unwrap().ends_with("?Expires=2&Signature=secret"), "{links:?}");

    let wire = Aliyun::new(account(&format!("{}/api/v1", mock.base())), Region::Beijing, None).unwrap();
    assert_written(&wire, &film(), Vec::new(), &mock.recorded("create")[0]);
    assert_eq!((mock.recorded("create").len(), mock.recorded("poll").len(), mock.recorded("file").len()), (1, 3, 1));
    assert!(mock.recorded("poll").iter().all(|poll| poll.header("authorization") == "Bearer sk-a"));
    assert_eq!(mock.recorded("file")[0].header("authorization"), "", "links are opened without the key");
    let told = told.lock().clone();
    assert!(told.is_sorted() && told[0] == 5 && told.len() >= 3, "{told:?}");
}

#[tokio::test]
async fn a_film_of_minimax_is_behind_a_file() {
    let (stage, mock) = (Stage::new().await, Mock::start(MinimaxCloud).await);
    let request = film_of(ProviderKind::Minimax, "MiniMax-Hailuo-02", Some(6));
    let (result, cost) = completed(stage.run(&settings(&mock, ProviderKind::Minimax, &[("a", None)]), &request).await);
    assert!(result.artifacts[0].key.starts_with("videos/minimax_"));
    // It does not say what it bills: what was asked for counts.
    assert_eq!((cost, stage.only_call().await), (600_000, (CallState::Finished, Some(600_000))));
    let wire = Minimax::new(account(mock.base()), Site::China, None).unwrap();
    assert_written(&wire, &request, Vec::new(), &mock.recorded("create")[0]);
    assert_eq!(mock.recorded("fetch").len(), 1);
}

#[tokio::test]
async fn a_film_of_zhipu_carries_an_id_of_ours() {
    let (stage, mock) = (Stage::new().await, Mock::start(ZhipuaiCloud::default()).await);
    let request = film_of(ProviderKind::Zhipuai, "cogvideox-3", Some(5));
    completed(stage.run(&settings(&mock, ProviderKind::Zhipuai, &[("a", None)]), &request).await);
    let create = &mock.recorded("create")[0];
    assert_eq!(create.json()["request_id"], stage.calls().await[0].call.our_id);
    let wire = Zhipuai::new(account(&format!("{}/api/paas/v4", mock.base())), Authentication::Key).unwrap();
    assert_written(&wire, &request, Vec::new(), create);
}

#[tokio::test]
async fn pictures_come_by_a_task_or_with_the_call() {
    let stage = Stage::new().await;
    let pictures = |kind, model: &str, count| RemoteRequest { output: JobKind::Image, count, ..film_of(kind, model, None) };
    let aliyun = Mock::start(AliyunCloud).await;
    let request = pictures(ProviderKind::Aliyun, "wanx2.1-t2i-turbo", 2);
    let (result, cost) = completed(stage.run(&settings(&aliyun, ProviderKind::Aliyun, &[("a", None)]), &request).await);
    // Two were asked for; one failed, and one is billed.
    assert_eq!((result.artifacts.len(), cost), (1, 20_000));
    let artifact = &result.artifacts[0];
    assert!(artifact.key.starts_with("images/aliyun_") && artifact.key.strip_suffix(".png").is_some(), "{}", artifact.key);
    assert_eq!((artifact.width, artifact.height, artifact.media_type.as_str()), (40, 30, "image/png"));
    assert_eq!(stage.storage.get(&artifact.key).await.unwrap(), picture(), "it is kept as it came");

    let zhipu = Mock::start(ZhipuaiCloud::default()).await;
    let request = pictures(ProviderKind::Zhipuai, "cogview-4", 1);
    let (result, cost) = completed(stage.run(&settings(&zhipu, ProviderKind::Zhipuai, &[("a", None)]), &request).await);
    assert_eq!((result.artifacts.len(), cost), (1, 20_000));
    assert_eq!(result.manifest["remote_task_id"], serde_json::Value::Null);
    assert_eq!(zhipu.recorded("poll").len(), 0);
}

#[tokio::test]
async fn a_picture_that_a_film_begins_with_is_sent_along() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let png = encode_png(400, 400, &vec![90; 400 * 400 * 3], &PngText::default()).unwrap();
    stage.storage.put("parts/first.png", png.clone().into()).await.unwrap();
    let first = RemotePicture {
        role: PictureRole::FirstFrame,
        file: Some(InputFile { key: "parts/first.png".to_owned(), sha256: String::new() }),
        width: 400,
        height: 400,
    };
    let request = RemoteRequest { pictures: vec![first.clone()], ..film_of(ProviderKind::Aliyun, "wan2.5-i2v-preview", Some(5)) };
    let settings = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    completed(stage.run(&settings, &request).await);
    let source = PictureSource::Bytes { format: PictureFormat::Png, bytes: png };
    let picture = Picture { role: PictureRole::FirstFrame, source, size: Some(first.size()) };
    let wire = Aliyun::new(account(&format!("{}/api/v1", mock.base())), Region::Beijing, None).unwrap();
    assert_written(&wire, &request, vec![picture], &mock.recorded("create")[0]);

    // One that is not there any more fails the task before anything is sent.
    stage.storage.delete("parts/first.png").await.unwrap();
    let (code, message, _) = crate::stage::failed(stage.run(&settings, &request).await);
    assert_eq!(code, framewright::domain::ErrorCode::StorageFailed, "{message}");
    assert_eq!(mock.recorded("create").len(), 1);
}

#[tokio::test]
async fn a_provider_that_calls_is_asked_at_once() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let mut settings = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    for entry in settings.providers.values_mut() {
        entry.poll.first_pause_ms = Some(3_600_000);
        entry.poll.most_pause_ms = Some(3_600_000);
    }
    let executor = stage.executor(&settings);
    let run = executor.run(Stage::work(&film()));
    let call = async {
        mock.wait_for("create", 1).await;
        for polls in 1..=3 {
            let remote_id = loop {
                if let Some(id) = stage.calls().await[0].remote_id.clone() {
                    break id;
                }
                tokio::task::yield_now().await;
            };
            while !executor.wake(&id(ProviderKind::Aliyun), &remote_id) {
                tokio::task::yield_now().await;
            }
            mock.wait_for("poll", polls).await;
        }
        assert!(!executor.wake(&id(ProviderKind::Aliyun), "another task"));
    };
    let (ending, ()) = tokio::join!(run, call);
    completed(ending);
}

#[tokio::test]
async fn what_can_be_asked_for_is_told_and_checked() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let mut all = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    let aliyun = id(ProviderKind::Aliyun);
    let executor = stage.executor(&all);
    let offered = executor.describe();
    assert!(offered.iter().any(|model| model.id.as_str() == "wan2.5-t2v-preview" && model.currency == "EUR"));
    let priced = executor.validate(&aliyun, "wan2.5-t2v-preview", &film()).unwrap();
    assert_eq!((priced.estimated.get(), priced.expected_seconds), (1_000_000, Some(10)));
    let odd = RemoteRequest { seconds: Some(7), ..film() };
    assert_eq!(executor.validate(&aliyun, "wan2.5-t2v-preview", &odd).unwrap_err().field, "seconds");
    assert_eq!(executor.validate(&aliyun, "no-such-model", &film()).unwrap_err().field, "model");
    assert_eq!(executor.validate(&id(ProviderKind::Minimax), "wan2.5-t2v-preview", &film()).unwrap_err().field, "provider");

    // An allow-list with another name.
    let name = framewright::domain::OfferedName {
        id: "ships".parse().unwrap(),
        name: "wan2.5-t2v-preview".to_owned(),
        told: framewright::domain::ToldModel::default(),
    };
    all.providers.get_mut(&aliyun).unwrap().models = vec![name];
    executor.replace(&all).unwrap();
    let offered: Vec<String> = executor.describe().iter().map(|model| model.id.to_string()).collect();
    assert_eq!(offered, ["ships"]);
    assert_eq!(executor.provider_model(&aliyun, "ships").as_deref(), Some("wan2.5-t2v-preview"));
    assert!(executor.validate(&aliyun, "ships", &film()).is_ok());
    assert_eq!(executor.validate(&aliyun, "wan2.5-t2v-preview", &film()).unwrap_err().allowed, "ships");
    executor.switch(&aliyun, false);
    assert!(executor.describe().is_empty() && executor.validate(&aliyun, "ships", &film()).is_err());
    assert_eq!(stage.clock.now(), UnixMs(NOW.0), "nothing here takes time");
}
