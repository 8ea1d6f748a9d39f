//! `/api/v1/admin` and `/api/v1/devices`.

use axum::http::{Method, StatusCode};
use framewright::domain::{ProjectPolicy, Quotas, TenantPolicies, TenantPolicy};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Options, TestServer};

fn policies() -> TenantPolicies {
    let policy = TenantPolicy { quotas: Quotas { images_per_day: Some(10), ..Quotas::default() }, ..TenantPolicy::default() };
    TenantPolicies {
        users: [("bert".parse().unwrap(), policy)].into(),
        projects: [("film".parse().unwrap(), ProjectPolicy::default())].into(),
        ..TenantPolicies::default()
    }
}

async fn idle_server() -> TestServer {
    TestServer::start_with(Options { has_device: false, policies: policies(), ..Options::default() }).await
}

async fn administrate(server: &TestServer, method: Method, path: &str, body: Option<Value>) -> Value {
    let answer = server.administrate(method, path, body.as_ref()).await;
    assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text());
    answer.json()
}

#[rstest]
#[case(Method::GET, "users")]
#[case(Method::GET, "users/anna")]
#[case(Method::GET, "projects")]
#[case(Method::GET, "projects/film")]
#[case(Method::GET, "keys")]
#[case(Method::POST, "keys")]
#[case(Method::POST, "keys/key_0199a5b6c7d87e0f8a1b2c3d4e5f6071/revoke")]
#[case(Method::GET, "usage?user=bert")]
#[case(Method::POST, "devices/fake/drain")]
#[case(Method::POST, "devices/fake/undrain")]
#[case(Method::POST, "models/demo-sdxl/load")]
#[case(Method::POST, "models/demo-sdxl/unload")]
#[case(Method::POST, "models/demo-sdxl/pin")]
#[case(Method::POST, "models/demo-sdxl/unpin")]
#[case(Method::GET, "queue")]
#[case(Method::POST, "queue/job_0199a5b6c7d87e0f8a1b2c3d4e5f6071/priority")]
#[tokio::test]
async fn administration_is_for_administrators(#[case] method: Method, #[case] path: &str) {
    let server = idle_server().await;
    let path = format!("/api/v1/admin/{path}");
    let project_key = server.key_of("anna", Some("film")).await;
    for key in [&server.user_key, &project_key] {
        let answer = server.send_as(key, method.clone(), &path, None).await;
        assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")));
    }
    let stranger = server.send_as("fw_nobody", method, &path, None).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_is_shown_once_and_works_until_it_is_revoked() {
    let server = idle_server().await;
    let body = json!({"user": "dora", "scope": "project", "project": "film", "expires_in_days": 2});
    let answer = server.administrate(Method::POST, "/api/v1/admin/keys", Some(&body)).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::CREATED, "no-store"), "{}", answer.text());
    let created = answer.json();
    assert_eq!((&created["scope"], &created["project"]), (&json!("project"), &json!("film")));
    assert_eq!(created["expires_at"], "2026-01-04T03:04:05.000Z");
    let key = created["key"].as_str().unwrap();
    assert_eq!(server.send_as(key, Method::GET, "/api/v1/tasks", None).await.status, StatusCode::OK);

    let listed = server.administrate(Method::GET, "/api/v1/admin/keys?user=dora", None).await;
    assert_eq!(listed.json()["keys"].as_array().unwrap().len(), 1);
    assert!(!listed.text().contains(key) && !listed.text().contains("sha256"), "{}", listed.text());

    let revoke = format!("/api/v1/admin/keys/{}/revoke", created["id"].as_str().unwrap());
    assert!(administrate(&server, Method::POST, &revoke, None).await["revoked_at"].is_string());
    assert_eq!(server.send_as(key, Method::GET, "/api/v1/tasks", None).await.status, StatusCode::UNAUTHORIZED);
    let unknown = server.administrate(Method::POST, "/api/v1/admin/keys/key_nope/revoke", None).await;
    assert_eq!((unknown.status, &unknown.json()["code"]), (StatusCode::NOT_FOUND, &json!("key_not_found")));
}

#[tokio::test]
async fn a_key_ends_by_itself() {
    let server = idle_server().await;
    let created =
        administrate(&server, Method::POST, "/api/v1/admin/keys", Some(json!({"user": "dora", "expires_in_days": 1}))).await;
    let key = created["key"].as_str().unwrap();
    server.clock.advance_seconds(86_399);
    assert_eq!(server.send_as(key, Method::GET, "/api/v1/tasks", None).await.status, StatusCode::OK);
    server.clock.advance_seconds(1);
    assert_eq!(server.send_as(key, Method::GET, "/api/v1/tasks", None).await.status, StatusCode::UNAUTHORIZED);
}

