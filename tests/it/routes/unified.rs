//! `POST /api/v1/tasks`, and how such tasks are looked at.

use axum::http::{Method, StatusCode};
use framewright::domain::{AccountKey, ErrorCode, PollSettings, Price, ProviderEntry, ProviderKind, ProviderSettings};
use framewright::execution::FakeFailure;
use insta::assert_json_snapshot;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::images::picture_base64;
use super::stable;
use crate::harness::{Answer, Options, TestServer, egress};
use crate::outside::{FRIEND, Outside, Reply};
use crate::providers::{AliyunCloud, Mock};

const TASKS: &str = "/api/v1/tasks";

/// A film that is small enough for a debug build.
fn film() -> Value {
    json!({"model": "demo-svd", "provider": "local", "parameters": {
        "prompt": "a red circle", "size": "64*64", "duration": "0.5", "fps": 8, "seed": "3", "style": "general", "obj_or_bg": ["obj"],
    }})
}

async fn with_accept(server: &TestServer, path: &str, accept: &str) -> Answer {
    let mut request = server.request(Method::GET, path, None);
    request.headers_mut().insert("accept", accept.parse().unwrap());
    server.send(request).await
}

fn filtered() -> insta::Settings {
    let mut settings = stable();
    settings.add_filter(r"_(\d)_[0-9a-z]+\.(mp4|png)", "_${1}_RANDOM.$2");
    settings
}

#[tokio::test]
async fn a_film_is_asked_for_looked_at_and_downloaded() {
    let server = TestServer::start().await;
    let before = server.occupy_device().await;
    let accepted = server.post("/api/v1/tasks/", &film()).await;
    assert_eq!((accepted.status, accepted.header("x-ignored-parameters")), (StatusCode::OK, "style, obj_or_bg"));
    stable().bind(|| assert_json_snapshot!(accepted.json()));
    let id = accepted.json()["results"]["task_id"].as_str().unwrap().to_owned();
    let waiting = server.get(&format!("{TASKS}/{id}/result/")).await;
    assert_eq!((&waiting.json()["success"], &waiting.json()["results"]["result"]), (&json!(true), &Value::Null));
    server.free_device(&before).await;
    server.wait(&id).await;

    let status = server.get(&format!("{TASKS}/{id}/status")).await.json();
    assert_eq!((&status["results"]["status"], &status["results"]["progress"]), (&json!("completed"), &json!(100)), "{status:#}");
    let path = format!("{TASKS}/{id}/result");
    let result = with_accept(&server, &path, "application/json, */*").await;
    filtered().bind(|| assert_json_snapshot!(result.json()));
    let link = result.json()["results"]["result"]["videos"][0]["url"].as_str().unwrap().to_owned();
    let film = server.get_openly(link.strip_prefix("http://server:8000").unwrap()).await;
    for asked in [with_accept(&server, &path, "video/mp4").await, server.get(&format!("{path}?format=png")).await] {
        assert_eq!((asked.status, asked.header("content-type")), (StatusCode::OK, "video/mp4"));
        assert_eq!(asked.body, film.body);
    }
    // The native routes are what they were.
    assert_eq!(server.get(&format!("{TASKS}/{id}")).await.json()["status"], "completed");
    assert_eq!(server.get(TASKS).await.json()["tasks"][0]["task_id"], json!(id));
    let other = server.key_of("berta", None).await;
    for path in [path, format!("{TASKS}/{id}/status")] {
        let hidden = server.send_as(&other, Method::GET, &path, None).await;
        assert_eq!((hidden.status, &hidden.json()["success"]), (StatusCode::NOT_FOUND, &json!(false)), "{}", hidden.text());
    }
}

