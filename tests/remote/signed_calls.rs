//! What is special to each of the kinds that sign their calls, or have keys in a header of their own.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use framewright::domain::film::InputFile;
use framewright::domain::{Clock, ErrorCode, PictureRole, RemotePicture, RemoteRequest, UnixMs};
use framewright::execution::{RemoteEnding, RemoteExecution};
use framewright::ledger::CallState;
use framewright::media::encode::{PngText, encode_png};
use rstest::rstest;
use secrecy::SecretString;
use serde_json::json;

use crate::providers::{AliyunCloud, Answer, Gate, KlingCloud, Mock, secret_of_key};
use crate::signed_kinds::{kling, mindvideo, veo, vidsme};
use crate::stage::{Stage, again, completed, failed, id, left_at};
use crate::subject::Subject;

/// A clock that is ahead of another one, or behind it.
#[derive(Debug)]
struct Skewed {
    clock: Arc<dyn Clock>,
    seconds: i64,
}

impl Clock for Skewed {
    fn now(&self) -> UnixMs {
        UnixMs(self.clock.now().0 + self.seconds * 1000)
    }
}

/// How far the provider's clock is ahead, seconds, and whether it takes calls of this server.
#[rstest]
#[case(0, true)]
#[case(-5, true)]
#[case(-6, false)]
#[case(1799, true)]
#[case(1800, false)]
#[tokio::test]
async fn a_token_of_kling_is_good_for_half_an_hour(#[case] seconds: i64, #[case] is_good: bool) {
    let (subject, stage) = (kling(), Stage::new().await);
    let mock = Mock::start(KlingCloud::new(Arc::new(Skewed { clock: stage.clock.clone(), seconds }))).await;
    let executor = stage.executor(&subject.settings(&mock, &[("a", None)]));
    let ending = executor.run(Stage::work(&subject.request)).await;
    if is_good {
        completed(ending);
    } else {
        assert_eq!(failed(ending).0, ErrorCode::ProviderUnavailable);
        assert_eq!(executor.statuses()[0].keys[0].reason, Some("authentication"));
    }
}

/// What the operator says wrongly, and what the provider does not take because of it.
#[rstest]
#[case::application_key(mindvideo(), "app_key", "another-key", ErrorCode::ProviderRefused)]
#[case::version(mindvideo(), "version", "0.9.9", ErrorCode::ProviderRefused)]
#[case::application(vidsme(), "app_id", "another-app", ErrorCode::ProviderRefused)]
#[case::salt(vidsme(), "salt", "another-salt", ErrorCode::ProviderRefused)]
#[tokio::test]
async fn what_is_signed_wrongly_is_not_taken(
    #[case] subject: Subject,
    #[case] setting: &'static str,
    #[case] value: &str,
    #[case] code: ErrorCode,
) {
    let (stage, mock) = subject.start().await;
    let mut settings = subject.settings(&mock, &[("a", None)]);
    let entry = settings.providers.get_mut(&id(subject.kind)).unwrap();
    if let Some(secret) = entry.secrets.get_mut(setting) {
        *secret = SecretString::from(value);
    } else {
        entry.settings.insert(setting, value.to_owned());
    }
    let (found, message, cost) = failed(stage.run(&settings, &subject.request).await);
    assert_eq!((found, cost, mock.recorded("create").len()), (code, 0, 1), "{message}");
    assert!(!message.contains(value), "{message}");
}

#[tokio::test]
async fn an_account_of_kling_is_not_signed_for_with_anothers_secret() {
    let (subject, stage) = (kling(), Stage::new().await);
    let mock = Mock::start(KlingCloud::new(stage.clock.clone())).await;
    let mut settings = subject.settings(&mock, &[("a", None)]);
    let entry = settings.providers.get_mut(&id(subject.kind)).unwrap();
    // The secret key alone is that of the access key beside it.
    entry.keys[0].secret = SecretString::from(secret_of_key("a"));
    for (access_key, is_taken) in [("a", true), ("b", false), ("z", false)] {
        let entry = settings.providers.get_mut(&id(subject.kind)).unwrap();
        entry.settings.insert("access_key", KlingCloud::access_key(access_key));
        let ending = stage.run(&settings, &subject.request).await;
        assert_eq!(matches!(ending, RemoteEnding::Completed { .. }), is_taken, "{access_key}: {ending:?}");
    }
}