#[rstest]
#[case::user("user", json!({"user": "../etc"}), StatusCode::UNPROCESSABLE_ENTITY)]
#[case::no_user("user", json!({}), StatusCode::UNPROCESSABLE_ENTITY)]
#[case::scope("scope", json!({"user": "dora", "scope": "god"}), StatusCode::UNPROCESSABLE_ENTITY)]
#[case::no_project("project", json!({"user": "dora", "scope": "project"}), StatusCode::UNPROCESSABLE_ENTITY)]
#[case::unknown_project("project", json!({"user": "dora", "scope": "project", "project": "nope"}), StatusCode::NOT_FOUND)]
#[case::project_path("project", json!({"user": "dora", "scope": "project", "project": "../../x"}), StatusCode::UNPROCESSABLE_ENTITY)]
#[case::unwanted_project("project", json!({"user": "dora", "scope": "admin", "project": "film"}), StatusCode::UNPROCESSABLE_ENTITY)]
#[case::never("expires_in_days", json!({"user": "dora", "expires_in_days": 0}), StatusCode::UNPROCESSABLE_ENTITY)]
#[case::too_late("expires_in_days", json!({"user": "dora", "expires_in_days": 1e300}), StatusCode::UNPROCESSABLE_ENTITY)]
#[case::one_day_too_late("expires_in_days", json!({"user": "dora", "expires_in_days": 3651}), StatusCode::UNPROCESSABLE_ENTITY)]
#[case::unknown_field("role", json!({"user": "dora", "role": "admin"}), StatusCode::UNPROCESSABLE_ENTITY)]
#[tokio::test]
async fn keys_that_cannot_be_made(#[case] field: &str, #[case] body: Value, #[case] status: StatusCode) {
    let server = idle_server().await;
    let answer = server.administrate(Method::POST, "/api/v1/admin/keys", Some(&body)).await;
    assert_eq!((answer.status, answer.json()["field"].as_str()), (status, Some(field)), "{}", answer.text());
    assert_eq!(administrate(&server, Method::GET, "/api/v1/admin/keys?user=dora", None).await["keys"], json!([]));
}