#[tokio::test]
async fn pictures_are_waited_for() {
    let server = TestServer::start().await;
    let body = json!({"model": "demo-sdxl", "parameters": {"prompt": "a star", "size": "128x128", "n": 2, "seed": 7}, "is_async": false});
    let answer = server.post(TASKS, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(answer.header("x-task-id").starts_with("job_"));
    filtered().bind(|| assert_json_snapshot!(answer.json()));
}

#[tokio::test]
async fn a_failure_that_was_waited_for_names_its_task() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Fail { after_steps: 0, code: ErrorCode::InvalidRequest });
    let body = json!({"model": "demo-sdxl", "parameters": {"prompt": "a star"}, "is_async": false});
    let answer = server.post(TASKS, &body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text());
    let (document, results) = (answer.json(), answer.json()["results"].clone());
    assert_eq!((&document["success"], &results["status"]), (&json!(false), &json!("failed")), "{document:#}");
    assert_eq!((&results["error_code"], &document["message"]), (&json!("invalid_request"), &results["error"]), "{document:#}");
    let looked = server.get(&format!("{TASKS}/{}/result", results["task_id"].as_str().unwrap())).await.json();
    assert_eq!((&looked["success"], &looked["message"]), (&json!(true), &results["error"]), "{looked:#}");
}

#[rstest]
#[case::film(film())]
#[case::pictures(json!({"model": "demo-sdxl", "parameters": {"prompt": "a star", "size": "128x128"}}))]
#[tokio::test]
async fn a_link_is_told_how_a_task_ended(#[case] mut body: Value) {
    let receiver = Outside::start(FRIEND, |_, _| Reply::ok("")).await;
    let server = TestServer::start_with(Options { egress: egress(&[&format!("{FRIEND}/32")]), ..Options::default() }).await;
    body["callback_url"] = json!(receiver.url("/hook"));
    let accepted = server.post(TASKS, &body).await;
    assert_eq!(accepted.status, StatusCode::OK, "{}", accepted.text());
    let task = accepted.json()["results"]["task_id"].clone();
    let told = receiver.wait_for(1).await.remove(0).json();
    assert_eq!((&told["type"], &told["data"]["task_id"]), (&json!("task.completed"), &task), "{told:#}");
    body["callback_url"] = json!("http://127.0.0.1/");
    let refused = server.post(TASKS, &body).await;
    assert_eq!((refused.status, &refused.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("callback_url")));
}

#[tokio::test]
async fn whoever_hangs_up_cancels_the_task() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Hang { after_steps: 1 });
    let body = json!({"model": "demo-sdxl", "parameters": {"prompt": "x"}, "is_async": false});
    let call = server.router.clone().oneshot(server.request(Method::POST, TASKS, Some(&body)));
    let newest = async || server.get(TASKS).await.json()["tasks"][0].clone();
    let running = async {
        while newest().await["status"] != "running" {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = call => panic!("a hanging task has an answer"),
        () = running => {}
    }
    server.state.background.close();
    server.state.background.wait().await;
    let task = newest().await["task_id"].as_str().unwrap().to_owned();
    server.wait(&task).await;
    assert_eq!(server.get(&format!("{TASKS}/{task}/status")).await.json()["results"]["status"], "cancelled");
}

#[rstest]
#[case::no_model(json!({"parameters": {"prompt": "x"}}), 422, "model", "is missing")]
#[case::model(json!({"model": "nope"}), 404, "model", "no model 'nope'")]
#[case::provider(json!({"model": "nope", "provider": "nobody"}), 404, "model", "provider 'nobody' offers no model")]
#[case::bad_provider(json!({"model": "nope", "provider": "../x"}), 422, "provider", "cannot be used")]
#[case::unknown(json!({"model": "demo-svd", "callback": 1}), 422, "callback", "unknown field")]
#[case::unknown_inside(json!({"model": "demo-svd", "parameters": {"promt": "x"}}), 422, "promt", "unknown field")]
#[case::duration(json!({"model": "demo-svd", "parameters": {"prompt": "x", "duration": "long"}}), 422, "parameters.duration", "must be a number")]
#[case::negative(json!({"model": "demo-svd", "parameters": {"prompt": "x", "duration": -1}}), 422, "duration", "duration is -1")]
#[case::size(json!({"model": "demo-svd", "parameters": {"prompt": "x", "size": "big"}}), 422, "size", "size is 'big'")]
#[case::seed(json!({"model": "demo-sdxl", "parameters": {"prompt": "x", "seed": -1}}), 422, "seed", "is -1")]
#[case::picture(json!({"model": "demo-svd", "parameters": {"img_url": "iVBORw0KGgo="}}), 422, "img_url", "img_url cannot be used")]
#[case::pictures(json!({"model": "demo-svd", "parameters": {"image_url": ["a", "b", "c", "d"]}}), 422, "image_url", "allowed: 1 to 3")]
#[case::last(json!({"model": "demo-svd", "parameters": {"prompt": "x", "last_frame_url": picture_base64(64, 64)}}), 422, "model", "takes no last frame")]
#[case::of_films(json!({"model": "demo-sdxl", "parameters": {"prompt": "x", "duration": 5}}), 422, "duration", "only for films")]
#[case::no_prompt(json!({"model": "demo-sdxl"}), 422, "prompt", "is missing")]
#[case::two_films(json!({"model": "demo-svd", "parameters": {"prompt": "x", "n": 2}}), 422, "n", "makes one film")]
#[case::many(json!({"model": "demo-sdxl", "parameters": {"prompt": "x", "n": 1000}}), 422, "n", "is 1000")]
#[tokio::test]
async fn what_cannot_be_made_is_refused_in_the_envelope(
    #[case] body: Value,
    #[case] status: u16,
    #[case] field: &str,
    #[case] words: &str,
) {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let answer = server.post(TASKS, &body).await;
    let document = answer.json();
    assert_eq!(
        (answer.status.as_u16(), &document["success"], &document["results"]),
        (status, &json!(false), &Value::Null),
        "{document:#}"
    );
    assert_eq!(document["field"], field, "{document:#}");
    assert!(document["message"].as_str().unwrap().contains(words), "{document:#}");
}

