//! `GET /api/v1/tasks/`, and how clients of unified tasks stop one.

use axum::http::{Method, StatusCode};
use framewright::domain::{ProjectPolicy, TenantPolicies};
use framewright::execution::FakeFailure;
use insta::assert_json_snapshot;
use rstest::rstest;
use serde_json::{Value, json};

use super::stable;
use crate::harness::{Answer, Options, TestServer};

const LIST: &str = "/api/v1/tasks/";

/// A server on which everything waits.
async fn without_device() -> TestServer {
    TestServer::start_with(Options { has_device: false, ..Options::default() }).await
}

/// Asks for a film, and gives its task.
async fn film(server: &TestServer) -> String {
    let body = json!({"model": "demo-svd", "parameters": {"prompt": "a red circle", "size": "64*64", "duration": 0.5, "fps": 8}});
    let accepted = server.post(LIST, &body).await;
    assert_eq!(accepted.status, StatusCode::OK, "{}", accepted.text());
    accepted.json()["results"]["task_id"].as_str().unwrap().to_owned()
}

/// The tasks of a page, and the list's length.
fn listed(answer: &Answer) -> (Vec<String>, u64) {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let results = answer.json()["results"].clone();
    let ids = results["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap().to_owned());
    (ids.collect(), results["total"].as_u64().unwrap())
}

async fn cancel(server: &TestServer, task: &str) -> Answer {
    server.send(server.request(Method::POST, &format!("{LIST}{task}/cancel"), None)).await
}

#[tokio::test]
async fn tasks_are_listed_by_pages() {
    let server = without_device().await;
    let mut tasks = Vec::new();
    for _ in 0..2 {
        tasks.push(server.submit(&json!({"prompt": "x"})).await);
    }
    tasks.push(film(&server).await);
    let first = server.get(&format!("{LIST}?page=1&page_size=2")).await;
    stable().bind(|| assert_json_snapshot!(first.json()));
    assert_eq!(listed(&first), (vec![tasks[2].clone(), tasks[1].clone()], 3));
    let next = first.json()["results"]["next"].as_str().unwrap().to_owned();
    let second = server.get(next.strip_prefix("http://server:8000").unwrap()).await;
    assert_eq!(listed(&second), (vec![tasks[0].clone()], 3));
    let links = second.json()["results"].clone();
    assert_eq!(
        (&links["next"], &links["previous"]),
        (&Value::Null, &json!("http://server:8000/api/v1/tasks/?page=1&page_size=2")),
        "{links:#}"
    );
    let behind = server.get(&format!("{LIST}?page=7&page_size=2")).await;
    assert_eq!(listed(&behind), (Vec::new(), 3));
    assert_eq!(server.get(LIST).await.json()["results"]["page_size"], 10);

    // The native list is what it was, also for those who read it with a slash.
    for path in [
        "/api/v1/tasks",
        "/api/v1/tasks?status=queued",
        "/api/v1/tasks/?limit=5",
        "/api/v1/tasks/?status=queued",
        "/api/v1/tasks/?status=queued,running",
    ] {
        let native = server.get(path).await.json();
        assert_eq!(native["tasks"].as_array().unwrap().len(), 3, "{native:#}");
        assert_eq!(native["next"], Value::Null);
    }
    assert_eq!(server.get("/api/v1/tasks?page=1").await.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn lists_are_chosen_and_ordered() {
    let server = without_device().await;
    let picture = server.submit(&json!({"prompt": "x"})).await;
    let (waiting, stopped) = (film(&server).await, film(&server).await);
    cancel(&server, &stopped).await;
    for (query, expected) in [
        ("", vec![&stopped, &waiting, &picture]),
        ("ordering=-created_at", vec![&stopped, &waiting, &picture]),
        ("ordering=-created", vec![&stopped, &waiting, &picture]),
        ("ordering=created_at", vec![&picture, &waiting, &stopped]),
        ("ordering=created", vec![&picture, &waiting, &stopped]),
        ("status=pending", vec![&waiting, &picture]),
        ("status=cancelled", vec![&stopped]),
        ("status=running", vec![]),
        ("status=completed", vec![]),
        ("status=failed", vec![]),
        ("status=retrying", vec![]),
        ("model=demo-svd", vec![&stopped, &waiting]),
        ("model=demo-svd&status=pending&ordering=created_at", vec![&waiting]),
        ("model=wanx2.1-t2v-turbo", vec![]),
        // What forms send of fields that were left empty.
        ("status=&model=&ordering=&page=&page_size=", vec![&stopped, &waiting, &picture]),
    ] {
        let (ids, total) = listed(&server.get(&format!("{LIST}?{query}")).await);
        assert_eq!((ids.iter().collect::<Vec<_>>(), total), (expected.clone(), expected.len() as u64), "{query}");
    }
    let linked =
        server.get(&format!("{LIST}?ordering=created_at&page_size=1&model=demo-svd&status=cancelled&page=2")).await.json();
    let previous = "http://server:8000/api/v1/tasks/?status=cancelled&model=demo-svd&ordering=created_at&page=1&page_size=1";
    assert_eq!(linked["results"]["previous"], previous, "{linked:#}");
}

#[tokio::test]
async fn a_failed_task_says_why_in_the_list() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Fail { after_steps: 0, code: framewright::domain::ErrorCode::InvalidRequest });
    let task = server.submit(&json!({"prompt": "x"})).await;
    server.wait(&task).await;
    let list = server.get(&format!("{LIST}?status=failed")).await;
    let looked = server.get(&format!("{LIST}{task}/status")).await.json();
    assert_eq!(list.json()["results"]["tasks"], json!([looked["results"]]), "the list has the documents of …/status");
    assert_eq!(looked["results"]["error_code"], "invalid_request");
}

#[tokio::test]
async fn everybody_sees_their_own_tasks() {
    let projects = [("film".parse().unwrap(), ProjectPolicy::default())];
    let policies = TenantPolicies { projects: projects.into(), ..TenantPolicies::default() };
    let server = TestServer::start_with(Options { has_device: false, policies, ..Options::default() }).await;
    let task = server.submit(&json!({"prompt": "x"})).await;
    let other = server.key_of("berta", None).await;
    assert_eq!(listed(&server.send_as(&other, Method::GET, LIST, None).await), (Vec::new(), 0));
    let of_project = server.key_of("anna", Some("film")).await;
    assert_eq!(listed(&server.send_as(&of_project, Method::GET, LIST, None).await), (Vec::new(), 0));
    let in_project = server.send_as(&of_project, Method::POST, "/api/v1/images/generate", Some(&json!({"prompt": "x"}))).await;
    let in_project = in_project.json()["task_id"].as_str().unwrap().to_owned();
    assert_eq!(listed(&server.send_as(&of_project, Method::GET, LIST, None).await), (vec![in_project.clone()], 1));
    assert_eq!(listed(&server.get(LIST).await), (vec![in_project.clone(), task.clone()], 2));
    assert_eq!(listed(&server.administrate(Method::GET, LIST, None).await), (vec![in_project, task], 2));
    let deep = server.administrate(Method::GET, &format!("{LIST}?page=1001"), None).await;
    let allowed = "page is 1001; allowed with a page_size of 10: 1 to 1000 (the list's first 10000 tasks)";
    assert_eq!((deep.status, &deep.json()["message"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(allowed)));
    assert_eq!(listed(&server.get(&format!("{LIST}?page=1001")).await), (Vec::new(), 2));
    let nobody = server.get_openly(LIST).await;
    assert_eq!((nobody.status, &nobody.json()["success"]), (StatusCode::UNAUTHORIZED, &json!(false)));
}

#[rstest]
#[case::page("page=0", "page", "page is 0; allowed with a page_size of 10: 1 to 10000 (the list's first 100000 tasks)")]
#[case::deep("page=2001&page_size=50", "page", "page is 2001; allowed with a page_size of 50: 1 to 2000")]
#[case::no_number("page=two", "page", "must be a whole number")]
#[case::size("page_size=101", "page_size", "page_size is 101; allowed: 1 to 100")]
#[case::status("status=waiting", "status", "allowed: pending, running, completed, failed, cancelled, retrying")]
#[case::model("model=../x", "model", "model cannot be used")]
#[case::ordering("ordering=-updated_at", "ordering", "allowed: -created_at, created_at, -created, created")]
#[case::unknown("search=x", "search", "unknown field `search`")]
#[tokio::test]
async fn what_cannot_be_listed_is_refused_in_the_envelope(#[case] query: &str, #[case] field: &str, #[case] words: &str) {
    let server = without_device().await;
    let answer = server.get(&format!("{LIST}?{query}")).await;
    let document = answer.json();
    assert_eq!(
        (answer.status, &document["success"], &document["results"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!(false), &Value::Null),
        "{document:#}"
    );
    assert_eq!(document["field"].as_str().unwrap_or_default(), field, "{document:#}");
    assert!(document["message"].as_str().unwrap().contains(words), "{document:#}");
}

#[tokio::test]
async fn stopping_answers_clients_of_both_shapes() {
    let server = TestServer::start().await;
    let hanging = server.occupy_device().await;
    let waiting = server.submit(&json!({"prompt": "x"})).await;
    // With the slash, too.
    for path in [format!("{LIST}{waiting}/cancel"), format!("{LIST}{waiting}/cancel/")] {
        let stopped = server.post(&path, &json!({})).await;
        assert_eq!(stopped.status, StatusCode::OK, "{}", stopped.text());
        let document = stopped.json();
        assert_eq!((&document["task_id"], &document["status"]), (&json!(waiting), &json!("cancelled")), "{document:#}");
        let results = &document["results"];
        assert_eq!(
            (&document["success"], &document["message"], &results["task_id"], &results["status"]),
            (&json!(true), &json!("the task is cancelled"), &json!(waiting), &json!("cancelled")),
            "{document:#}"
        );
    }
    let stopping = cancel(&server, &hanging).await.json();
    assert!(
        ["the task is being stopped", "the task is cancelled"].contains(&stopping["message"].as_str().unwrap()),
        "{stopping:#}"
    );
    server.wait(&hanging).await;
}

#[tokio::test]
async fn what_cannot_be_stopped_is_refused_in_both_shapes() {
    let server = TestServer::start().await;
    let ended = server.submit(&json!({"prompt": "x", "num_inference_steps": 1})).await;
    server.wait(&ended).await;
    let unknown = "job_0199a5b6c7d87e0f8a1b2c3d4e5f6071";
    for (task, status, code) in [(ended.as_str(), 409, "already_ended"), (unknown, 404, "task_not_found")] {
        let refused = cancel(&server, task).await;
        let document = refused.json();
        assert_eq!((refused.status.as_u16(), &document["status"], &document["code"]), (status, &json!(status), &json!(code)));
        assert_eq!(
            (&document["success"], &document["message"], &document["results"]),
            (&json!(false), &document["detail"], &Value::Null),
            "{document:#}"
        );
    }
    let nobody =
        server.send(axum::http::Request::post(format!("{LIST}{ended}/cancel")).body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!((nobody.status, &nobody.json()["success"]), (StatusCode::UNAUTHORIZED, &json!(false)));
}