#[tokio::test]
async fn kling_has_the_task_of_a_create_whose_answer_was_lost() {
    let subject = kling();
    let (stage, mock) = subject.start().await;
    mock.script("create", [Answer::UsualCutOff]);
    let settings = subject.settings(&mock, &[("a", None), ("b", None)]);
    let (code, message, cost) = failed(stage.run(&settings, &subject.request).await);
    assert_eq!((code, cost), (ErrorCode::OutcomeUnknown, subject.cost.0), "{message}");
    let creates = mock.recorded("create");
    assert_eq!(creates.len(), 2, "the second one is refused, since the first one got through");
    let ours = stage.calls().await[0].call.our_id.clone();
    assert!(creates.iter().all(|create| create.json()["external_task_id"] == ours));
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(subject.cost.0)));
}

/// A request for a film that begins with a picture, which is stored here, and the picture's file.
async fn from_picture(subject: &Subject, stage: &Stage) -> (RemoteRequest, Vec<u8>) {
    let png = encode_png(400, 400, &vec![90; 400 * 400 * 3], &PngText::default()).unwrap();
    stage.storage.put("parts/first.png", png.clone().into()).await.unwrap();
    let file = InputFile { key: "parts/first.png".to_owned(), sha256: String::new() };
    let first = RemotePicture { role: PictureRole::FirstFrame, file: Some(file), width: 400, height: 400 };
    (RemoteRequest { pictures: vec![first], ..subject.request.clone() }, png)
}

#[tokio::test]
async fn a_film_of_kling_from_a_picture_has_routes_of_its_own() {
    let subject = kling();
    let (stage, mock) = subject.start().await;
    let (request, png) = from_picture(&subject, &stage).await;
    completed(stage.run(&subject.settings(&mock, &[("a", None)]), &request).await);
    let create = &mock.recorded("create")[0];
    assert_eq!(BASE64_STANDARD.decode(create.json()["image"].as_str().unwrap()).unwrap(), png);
    let paths: Vec<String> = mock.recorded("poll").iter().map(|poll| poll.path().to_owned()).collect();
    assert!(
        create.path() == "/v1/videos/image2video" && paths.iter().all(|path| path.starts_with("/v1/videos/image2video/")),
        "{paths:?}"
    );
}

#[tokio::test]
async fn a_film_of_veo_begins_with_the_picture_itself() {
    let subject = veo();
    let (stage, mock) = subject.start().await;
    let (request, png) = from_picture(&subject, &stage).await;
    let request = RemoteRequest { frame: Some("1080P 9:16".parse().unwrap()), ..request };
    completed(stage.run(&subject.settings(&mock, &[("a", None)]), &request).await);
    let body = mock.recorded("create")[0].json();
    let image = &body["instances"][0]["image"];
    assert_eq!(BASE64_STANDARD.decode(image["bytesBase64Encoded"].as_str().unwrap()).unwrap(), png);
    assert_eq!(image["mimeType"], "image/png");
    assert_eq!(body["parameters"], json!({ "aspectRatio": "9:16", "resolution": "1080p", "durationSeconds": 8 }));
}

#[tokio::test]
async fn the_key_of_veo_does_not_go_where_a_film_was_moved() {
    let (subject, elsewhere) = (veo(), Mock::start(AliyunCloud).await);
    let film = format!("{}/files/moved.mp4", elsewhere.base());
    let at = |uri: &str| {
        let samples = json!({ "generatedSamples": [{ "video": { "uri": uri } }] });
        Answer::Json(200, json!({ "done": true, "response": { "generateVideoResponse": samples } }))
    };
    // The service's own link leads on to another host, or is one of another host at once.
    for (route, answer) in [("file", Answer::Redirect(film.clone())), ("poll", at(&film))] {
        let (stage, mock) = subject.start().await;
        mock.script(route, [answer]);
        let before = elsewhere.recorded("file").len();
        let (result, _) = completed(stage.run(&subject.settings(&mock, &[("a", None)]), &subject.request).await);
        assert_eq!(result.artifacts.len(), 1);
        let moved = &elsewhere.recorded("file")[before..];
        assert_eq!(moved.len(), 1, "{route}");
        assert!(!format!("{:?}", moved[0]).contains("secret-of"), "{route}: {:?}", moved[0].headers);
    }
}

