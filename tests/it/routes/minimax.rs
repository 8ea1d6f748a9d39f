//! MiniMax's routes, and its calls.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use framewright::domain::{
    AccountKey, Limits, MinimaxWords, PollSettings, ProviderEntry, ProviderKind, ProviderSettings, Quotas, TenantPolicies,
    TenantPolicy,
};
use insta::assert_json_snapshot;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::images::picture_base64;
use super::stable;
use crate::harness::{Answer, Options, TestServer, egress};
use crate::outside::{FRIEND, Outside, Received, Reply};
use crate::providers::{self, MinimaxCloud, Mock};

const CREATE: &str = "/v1/video_generation";

async fn created(server: &TestServer, body: &Value) -> String {
    let answer = server.post(CREATE, body).await;
    assert_eq!((answer.status, code(&answer)), (StatusCode::OK, 0), "{}", answer.text());
    answer.json()["task_id"].as_str().unwrap().to_owned()
}

async fn queried(server: &TestServer, task: &str) -> Value {
    server.get(&format!("/v1/query/video_generation?task_id={task}")).await.json()
}

fn code(answer: &Answer) -> u64 {
    answer.json()["base_resp"]["status_code"].as_u64().unwrap_or_else(|| panic!("no code in {}", answer.text()))
}

fn message(answer: &Answer) -> String {
    answer.json()["base_resp"]["status_msg"].as_str().unwrap().to_owned()
}

async fn idle_server(policies: TenantPolicies) -> TestServer {
    TestServer::start_with(Options { has_device: false, policies, ..Options::default() }).await
}

#[tokio::test]
async fn a_film_is_created_queried_retrieved_and_downloaded() {
    let server = TestServer::start().await;
    let before = server.occupy_device().await;
    let body = json!({"model": "demo-svd", "prompt": "a red circle [Push in]", "duration": 1,
        "prompt_optimizer": true, "first_frame_image": format!("data:image/png;base64,{}", picture_base64(64, 64))});
    let answer = server.post("/v1/video_generation/?GroupId=17", &body).await;
    assert_eq!(answer.header("x-ignored-parameters"), "prompt_optimizer, GroupId");
    stable().bind(|| {
        assert_json_snapshot!(answer.json(), @r#"
    {
      "base_resp": {
        "status_code": 0,
        "status_msg": "success"
      },
      "task_id": "job_ID"
    }
    "#);
    });
    let task = answer.json()["task_id"].as_str().unwrap().to_owned();
    let waiting = queried(&server, &task).await;
    let status = waiting["status"].as_str().unwrap();
    assert!(["Preparing", "Queueing", "Processing"].contains(&status), "{waiting:#}");
    assert_eq!((&waiting["file_id"], &waiting["base_resp"]["status_code"]), (&json!(""), &json!(0)));

    server.free_device(&before).await;
    server.wait(&task).await;
    let done = queried(&server, &task).await;
    assert_eq!((&done["status"], &done["base_resp"]["status_code"]), (&json!("Success"), &json!(0)), "{done:#}");
    assert!(done["video_width"].as_u64().unwrap() > 0 && done["video_height"] == done["video_width"], "{done:#}");
    let file_id = done["file_id"].as_str().unwrap();
    assert!(file_id.parse::<i64>().unwrap() > 0, "{file_id}");

    let retrieved = server.get(&format!("/v1/files/retrieve?GroupId=17&file_id={file_id}")).await.json();
    let file = &retrieved["file"];
    assert_eq!(
        (file["file_id"].to_string(), &file["purpose"]),
        (file_id.to_owned(), &json!("video_generation")),
        "{retrieved:#}"
    );
    assert!(file["filename"].as_str().unwrap().starts_with("local_20260102_030405_0_"), "{retrieved:#}");
    let link = file["download_url"].as_str().unwrap().strip_prefix("http://server:8000").unwrap();
    let film = server.get_openly(link).await;
    assert_eq!((film.status, film.header("content-type")), (StatusCode::OK, "video/mp4"));
    assert_eq!(json!(film.body.len()), file["bytes"]);
    server.clock.advance_seconds(9 * 60 * 60);
    assert_eq!(server.get_openly(link).await.status, StatusCode::FORBIDDEN);

    // Somebody else's are not there.
    let other = server.key_of("berta", None).await;
    for path in [format!("/v1/query/video_generation?task_id={task}"), format!("/v1/files/retrieve?file_id={file_id}")] {
        let answer = server.send_as(&other, Method::GET, &path, None).await;
        assert_eq!((answer.status, code(&answer)), (StatusCode::OK, 2013), "{}", answer.text());
    }
    // The native API knows it as a task, with the camera that the prompt had.
    let native = server.get(&format!("/api/v1/tasks/{task}")).await.json();
    assert_eq!(native["result"]["manifest"]["scenes"][0]["scene"]["camera"]["commands"], "[Push in]", "{native:#}");
}

#[tokio::test]
async fn a_film_that_names_nothing_has_six_seconds_and_a_tier_is_its_short_side() {
    let server = idle_server(TenantPolicies::default()).await;
    let task = created(&server, &json!({"prompt": "x"})).await;
    let picture = picture_base64(160, 90);
    let wide = created(&server, &json!({"prompt": "x", "duration": 2, "resolution": "768p", "first_frame_image": picture})).await;
    let film = async |task: &str| {
        let principal = server.state.keys.authenticate(&server.user_key).await.unwrap();
        let job = server.state.jobs.get(&principal, task.parse().unwrap()).await.unwrap();
        let film = job.request.film().unwrap();
        (film.duration_ms(), film.width, film.height)
    };
    assert_eq!(film(&task).await.0, 6000);
    assert_eq!(film(&wide).await, (2000, 1366, 768));
}

#[rstest]
#[case::none(None, 1004)]
#[case::empty(Some(""), 1004)]
#[case::wrong(Some("sk-wrong"), 2049)]
#[tokio::test]
async fn keys_are_asked_for_in_minimaxs_words(#[case] key: Option<&str>, #[case] expected: u64) {
    let server = idle_server(TenantPolicies::default()).await;
    for (method, path) in [
        (Method::POST, CREATE),
        (Method::GET, "/v1/query/video_generation?task_id=1"),
        (Method::GET, "/v1/files/retrieve?file_id=1"),
    ] {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let answer = server.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, code(&answer)), (StatusCode::OK, expected), "{path}: {}", answer.text());
    }
}