#[tokio::test]
async fn keys_are_asked_for_in_the_envelope() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    for path in ["/api/v1/tasks/job_1/status", "/api/v1/tasks/job_1/result"] {
        let answer = server.get_openly(path).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::UNAUTHORIZED, &json!("missing_api_key")),
            "{}",
            answer.text()
        );
        assert_eq!(answer.json()["success"], false);
    }
}

#[tokio::test]
async fn a_provider_is_asked_by_name_in_its_own_words() {
    let cloud = Mock::start(AliyunCloud).await;
    let key = AccountKey { id: "main".parse().unwrap(), secret: SecretString::from("sk-of-the-provider"), max_concurrent: None };
    let entry = ProviderEntry {
        is_enabled: true,
        base_url: Some(format!("{}/api/v1", cloud.base())),
        keys: vec![key],
        prices: vec![Price { per_second: "0.24".parse().unwrap(), ..Price::default() }],
        poll: PollSettings { first_pause_ms: Some(1), most_pause_ms: Some(2) },
        ..ProviderEntry::of_kind(ProviderKind::Aliyun)
    };
    let providers = ProviderSettings { currency: "EUR".to_owned(), providers: [("aliyun".parse().unwrap(), entry)].into() };
    let options = Options { providers, egress: egress(&["127.0.0.1/32"]), ..Options::default() };
    let server = TestServer::start_with(options).await;
    let body = json!({"model": "wan2.6-t2v", "provider": "aliyun", "is_async": false, "parameters": {
        "prompt": "a ship", "size": "1280*720", "duration": "5", "seed": 12345, "prompt_extend": true, "shot_type": "multi",
    }});
    let answer = server.post(TASKS, &body).await;
    assert_eq!((answer.status, answer.header("x-ignored-parameters")), (StatusCode::OK, ""), "{}", answer.text());
    let sent = cloud.recorded("create")[0].json();
    assert_eq!(
        (&sent["model"], &sent["input"]["prompt"], &sent["parameters"]["size"], &sent["parameters"]["duration"]),
        (&json!("wan2.6-t2v"), &json!("a ship"), &json!("1280*720"), &json!(5)),
        "{sent:#}"
    );
    let parameters = &sent["parameters"];
    assert_eq!(
        (&parameters["seed"], &parameters["prompt_extend"], &parameters["shot_type"]),
        (&json!(12345), &json!(true), &json!("multi")),
        "{sent:#}"
    );
    let result = answer.json()["results"]["result"].clone();
    assert_eq!(
        (&result["provider"], &result["prompt"], &result["actual_prompt"], &result["cost"]["currency"]),
        (&json!("aliyun"), &json!("a ship"), &json!("a ship, rewritten"), &json!("EUR")),
        "{result:#}"
    );
    assert!(result["videos"][0]["local_path"].as_str().unwrap().starts_with("videos/aliyun_20260102_030405_0_"), "{result:#}");
    assert_eq!((result["original_urls"].as_array().unwrap().len(), &result["resolution"]), (1, &json!("64x48")), "{result:#}");
}