#[tokio::test]
async fn users_and_projects_are_shown_with_policy_and_usage() {
    let server = idle_server().await;
    server.submit(&json!({"prompt": "x", "project_id": "film"})).await;
    let users = administrate(&server, Method::GET, "/api/v1/admin/users", None).await;
    let names: Vec<&str> = users["users"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["anna", "bert"], "those with a key, and those with a file");
    assert_eq!((&users["users"][0]["has_file"], &users["users"][1]["has_file"]), (&json!(false), &json!(true)));
    assert_eq!(users["users"][1]["policy"]["quotas"]["images_per_day"], 10);
    let anna = administrate(&server, Method::GET, "/api/v1/admin/users/anna", None).await;
    assert_eq!((&anna["usage"][0]["meter"], &anna["usage"][0]["used"]), (&json!("images"), &json!(1)), "{anna}");
    assert_eq!(anna["keys"].as_array().unwrap().len(), 1);

    let film = administrate(&server, Method::GET, "/api/v1/admin/projects/film", None).await;
    assert_eq!((&film["usage"][0]["holder"], &film["usage"][0]["used"]), (&json!("project:film"), &json!(1)));
    let both = administrate(&server, Method::GET, "/api/v1/admin/usage?user=anna&project=film", None).await;
    assert_eq!((&both["user"], &both["project"]), (&json!("anna"), &json!("film")));
    for (path, status) in [
        ("usage", StatusCode::UNPROCESSABLE_ENTITY),
        ("usage?user=..%2Fx", StatusCode::UNPROCESSABLE_ENTITY),
        ("users/..%2F..%2Fetc", StatusCode::UNPROCESSABLE_ENTITY),
        ("projects/nope", StatusCode::NOT_FOUND),
        ("usage?project=nope", StatusCode::NOT_FOUND),
    ] {
        let answer = server.administrate(Method::GET, &format!("/api/v1/admin/{path}"), None).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn tenants_are_listed_a_page_at_a_time() {
    let policy =
        |images| TenantPolicy { quotas: Quotas { images_per_day: Some(images), ..Quotas::default() }, ..TenantPolicy::default() };
    let project = |images| ProjectPolicy { policy: policy(images), ..ProjectPolicy::default() };
    let policies = TenantPolicies {
        users: (0..230).map(|n| (format!("user-{n:03}").parse().unwrap(), policy(n + 1))).collect(),
        projects: (0..230).map(|n| (format!("film-{n:03}").parse().unwrap(), project(n + 1))).collect(),
        ..TenantPolicies::default()
    };
    let server = TestServer::start_with(Options { has_device: false, policies, ..Options::default() }).await;
    let key = server.key_of("user-150", None).await;
    let order = json!({"prompt": "x", "project_id": "film-150"});
    assert_eq!(server.send_as(&key, Method::POST, "/api/v1/images/generate", Some(&order)).await.status, StatusCode::ACCEPTED);
    for (list, name, first) in [("users", "user", Some("anna")), ("projects", "film", None)] {
        let (mut seen, mut pages, mut query) = (Vec::new(), 0, "limit=100".to_owned());
        loop {
            let page = administrate(&server, Method::GET, &format!("/api/v1/admin/{list}?{query}"), None).await;
            seen.extend(page[list].as_array().unwrap().clone());
            pages += 1;
            let Some(next) = page["next"].as_str() else { break };
            query = format!("limit=100&after={next}");
        }
        let ids: Vec<&str> = seen.iter().map(|entry| entry["id"].as_str().unwrap()).collect();
        let names = (0..230).map(|n| format!("{name}-{n:03}"));
        let expected: Vec<String> = first.map(str::to_owned).into_iter().chain(names).collect();
        assert_eq!((ids, pages), (expected.iter().map(String::as_str).collect(), 3));
        // Each has its own counters.
        for entry in seen.iter().filter(|entry| entry["id"] != "anna") {
            let images = entry["usage"].as_array().unwrap().iter().find(|counter| counter["meter"] == "images").unwrap();
            let (id, number) = (entry["id"].as_str().unwrap(), entry["policy"]["quotas"]["images_per_day"].as_i64().unwrap() - 1);
            assert!(id.ends_with(&format!("-{number:03}")) && images["holder"].as_str().unwrap().ends_with(id), "{entry}");
            assert_eq!((&images["limit"], &images["used"]), (&json!(number + 1), &json!(i32::from(number == 150))), "{entry}");
        }
        let short = administrate(&server, Method::GET, &format!("/api/v1/admin/{list}"), None).await;
        assert_eq!(short[list].as_array().unwrap().len(), 20);
        for query in ["limit=0", "limit=101", "limit=x", "offset=1"] {
            let answer = server.administrate(Method::GET, &format!("/api/v1/admin/{list}?{query}"), None).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_drained_device_takes_nothing_new() {
    let server = TestServer::start().await;
    let drained = administrate(&server, Method::POST, "/api/v1/admin/devices/fake/drain", None).await;
    assert_eq!((&drained["name"], &drained["draining"]), (&json!("fake"), &json!(true)));
    let id = server.submit(&json!({"prompt": "x", "num_inference_steps": 1})).await;
    assert_eq!(server.get(&format!("/api/v1/tasks/{id}")).await.json()["status"], "queued");
    assert_eq!(administrate(&server, Method::POST, "/api/v1/admin/devices/fake/undrain", None).await["draining"], false);
    server.wait(&id).await;
    assert_eq!(server.get(&format!("/api/v1/tasks/{id}")).await.json()["status"], "completed");
    let unknown = server.administrate(Method::POST, "/api/v1/admin/devices/cuda:9/drain", None).await;
    assert_eq!((unknown.status, &unknown.json()["code"]), (StatusCode::NOT_FOUND, &json!("device_not_found")));
}

#[tokio::test]
async fn models_are_loaded_pinned_and_unloaded_by_hand() {
    let server = TestServer::start().await;
    let order = |what: &'static str, body: Option<Value>| {
        let server = &server;
        async move { administrate(server, Method::POST, &format!("/api/v1/admin/models/demo-sdxl/{what}"), body).await }
    };
    let loaded = order("load", None).await;
    assert_eq!(loaded["devices"][0]["models"][0]["model"], "demo-sdxl", "{loaded}");
    let pinned = order("pin", None).await;
    assert_eq!(pinned["devices"][0]["models"][0]["pinned"], true, "{pinned}");
    let seen = server.get("/api/v1/devices").await.json();
    assert_eq!(seen["devices"][0]["models"][0]["pinned"], true, "{seen}");
    assert_eq!(seen["devices"][0]["tasks"], Value::Null, "which tasks run is for administrators");
    let refused = server.administrate(Method::POST, "/api/v1/admin/models/demo-sdxl/unload", None).await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::CONFLICT, &json!("device_refused")));
    order("unpin", None).await;
    order("unload", Some(json!({"device": "fake"}))).await;
    assert_eq!(server.get("/api/v1/devices").await.json()["devices"][0]["models"], json!([]));
    let elsewhere = json!({"device": "cuda:9"});
    for (path, body) in [
        ("nope/load", None),
        ("nope/unload", None),
        ("nope/pin", None),
        ("nope/unpin", None),
        ("..%2Fx/load", None),
        ("..%2Fx/pin", None),
        ("demo-sdxl/load", Some(&elsewhere)),
        ("demo-sdxl/unload", Some(&elsewhere)),
    ] {
        let answer = server.administrate(Method::POST, &format!("/api/v1/admin/models/{path}"), body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_queue_is_shown_and_reordered() {
    let server = idle_server().await;
    let first = server.submit(&json!({"prompt": "x"})).await;
    let last = server.submit(&json!({"prompt": "x"})).await;
    server.clock.advance_seconds(7);
    let moved =
        administrate(&server, Method::POST, &format!("/api/v1/admin/queue/{last}/priority"), Some(json!({"priority": 500})))
            .await;
    assert_eq!((&moved["priority"], &moved["age_seconds"]), (&json!(500), &json!(7.0)));
    // The scheduler hears of changes a moment later.
    let queue = loop {
        let queue = administrate(&server, Method::GET, "/api/v1/admin/queue", None).await;
        if queue["tasks"][0]["task_id"] == json!(last) && queue["waiting"] == json!(2) {
            break queue;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&queue["tasks"][1]["task_id"], &queue["tasks"][1]["position"]), (&json!(first), &json!(2)));
    assert_eq!((&queue["tasks"][0]["position"], &queue["next"]), (&json!(1), &Value::Null));
    let page = administrate(&server, Method::GET, "/api/v1/admin/queue?limit=1", None).await;
    assert_eq!((&page["tasks"][0]["task_id"], &page["next"]), (&json!(last), &json!(1)));
    let page = administrate(&server, Method::GET, "/api/v1/admin/queue?limit=1&offset=1", None).await;
    assert_eq!((&page["tasks"][0]["task_id"], &page["next"]), (&json!(first), &Value::Null));
    for query in ["limit=0", "limit=101", "offset=9901", "offset=-1", "before=x"] {
        let answer = server.administrate(Method::GET, &format!("/api/v1/admin/queue?{query}"), None).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {}", answer.text());
    }

    let cancelled = server.administrate(Method::POST, &format!("/api/v1/tasks/{first}/cancel"), None).await;
    assert_eq!(cancelled.status, StatusCode::OK, "administrators stop anybody's task");
    for (id, body, status) in [
        (first.as_str(), json!({"priority": 1}), StatusCode::CONFLICT),
        ("job_nope", json!({"priority": 1}), StatusCode::NOT_FOUND),
        (last.as_str(), json!({"priority": 1001}), StatusCode::UNPROCESSABLE_ENTITY),
        (last.as_str(), json!({"priority": "high"}), StatusCode::UNPROCESSABLE_ENTITY),
        (last.as_str(), json!({}), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let answer = server.administrate(Method::POST, &format!("/api/v1/admin/queue/{id}/priority"), Some(&body)).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_administrators_retry_counts_for_the_tasks_user() {
    let server = idle_server().await;
    let id = server.submit(&json!({"prompt": "x"})).await;
    server.free_device(&id).await;
    let retried = administrate(&server, Method::POST, &format!("/api/v1/tasks/{id}/retry"), None).await;
    let again = server.get(&format!("/api/v1/tasks/{}", retried["task_id"].as_str().unwrap())).await.json();
    assert_eq!((&again["user_id"], &again["retry_of"]), (&json!("anna"), &json!(id)));
    let usage = administrate(&server, Method::GET, "/api/v1/admin/usage?user=anna", None).await;
    assert_eq!(usage["quotas"][0]["used"], 1);
}