#[rstest]
#[case::no_prompt(json!({}), "prompt is missing")]
#[case::long(json!({"prompt": "字".repeat(2001)}), "prompt has 2001 characters; allowed: at most 2000")]
#[case::null(json!({"prompt": null}), "prompt is missing")]
#[case::number(json!({"prompt": 3}), "prompt must be a string")]
#[case::zero(json!({"prompt": "x", "duration": 0}), "duration is 0; allowed: above 0, at most 3600 seconds")]
#[case::endless(json!({"prompt": "x", "duration": 1e300}), "duration is 1701411834604692300000000000000")]
#[case::text(json!({"prompt": "x", "duration": "six"}), "duration must be a whole number")]
#[case::tier(json!({"prompt": "x", "resolution": "8K"}), "resolution is '8K'; allowed: 512P, 720P, 768P, 1080P")]
#[case::liar(json!({"first_frame_image": "iVBORw0KGgo="}), "first_frame_image cannot be used")]
#[case::link(json!({"first_frame_image": "http://169.254.169.254/a.png"}), "first_frame_image is a link that was not fetched")]
#[case::last(json!({"prompt": "x", "last_frame_image": picture_base64(64, 64)}), "takes no last frame")]
#[case::subject(json!({"subject_reference": [{"type": "character", "image": [picture_base64(64, 64)]}]}), "no references")]
#[case::subjects(json!({"subject_reference": [{"type": "character", "image": []}]}), "subject_reference has 0 images; allowed: 1")]
#[case::camera(json!({"prompt": "x [Push in, fly away]"}), "'fly away' is no camera command")]
#[case::model(json!({"prompt": "x", "model": "Hailuo-99"}), "no model 'Hailuo-99'")]
#[case::kind(json!({"prompt": "x", "model": "demo-sdxl"}), "makes pictures, not films")]
#[case::unknown(json!({"prompt": "x", "seed": 3}), "unknown field 'seed'")]
#[case::flag(json!({"prompt": "x", "prompt_optimizer": "yes"}), "prompt_optimizer must be a boolean")]
#[tokio::test]
async fn bad_parameters_are_2013_and_name_field_and_range(#[case] body: Value, #[case] words: &str) {
    let server = idle_server(TenantPolicies::default()).await;
    let answer = server.post(CREATE, &body).await;
    assert_eq!((answer.status, code(&answer)), (StatusCode::OK, 2013), "{}", answer.text());
    assert!(message(&answer).contains(words), "{}", answer.text());
    created(&server, &json!({"prompt": "x"})).await;
}