#[tokio::test]
async fn what_mindvideo_makes_is_published_only_where_the_operator_says_so() {
    let subject = mindvideo();
    for (visibility, is_public) in [(None, false), (Some("private"), false), (Some("public"), true)] {
        let (stage, mock) = subject.start().await;
        let mut settings = subject.settings(&mock, &[("a", None)]);
        let entry = settings.providers.get_mut(&id(subject.kind)).unwrap();
        entry.settings.extend(visibility.map(|word| ("visibility", word.to_owned())));
        let request = RemoteRequest { frame: Some("1080P".parse().unwrap()), ..subject.request.clone() };
        completed(stage.run(&settings, &request).await);
        let body = mock.recorded("create")[0].json();
        assert_eq!((&body["is_public"], &body["options"]["size"]), (&json!(is_public), &json!("1920x1080")));
    }
}

#[tokio::test]
async fn a_picture_of_vidsme_lies_where_the_operator_says_and_nowhere_else() {
    let (subject, elsewhere) = (vidsme(), Mock::start(AliyunCloud).await);
    let (stage, mock) = subject.start().await;
    let path = format!("{}/files/picture.png", elsewhere.base());
    mock.script("poll", [Answer::Json(200, json!({ "code": 200, "data": { "generate_url": path } }))]);
    let (code, message, cost) = failed(stage.run(&subject.settings(&mock, &[("a", None)]), &subject.request).await);
    assert_eq!((code, cost, elsewhere.recorded("file").len()), (ErrorCode::ProviderFailed, subject.cost.1, 0), "{message}");
    let request = RemoteRequest { provider_model: "anime".to_owned(), frame: Some("3:2".parse().unwrap()), ..subject.request };
    let (stage, mock) = vidsme().start().await;
    completed(stage.run(&vidsme().settings(&mock, &[("a", None)]), &request).await);
    let body = mock.recorded("create")[0].json();
    assert_eq!((&body["model"], &body["width"], &body["height"]), (&json!("anime"), &json!(768), &json!(512)));
    assert_eq!(mock.recorded("file")[0].target, "/pictures/art/job-1.png");
}

/// How long a task may take, and how it ends that the provider does not know any more and that may have been billed: where the provider says
/// that it does not know it, after three looks; else when its time is over.
#[rstest]
#[case::mindvideo(mindvideo(), 600, ErrorCode::TimedOut)]
#[case::vidsme(vidsme(), 240, ErrorCode::TimedOut)]
#[case::kling(kling(), 1800, ErrorCode::ProviderFailed)]
#[case::veo(veo(), 1200, ErrorCode::ProviderFailed)]
#[tokio::test]
async fn a_task_that_is_forgotten_keeps_its_cost(
    #[case] subject: Subject,
    #[case] deadline_seconds: i64,
    #[case] code: ErrorCode,
) {
    let (stage, mock) = subject.start().await;
    let (work, gate) = (Stage::work(&subject.request), Gate::closed());
    mock.script("poll", [Answer::GatedUsual(gate.clone())]);
    left_at(&gate, stage.executor(&subject.settings(&mock, &[("a", None)])), &work).await;
    let other = Mock::start_boxed((subject.cloud)(stage.clock.clone())).await;
    let executor = stage.executor(&subject.settings(&other, &[("a", None)]));
    let wait = async {
        other.wait_for("poll", 3).await;
        stage.clock.advance_seconds(deadline_seconds);
    };
    let (ending, ()) = tokio::join!(executor.run(again(&work)), wait);
    let (found, message, cost) = failed(ending);
    assert_eq!((found, cost), (code, subject.cost.0), "{message}");
    let time = format!("within {deadline_seconds} s");
    assert_eq!(message.contains(&time), code == ErrorCode::TimedOut, "{message}");
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(subject.cost.0)));
    assert_eq!((other.recorded("create").len(), mock.recorded("create").len()), (0, 1));
}
