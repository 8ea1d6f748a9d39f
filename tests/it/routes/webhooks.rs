//! Callbacks: from a request's `callback_url` to a receiver that checks who called, and the log that the owner reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::{Method, StatusCode};
use framewright::domain::{Clock, ProjectPolicy, TenantPolicies};
use framewright::execution::FakeFailure;
use framewright::net::webhook_signature::WebhookSecret;
use framewright::webhooks::challenge;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Options, TestServer, egress};
use crate::outside::{FRIEND, Outside, Received, Reply, VICTIM};

fn options() -> Options {
    Options { egress: egress(&[&format!("{FRIEND}/32")]), ..Options::default() }
}

fn request(url: &str, events: &[&str]) -> Value {
    json!({"prompt": "x", "num_inference_steps": 1, "callback_url": url, "callback_events": events})
}

impl TestServer {
    async fn secret(&self) -> WebhookSecret {
        let answer = self.get("/api/v1/webhooks/secret").await;
        WebhookSecret::parse(answer.json()["secret"].as_str().unwrap()).unwrap()
    }

    async fn deliveries(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/webhooks/deliveries{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["deliveries"].as_array().unwrap().clone()
    }

    /// Waits until the newest delivery is as wanted. What is written down has no event of its own, so that it is looked at again and again.
    async fn delivery(&self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(delivery) = self.deliveries("").await.into_iter().next().filter(&is_wanted) {
                return delivery;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The time of the next try comes.
    fn later(&self, seconds: i64) {
        self.clock.advance_seconds(seconds);
        self.state.webhooks.wake();
    }
}

/// What a receiver does with a message, as Standard Webhooks describes it.
fn check(server: &TestServer, secret: &WebhookSecret, message: &Received) {
    let (id, timestamp) = (message.header("webhook-id"), message.header("webhook-timestamp"));
    let signatures = message.header("webhook-signature");
    assert_eq!(secret.verify(id, timestamp, signatures, &message.body, server.clock.now()), Ok(()));
    assert!(secret.verify(id, timestamp, signatures, b"{}", server.clock.now()).is_err());
    assert_eq!(message.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_receiver_is_told_what_became_of_a_task_and_can_tell_who_says_so() {
    let server = TestServer::start_with(options()).await;
    let receiver = Outside::start(FRIEND, |_, _| Reply::ok("")).await;
    let body = request(&receiver.url("/hook?token=abc"), &["accepted", "started", "completed", "failed"]);
    let task = server.submit(&body).await;
    server.wait(&task).await;
    let messages = receiver.wait_for(3).await;
    let secret = server.secret().await;
    let told = |event: &str| messages.iter().find(|message| message.json()["type"] == format!("task.{event}")).unwrap();
    for (event, status) in [("accepted", "queued"), ("started", "running"), ("completed", "completed")] {
        let message = told(event);
        check(&server, &secret, message);
        assert_eq!(message.path, "/hook?token=abc");
        assert_eq!(message.header("webhook-id"), format!("msg_{}_{event}", &task[4..]));
        let data = &message.json()["data"];
        assert_eq!((&data["task_id"], &data["status"]), (&json!(task), &json!(status)), "{data}");
    }
    let outputs = &told("completed").json()["data"]["outputs"];
    let link = outputs[0]["url"].as_str().unwrap().strip_prefix("http://server:8000").unwrap().to_owned();
    let file = server.get_openly(&link).await;
    assert_eq!((file.status, file.body.len() as u64), (StatusCode::OK, outputs[0]["bytes"].as_u64().unwrap()));

    let log = server.get(&format!("/api/v1/tasks/{task}/webhooks")).await.json();
    assert_eq!(log["deliveries"].as_array().unwrap().len(), 3, "{log:#}");
    server.delivery(|delivery| delivery["status"] == "delivered").await;
    let metrics = server.administrate(Method::GET, "/metrics", None).await.text();
    assert!(metrics.contains("framewright_callbacks_total{outcome=\"delivered\"}"), "{metrics}");
}

#[tokio::test]
async fn by_default_only_ends_are_told() {
    let server = TestServer::start_with(options()).await;
    let receiver = Outside::start(FRIEND, |_, _| Reply::ok("")).await;
    server.device.plan(FakeFailure::Hang { after_steps: 0 });
    let body = json!({"prompt": "x", "num_inference_steps": 1, "callback_url": receiver.url("/")});
    let task = server.submit(&body).await;
    let waiting = server.submit(&body).await;
    for task in [&waiting, &task] {
        let answer = server.post(&format!("/api/v1/tasks/{task}/cancel"), &json!({})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        server.wait(task).await;
    }
    let messages = receiver.wait_for(2).await;
    let types: Vec<Value> = messages.iter().map(|message| message.json()["type"].clone()).collect();
    assert_eq!(types, ["task.cancelled", "task.cancelled"]);
    let again = server.post(&format!("/api/v1/tasks/{waiting}/retry"), &json!({})).await.json();
    server.wait(again["task_id"].as_str().unwrap()).await;
    let last = receiver.wait_for(3).await.remove(2).json();
    assert_eq!((&last["type"], &last["data"]["retry_of"]), (&json!("task.completed"), &json!(waiting)), "a retry calls back too");
}

#[rstest]
#[case::unified_film("/api/v1/tasks", json!({"model": "demo-svd", "parameters": {"prompt": "x"}}))]
#[case::unified_picture("/api/v1/tasks", json!({"model": "demo-sdxl", "parameters": {"prompt": "x"}}))]
#[case::openai("/v1/videos", json!({"prompt": "x"}))]
#[tokio::test]
async fn other_surfaces_call_back_too(#[case] path: &str, #[case] mut body: Value) {
    let server = TestServer::start_with(Options { has_device: false, ..options() }).await;
    let receiver = Outside::start(FRIEND, |_, _| Reply::ok("")).await;
    body["callback_url"] = receiver.url("/").into();
    let answer = server.post(path, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let answer = answer.json();
    let task = answer["id"].as_str().or(answer["results"]["task_id"].as_str()).unwrap().to_owned();
    server.post(&format!("/api/v1/tasks/{task}/cancel"), &json!({})).await;
    let message = receiver.wait_for(1).await.remove(0).json();
    assert_eq!((&message["type"], &message["data"]["task_id"]), (&json!("task.cancelled"), &json!(task)), "{message:#}");
    body["callback_url"] = "http://127.0.0.1/".into();
    let refused = server.post(path, &body).await;
    assert!(refused.status.is_client_error() && refused.text().contains("callback_url"), "{}", refused.text());
}

#[tokio::test]
async fn what_fails_is_sent_again_with_the_same_id() {
    let server = TestServer::start_with(options()).await;
    let receiver = Outside::start(FRIEND, |number, _| if number < 2 { Reply::status(500) } else { Reply::status(204) }).await;
    let task = server.submit(&request(&receiver.url("/"), &["completed"])).await;
    server.wait(&task).await;
    let failed = server.delivery(|delivery| delivery["last_status_code"] == 500).await;
    assert_eq!((&failed["status"], &failed["attempts"]), (&json!("pending"), &json!(1)), "{failed:#}");
    assert_eq!(failed["last_error"], "the receiver answered 500");
    server.later(6);
    server.delivery(|delivery| delivery["attempts"] == 2 && delivery["updated_at"] != failed["updated_at"]).await;
    receiver.wait_for(2).await;
    server.delivery(|delivery| delivery["next_attempt_at"].as_str() < Some("2026-01-02T03:05:00")).await;
    server.later(40);
    let delivered = server.delivery(|delivery| delivery["status"] == "delivered").await;
    assert_eq!((&delivered["attempts"], &delivered["last_status_code"]), (&json!(3), &json!(204)), "{delivered:#}");
    assert_eq!((&delivered["next_attempt_at"], &delivered["last_error"]), (&Value::Null, &Value::Null));
    let messages = receiver.received();
    let secret = server.secret().await;
    let ids: Vec<&str> = messages.iter().map(|message| message.header("webhook-id")).collect();
    assert_eq!(ids, [delivered["delivery_id"].as_str().unwrap(); 3]);
    check(&server, &secret, messages.last().unwrap());
}

#[tokio::test]
async fn a_receiver_that_has_gone_is_left_alone_until_its_owner_asks() {
    let server = TestServer::start_with(options()).await;
    let is_there = Arc::new(AtomicBool::new(false));
    let there = is_there.clone();
    let answer = move |_: usize, _: &Received| if there.load(Ordering::SeqCst) { Reply::ok("") } else { Reply::status(410) };
    let receiver = Outside::start(FRIEND, answer).await;
    let task = server.submit(&request(&receiver.url("/"), &["completed"])).await;
    server.wait(&task).await;
    let gone = server.delivery(|delivery| delivery["status"] == "failed").await;
    assert_eq!(server.deliveries("?status=failed").await, std::slice::from_ref(&gone));
    assert!(server.deliveries("?status=delivered").await.is_empty());
    is_there.store(true, Ordering::SeqCst);
    let path = format!("/api/v1/webhooks/deliveries/{}/replay", gone["delivery_id"].as_str().unwrap());
    let bob = server.key_of("bob", None).await;
    for (key, status) in [(bob.as_str(), StatusCode::NOT_FOUND), (server.user_key.as_str(), StatusCode::ACCEPTED)] {
        assert_eq!(server.send_as(key, Method::POST, &path, None).await.status, status);
    }
    let delivered = server.delivery(|delivery| delivery["status"] == "delivered").await;
    assert_eq!(
        (&delivered["delivery_id"], &delivered["attempts"]),
        (&gone["delivery_id"], &json!(3)),
        "two sent, and one asked for by hand"
    );
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn a_receiver_that_hangs_keeps_no_others_waiting_nor_the_server() {
    const OTHER_FRIEND: &str = "127.83.22.10";
    let silent = Outside::start(FRIEND, |_, _| Reply::Silence).await;
    let quick = Outside::start(OTHER_FRIEND, |_, _| Reply::ok("")).await;
    let egress = egress(&[FRIEND, OTHER_FRIEND].map(|host| format!("{host}/32")).each_ref().map(String::as_str));
    let server = TestServer::start_with(Options { egress, ..options() }).await;
    for _ in 0..6 {
        server.submit(&request(&silent.url("/"), &["accepted"])).await;
    }
    silent.wait_for(4).await;
    let task = server.submit(&request(&quick.url("/"), &["accepted"])).await;
    quick.wait_for(1).await;
    server.delivery(|delivery| delivery["task_id"] == task && delivery["status"] == "delivered").await;
    assert_eq!(silent.received().len(), 4, "no more than its share");
    let waiting = server.deliveries("?status=pending").await;
    assert_eq!(waiting.len(), 6);
    server.stop().await;
}

#[tokio::test]
async fn redirects_are_not_followed_and_what_is_not_opened_is_not_called() {
    let server = TestServer::start_with(options()).await;
    let victim = Outside::start(VICTIM, |_, _| Reply::ok("")).await;
    let target = victim.url("/secret");
    let receiver = Outside::start(FRIEND, move |_, _| Reply::redirect(&target)).await;
    server.submit(&request(&receiver.url("/"), &["accepted"])).await;
    let failed = server.delivery(|delivery| delivery["last_status_code"] == 307).await;
    assert_eq!(failed["status"], "pending");
    assert!(failed["last_error"].as_str().unwrap().contains("a redirect, which is not followed here"), "{failed:#}");
    for (link, words) in [
        (victim.url("/"), "is not called, because it is a loopback address"),
        ("https://169.254.169.254/latest".to_owned(), "is not called"),
        ("ftp://example.com/".to_owned(), "write https://"),
        ("https://me:secret@example.com/".to_owned(), "user name or a password"),
        ("nonsense".to_owned(), "not a link"),
    ] {
        let answer = server.post("/api/v1/images/generate", &request(&link, &["accepted"])).await;
        let problem = answer.json();
        assert_eq!((answer.status, &problem["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("callback_url")), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(words) && !detail.contains("secret"), "{detail}");
    }
    assert!(victim.received().is_empty());
}

#[tokio::test]
async fn rules_that_have_changed_since_count_and_rows_survive_a_restart() {
    let server = TestServer::start_with(options()).await;
    let receiver = Outside::start(FRIEND, |number, _| if number == 0 { Reply::status(503) } else { Reply::ok("") }).await;
    let task = server.submit(&request(&receiver.url("/"), &["completed"])).await;
    server.wait(&task).await;
    let before = server.delivery(|delivery| delivery["attempts"] == 1 && delivery["last_status_code"] == 503).await;
    let directory = server.stop().await;

    let server = TestServer::start_with(Options { directory: Some(directory), ..options() }).await;
    server.later(6);
    let delivered = server.delivery(|delivery| delivery["status"] == "delivered").await;
    assert_eq!((&delivered["delivery_id"], &delivered["attempts"]), (&before["delivery_id"], &json!(2)));
    let messages = receiver.received();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0].header("webhook-id"), messages[1].header("webhook-id"), "one id, whoever sends it");
    let directory = server.stop().await;

    // The operator has closed the network since.
    let server = TestServer::start_with(Options { directory: Some(directory), ..Options::default() }).await;
    let path = format!("/api/v1/webhooks/deliveries/{}/replay", delivered["delivery_id"].as_str().unwrap());
    assert_eq!(server.post(&path, &json!({})).await.status, StatusCode::ACCEPTED);
    let refused = server.delivery(|delivery| delivery["status"] == "failed").await;
    assert!(refused["last_error"].as_str().unwrap().contains("is not called"), "{refused:#}");
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn nobody_sees_others_callbacks() {
    let server = TestServer::start_with(options()).await;
    let receiver = Outside::start(FRIEND, |_, _| Reply::ok("")).await;
    let task = server.submit(&request(&receiver.url("/"), &["accepted"])).await;
    let bob = server.key_of("bob", None).await;
    let within = server.key_of("anna", Some("film")).await;
    let list = async |key: &str, path: &str| server.send_as(key, Method::GET, path, None).await;
    for key in [&bob, &within] {
        let of_task = list(key, &format!("/api/v1/tasks/{task}/webhooks")).await;
        assert_eq!(of_task.status, StatusCode::NOT_FOUND);
        for query in [String::new(), format!("?task_id={task}")] {
            let seen = list(key, &format!("/api/v1/webhooks/deliveries{query}")).await.json();
            assert_eq!(seen, json!({"deliveries": [], "next": null}));
        }
    }
    assert_eq!(server.deliveries(&format!("?task_id={task}")).await.len(), 1);
    let all = server.administrate(Method::GET, "/api/v1/webhooks/deliveries", None).await.json();
    assert_eq!(all["deliveries"].as_array().unwrap().len(), 1);
    let secrets = (list(&bob, "/api/v1/webhooks/secret").await.json(), server.get("/api/v1/webhooks/secret").await.json());
    assert_ne!(secrets.0, secrets.1);
}

#[tokio::test]
async fn a_key_of_a_project_reaches_no_further_than_its_project() {
    let projects = ["film", "other"].map(|project| (project.parse().unwrap(), ProjectPolicy::default()));
    let policies = TenantPolicies { projects: projects.into(), ..TenantPolicies::default() };
    let server = TestServer::start_with(Options { policies, ..options() }).await;
    let receiver = Outside::start(FRIEND, |_, _| Reply::ok("")).await;
    let (within, elsewhere) = (server.key_of("anna", Some("film")).await, server.key_of("anna", Some("other")).await);
    let unbound = server.key_of("anna", None).await;
    let mut deliveries = Vec::new();
    for key in [&within, &unbound] {
        let body = request(&receiver.url("/"), &["accepted"]);
        let accepted = server.send_as(key, Method::POST, "/api/v1/images/generate", Some(&body)).await.json();
        let task = accepted["task_id"].as_str().unwrap().to_owned();
        deliveries.push(format!("msg_{}_accepted", &task[4..]));
    }
    receiver.wait_for(2).await;
    let replay = async |key: &str, delivery: &str| {
        let path = format!("/api/v1/webhooks/deliveries/{delivery}/replay");
        server.send_as(key, Method::POST, &path, None).await.status
    };
    let seen = async |key: &str| {
        let listed = server.send_as(key, Method::GET, "/api/v1/webhooks/deliveries", None).await.json();
        let ids = listed["deliveries"].as_array().unwrap().iter().map(|delivery| delivery["delivery_id"].clone());
        ids.map(|id| id.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (of_project, of_user) = (deliveries[0].as_str(), deliveries[1].as_str());
    for (key, expected) in [
        (&within, [(of_project, StatusCode::ACCEPTED), (of_user, StatusCode::NOT_FOUND)]),
        (&elsewhere, [(of_project, StatusCode::NOT_FOUND), (of_user, StatusCode::NOT_FOUND)]),
        (&unbound, [(of_project, StatusCode::ACCEPTED), (of_user, StatusCode::ACCEPTED)]),
    ] {
        let mut visible: Vec<&str> =
            expected.iter().filter(|(_, status)| *status == StatusCode::ACCEPTED).map(|(id, _)| *id).collect();
        visible.reverse();
        assert_eq!(seen(key).await, visible);
        for (delivery, status) in expected {
            assert_eq!(replay(key, delivery).await, status, "{delivery}");
        }
    }
    // The secret signs for all of the user's.
    let secret = async |key: &str| server.send_as(key, Method::GET, "/api/v1/webhooks/secret", None).await;
    let refused = secret(&within).await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")), "{}", refused.text());
    assert!(refused.json()["detail"].as_str().unwrap().contains("bound to project 'film'") && !refused.text().contains("whsec_"));
    assert_eq!(secret(&unbound).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_dead_receiver_of_one_user_holds_up_nobody_else() {
    let dead = Outside::start(FRIEND, |_, request| if request.path == "/dead" { Reply::Silence } else { Reply::ok("") }).await;
    let server = TestServer::start_with(Options { has_device: false, ..options() }).await;
    for _ in 0..12 {
        server.submit(&request(&dead.url("/dead"), &["accepted"])).await;
    }
    dead.wait_for(4).await;
    // To the same host, of another user.
    let bob = server.key_of("bob", None).await;
    let body = request(&dead.url("/well"), &["accepted"]);
    let answer = server.send_as(&bob, Method::POST, "/api/v1/images/generate", Some(&body)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let paths: Vec<String> = dead.wait_for(5).await.into_iter().map(|message| message.path).collect();
    assert_eq!(paths, ["/dead", "/dead", "/dead", "/dead", "/well"]);
    server.stop().await;
}

#[rstest]
#[case::limit("?limit=0", "limit")]
#[case::status("?status=lost", "status")]
#[case::task("?task_id=x", "task_id")]
#[case::before("?before=job_1", "before")]
#[tokio::test]
async fn what_cannot_be_asked_of_the_log_is_said(#[case] query: &str, #[case] field: &str) {
    let server = TestServer::start_with(Options { has_device: false, ..options() }).await;
    let answer = server.get(&format!("/api/v1/webhooks/deliveries{query}")).await;
    assert_eq!((answer.status, &answer.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)));
}

#[tokio::test]
async fn the_log_has_pages() {
    let server = TestServer::start_with(Options { has_device: false, ..options() }).await;
    let receiver = Outside::start(FRIEND, |_, _| Reply::ok("")).await;
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(server.submit(&request(&receiver.url("/"), &["accepted"])).await);
    }
    let page = server.get("/api/v1/webhooks/deliveries?limit=2").await.json();
    let seen: Vec<&Value> = page["deliveries"].as_array().unwrap().iter().map(|delivery| &delivery["task_id"]).collect();
    assert_eq!(seen, [&json!(tasks[2]), &json!(tasks[1])]);
    let rest = server.deliveries(&format!("?limit=2&before={}", page["next"].as_str().unwrap())).await;
    assert_eq!((rest.len(), &rest[0]["task_id"]), (1, &json!(tasks[0])));
}

#[tokio::test]
async fn a_receiver_must_give_back_the_challenge() {
    let egress = egress(&[&format!("{FRIEND}/32")]);
    let receiver = Outside::start(FRIEND, |_, request| match request.path.as_str() {
        "/right" => Reply::ok(json!({"challenge": request.json()["challenge"]}).to_string()),
        "/wrong" => Reply::ok(json!({"challenge": "x"}).to_string()),
        "/text" => Reply::ok("ok"),
        _ => Reply::status(404),
    })
    .await;
    let asked = async |path: &str| challenge(&egress, &egress.policy().check(&receiver.url(path)).unwrap()).await;
    assert!(asked("/right").await.is_ok());
    for (path, words) in [("/wrong", "did not give back"), ("/text", "did not give back"), ("/404", "with 404")] {
        let message = asked(path).await.unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
    let challenges: Vec<Value> = receiver.received().iter().map(|request| request.json()["challenge"].clone()).collect();
    assert!(challenges.windows(2).all(|pair| pair[0] != pair[1]), "nobody can guess it");
}