#[rstest]
#[case("/v1/query/video_generation", "task_id is missing")]
#[case("/v1/query/video_generation?task_id=", "task_id is missing")]
#[case("/v1/query/video_generation?task_id=17", "no task 17")]
#[case("/v1/query/video_generation?task_id=job_00000000000000000000000000000000", "job_00000000000000000000000000000000")]
#[case("/v1/files/retrieve", "file_id is missing")]
#[case("/v1/files/retrieve?file_id=x", "file_id is 'x'")]
#[case("/v1/files/retrieve?file_id=99999999999999999999", "file_id is '99999999999999999999'")]
#[case("/v1/files/retrieve?file_id=0", "no file 0")]
#[case("/v1/files/retrieve?file_id=9223372036854775807", "no file 9223372036854775807")]
#[tokio::test]
async fn what_is_not_there_is_2013(#[case] path: &str, #[case] words: &str) {
    let server = idle_server(TenantPolicies::default()).await;
    let picture = server.submit(&json!({"prompt": "x"})).await;
    for path in [path.to_owned(), format!("/v1/query/video_generation?task_id={picture}")] {
        let answer = server.get(&path).await;
        assert_eq!((answer.status, code(&answer)), (StatusCode::OK, 2013), "{}", answer.text());
    }
    let answer = server.get(path).await;
    assert!(message(&answer).contains(words), "{}", answer.text());
}

#[tokio::test]
async fn bodies_and_methods_have_its_envelope_too() {
    let server = idle_server(TenantPolicies::default()).await;
    let mut broken = server.request(Method::POST, CREATE, Some(&json!({})));
    *broken.body_mut() = Body::from("{");
    assert_eq!(code(&server.send(broken).await), 2013);
    let mut plain = server.request(Method::POST, CREATE, None);
    *plain.body_mut() = Body::from("prompt=x");
    assert_eq!(code(&server.send(plain).await), 2013);
    let deleted = server.send(server.request(Method::DELETE, CREATE, None)).await;
    assert_eq!((deleted.status, code(&deleted)), (StatusCode::METHOD_NOT_ALLOWED, 2013));
}

#[tokio::test]
async fn quotas_and_rates_have_codes_of_their_own() {
    let policy = TenantPolicy {
        quotas: Quotas { videos_per_day: Some(1), ..Quotas::default() },
        limits: Limits { requests_per_minute: Some(4), max_duration_seconds: Some(10.0), ..Limits::default() },
    };
    let server = idle_server(TenantPolicies { default_user: policy, ..TenantPolicies::default() }).await;
    let long = server.post(CREATE, &json!({"prompt": "x", "duration": 11})).await;
    assert_eq!(code(&long), 2013, "{}", long.text());
    created(&server, &json!({"prompt": "x"})).await;
    let spent = server.post(CREATE, &json!({"prompt": "x"})).await;
    assert_eq!((spent.status, code(&spent)), (StatusCode::OK, 1008), "{}", spent.text());
    assert!(message(&spent).contains("videos_per_day") && !spent.header("retry-after").is_empty(), "{}", spent.text());
    server.post(CREATE, &json!({"prompt": "x"})).await;
    let fast = server.post(CREATE, &json!({"prompt": "x"})).await;
    assert_eq!((fast.status, code(&fast)), (StatusCode::OK, 1002), "{}", fast.text());
    assert!(!fast.header("retry-after").is_empty());
}

#[tokio::test]
async fn the_same_idempotency_key_is_the_same_film() {
    let server = idle_server(TenantPolicies::default()).await;
    let send = async |prompt: &str| {
        let mut request = server.request(Method::POST, CREATE, Some(&json!({"prompt": prompt})));
        request.headers_mut().insert("idempotency-key", "once".parse().unwrap());
        server.send(request).await
    };
    let (first, second) = (send("x").await, send("x").await);
    assert_eq!((code(&first), first.json()), (0, second.json()));
    assert_eq!(code(&send("y").await), 2013);
}

#[tokio::test]
async fn a_cancelled_film_has_failed() {
    let server = idle_server(TenantPolicies::default()).await;
    let task = created(&server, &json!({"prompt": "x"})).await;
    server.free_device(&task).await;
    let film = queried(&server, &task).await;
    assert_eq!((&film["status"], &film["base_resp"]["status_code"]), (&json!("Fail"), &json!(1000)), "{film:#}");
}

#[rstest]
#[case(MinimaxWords::Query, "Processing", "Success")]
#[case(MinimaxWords::LowerCase, "processing", "success")]
#[tokio::test]
async fn whoever_gives_back_the_challenge_is_told_how_it_goes(
    #[case] minimax_words: MinimaxWords,
    #[case] running: &str,
    #[case] completed: &str,
) {
    let options = Options { egress: egress(&[&format!("{FRIEND}/32")]), minimax_words, ..Options::default() };
    let server = TestServer::start_with(options).await;
    let receiver = Outside::start(FRIEND, |_, received| match received.path.as_str() {
        "/deaf" => Reply::ok(json!({"challenge": "another"}).to_string()),
        _ => Reply::ok(received.body.clone()),
    })
    .await;
    let refused = server.post(CREATE, &json!({"prompt": "x", "duration": 1, "callback_url": receiver.url("/deaf")})).await;
    assert_eq!((code(&refused), receiver.wait_for(1).await.len()), (2013, 1), "{}", refused.text());
    assert!(message(&refused).contains("callback_url is not called, because its challenge failed"), "{}", refused.text());
    // Whoever asks for what cannot be made challenges nobody.
    let bad = server.post(CREATE, &json!({"prompt": "x", "duration": 0, "callback_url": receiver.url("/hook")})).await;
    assert_eq!(code(&bad), 2013);

    let task = created(&server, &json!({"prompt": "x", "duration": 1, "callback_url": receiver.url("/hook")})).await;
    server.wait(&task).await;
    let film = queried(&server, &task).await;
    let told: Vec<Value> = receiver.wait_for(4).await.iter().map(Received::json).collect();
    assert!(told[1]["challenge"].as_str().unwrap().len() >= 16, "{told:#?}");
    let updates = &told[2..];
    assert!(
        updates.iter().all(|update| update["task_id"] == json!(task) && update["base_resp"]["status_code"] == 0),
        "{told:#?}"
    );
    let of = |status: &str| updates.iter().find(|update| update["status"] == status).unwrap_or_else(|| panic!("{told:#?}"));
    assert_eq!(of(running)["file_id"], "");
    assert_eq!(of(completed)["file_id"], film["file_id"]);
    assert_eq!(film["status"], "Success", "the query has its own words");
}

/// A server that has MiniMax for a provider. It is looked at once in ten minutes, unless it calls.
async fn in_front_of(cloud: &Mock) -> TestServer {
    let key = AccountKey { id: "main".parse().unwrap(), secret: SecretString::from("sk-of-the-provider"), max_concurrent: None };
    let entry = ProviderEntry {
        is_enabled: true,
        base_url: Some(cloud.base().to_owned()),
        keys: vec![key],
        poll: PollSettings { first_pause_ms: Some(600_000), most_pause_ms: Some(600_000) },
        ..ProviderEntry::of_kind(ProviderKind::Minimax)
    };
    let mut options = Options {
        providers: ProviderSettings { currency: "EUR".to_owned(), providers: [("minimax".parse().unwrap(), entry)].into() },
        egress: egress(&["127.0.0.1/32"]),
        ..Options::default()
    };
    options.settings.public_url = Some("https://films.example".parse().unwrap());
    TestServer::start_with(options).await
}

/// What MiniMax sends, without a key.
async fn call(server: &TestServer, path: &str, body: &Value) -> Answer {
    server.send(Request::post(path).body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn minimax_itself_makes_a_film_and_calls_when_it_is_there() {
    let cloud = Mock::start(MinimaxCloud).await;
    let fine = json!({"status_code": 0, "status_msg": "success"});
    let done = |task: &str| json!({"task_id": task, "status": "Success", "file_id": "17", "video_width": 64, "video_height": 48, "base_resp": fine});
    cloud.script("poll", [providers::Answer::Json(200, done("106916112211"))]);
    let server = in_front_of(&cloud).await;
    let body = json!({"model": "MiniMax-Hailuo-02", "prompt": "a ship [左移,上升]", "prompt_optimizer": false,
        "resolution": "768P", "first_frame_image": picture_base64(400, 400)});
    let answer = server.post("/v1/video_generation?GroupId=17", &body).await;
    assert_eq!((code(&answer), answer.header("x-ignored-parameters")), (0, "GroupId"), "{}", answer.text());
    let task = answer.json()["task_id"].as_str().unwrap().to_owned();
    cloud.wait_for("create", 1).await;
    let sent = cloud.recorded("create")[0].json();
    assert_eq!(
        (&sent["prompt"], &sent["prompt_optimizer"], &sent["resolution"]),
        (&body["prompt"], &json!(false), &json!("768P")),
        "{sent:#}"
    );
    assert!(sent["first_frame_image"].as_str().unwrap().starts_with("data:image/"));
    let address = sent["callback_url"].as_str().unwrap().strip_prefix("https://films.example").unwrap().to_owned();

    let challenged = call(&server, &address, &json!({"challenge": "a \"word\""})).await;
    assert_eq!((challenged.status, challenged.json()), (StatusCode::OK, json!({"challenge": "a \"word\""})));
    let broken = call(&server, &address, &json!({"hello": 1})).await;
    assert_eq!((broken.status, &broken.json()["code"]), (StatusCode::BAD_REQUEST, &json!("malformed_body")));
    let guessed = call(&server, &format!("{}A", &address[..address.len() - 1]), &json!({"challenge": "x"})).await;
    assert_eq!((guessed.status, &guessed.json()["code"]), (StatusCode::NOT_FOUND, &json!("route_not_found")));
    let flood = call(&server, &address, &json!({"challenge": "x".repeat(1 << 20)})).await;
    assert_eq!(flood.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(cloud.recorded("poll").is_empty(), "nothing was said of a task");

    // It may call before its own answer was read, so it calls again until somebody looks.
    let calling = async {
        while cloud.recorded("poll").is_empty() {
            let update = json!({"task_id": "106916112211", "status": "failed", "base_resp": {"status_code": 1027}});
            assert_eq!(call(&server, &address, &update).await.status, StatusCode::OK);
            tokio::task::yield_now().await;
        }
        server.wait(&task).await;
    };
    tokio::time::timeout(Duration::from_mins(1), calling).await.unwrap();
    // What it said is not believed: the look says that it is there.
    let film = queried(&server, &task).await;
    assert_eq!(
        (&film["status"], &film["video_width"], &film["video_height"]),
        (&json!("Success"), &json!(64), &json!(48)),
        "{film:#}"
    );
    let file = server.get(&format!("/v1/files/retrieve?file_id={}", film["file_id"].as_str().unwrap())).await.json();
    assert!(file["file"]["download_url"].as_str().unwrap().starts_with("https://films.example/api/v1/tasks/job_"), "{file:#}");
}

#[tokio::test]
async fn what_moderation_refuses_is_1026() {
    let cloud = Mock::start(MinimaxCloud).await;
    let refused = json!({"task_id": "", "base_resp": {"status_code": 1026, "status_msg": "sensitive"}});
    cloud.always("create", providers::Answer::Json(200, refused));
    let server = in_front_of(&cloud).await;
    let task = created(&server, &json!({"model": "MiniMax-Hailuo-02", "prompt": "a ship"})).await;
    server.wait(&task).await;
    let film = queried(&server, &task).await;
    assert_eq!((&film["status"], &film["base_resp"]["status_code"]), (&json!("Fail"), &json!(1026)), "{film:#}");
}

#[tokio::test]
async fn a_model_is_asked_for_its_own_resolutions() {
    let cloud = Mock::start(MinimaxCloud).await;
    let server = in_front_of(&cloud).await;
    let task = created(&server, &json!({"model": "MiniMax-H3", "prompt": "a ship", "resolution": "2k"})).await;
    let video = server.get(&format!("/v1/videos/{task}")).await.json();
    assert_eq!((&video["size"], &video["model"]), (&json!("2K"), &json!("MiniMax-H3")), "{video:#}");
}

#[rstest]
#[case(json!({"prompt": "x", "duration": 7}), "duration '7' is not possible with MiniMax-Hailuo-02; allowed: 6, 10")]
#[case(json!({"prompt": "x", "resolution": "2K"}), "is '2K'; allowed: 512P, 768P, 1080P")]
#[case(json!({"prompt": "x", "model": "MiniMax-H3", "resolution": "1080P"}), "is '1080P'; allowed: 768P, 2K")]
#[case(json!({"prompt": "x", "duration": 10, "resolution": "1080P"}), "duration '10' is not possible with MiniMax-Hailuo-02; allowed: 6")]
#[case(json!({"prompt": "x", "resolution": "512P"}), "resolution '512P' is not possible with MiniMax-Hailuo-02; allowed: 768P, 1080P")]
#[case(json!({"prompt": "x", "last_frame_image": picture_base64(64, 64)}), "allowed")]
#[tokio::test]
async fn what_minimaxs_tables_refuse_is_2013(#[case] mut body: Value, #[case] words: &str) {
    let cloud = Mock::start(MinimaxCloud).await;
    let server = in_front_of(&cloud).await;
    if body["model"].is_null() {
        body["model"] = json!("MiniMax-Hailuo-02");
    }
    let answer = server.post(CREATE, &body).await;
    assert_eq!((answer.status, code(&answer)), (StatusCode::OK, 2013), "{}", answer.text());
    assert!(message(&answer).contains(words), "{}", answer.text());
    assert!(cloud.recorded("create").is_empty());
}
