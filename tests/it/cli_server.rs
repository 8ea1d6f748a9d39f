//! `generate` with `--server`, as a user runs it against a running server.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use framewright::domain::{Price, ProviderKind, ProviderSettings};
use framewright::routes::{Route, RouteTarget, Strategy};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

use crate::harness::{Options, TestServer, egress};
use crate::providers::{MinimaxCloud, Mock, ZhipuaiCloud};
use crate::routes::remote::entry;

/// The address at which a router is served until the test ends.
#[expect(clippy::disallowed_methods, reason = "a test's server ends with the test")]
async fn served(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

fn generate(directory: &Path, server: &TestServer, address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framewright"));
    command
        .arg("generate")
        .args(arguments)
        .args(["--server", address, "--api-key", &server.user_key])
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory.join("home"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn run(directory: &Path, server: &TestServer, address: &str, arguments: &[&str]) -> Output {
    generate(directory, server, address, arguments).output().await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The one task that the server has, once it has it.
async fn only_task(server: &TestServer) -> Value {
    let started = std::time::Instant::now();
    loop {
        let tasks = server.get("/api/v1/tasks").await.json()["tasks"].take();
        if let Some(task) = tasks.as_array().unwrap().first() {
            return task.clone();
        }
        assert!(started.elapsed().as_secs() < 60, "nothing was submitted");
        tokio::task::yield_now().await;
    }
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_raw(child.id().unwrap() as i32).unwrap(), Signal::INT).unwrap();
}

const PICTURE: [&str; 5] = ["image", "--model", "demo-sdxl", "--prompt", "a ship"];

#[tokio::test]
async fn who_stops_the_command_stops_the_job() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let address = served(server.router.clone()).await;
    let directory = tempfile::tempdir().unwrap();
    let film = ["video", "--model", "demo-svd", "--prompt", "a ship", "--image-model", "demo-sdxl"];
    for arguments in [&PICTURE[..], &film] {
        let child = generate(directory.path(), &server, &address, arguments).spawn().unwrap();
        let task = only_task(&server).await["task_id"].as_str().unwrap().to_owned();
        interrupt(&child);
        let stopped = child.wait_with_output().await.unwrap();
        assert_eq!(stopped.status.code(), Some(1));
        assert_eq!(text(&stopped.stderr), format!("error: stopped; job {task} is cancelled\n"));
        assert!(stopped.stdout.is_empty());
        assert_eq!(server.get(&format!("/api/v1/tasks/{task}")).await.json()["status"], "cancelled");
        let deleted = server.send(server.request(axum::http::Method::DELETE, &format!("/api/v1/tasks/{task}"), None)).await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text());
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn who_insists_is_told_how_to_find_the_job_again() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let reached = Arc::new(Notify::new());
    let told = reached.clone();
    let never = async move || -> StatusCode {
        told.notify_one();
        std::future::pending().await
    };
    let router = Router::new().route("/api/v1/tasks/{id}/cancel", post(never)).fallback_service(server.router.clone());
    let address = served(router).await;
    let directory = tempfile::tempdir().unwrap();
    let child = generate(directory.path(), &server, &address, &PICTURE).spawn().unwrap();
    let task = only_task(&server).await["task_id"].as_str().unwrap().to_owned();
    interrupt(&child);
    reached.notified().await;
    interrupt(&child);
    let stopped = child.wait_with_output().await.unwrap();
    assert_eq!(stopped.status.code(), Some(1));
    let expected = format!(
        "error: stopped; job {task} goes on at the server (see 'framewright jobs show {task} --server {address}', stop it with \
         'framewright jobs cancel {task} --server {address}')\n"
    );
    assert_eq!(text(&stopped.stderr), expected);
    assert_eq!(server.get(&format!("/api/v1/tasks/{task}")).await.json()["status"], "queued");
}

/// Who makes pictures and films for a server: pictures at 0.02, films at 0.05 a second.
fn providers(pictures: &Mock, films: &Mock) -> ProviderSettings {
    let mut mypics = entry(ProviderKind::Zhipuai, pictures, "0");
    mypics.prices = vec![Price { per_picture: "0.02".parse().unwrap(), ..Price::default() }];
    let films = entry(ProviderKind::Minimax, films, "0.05");
    ProviderSettings {
        currency: "EUR".to_owned(),
        providers: [("mypics".parse().unwrap(), mypics), ("reel".parse().unwrap(), films)].into(),
    }
}

#[tokio::test]
async fn what_is_printed_names_who_made_it() {
    let (pictures, films) = (Mock::start(ZhipuaiCloud::default()).await, Mock::start(MinimaxCloud).await);
    let route = |name: &str, provider: Option<&str>, model: &str| {
        let provider = provider.map(|provider| provider.parse().unwrap());
        let target = RouteTarget { provider, model: model.parse().unwrap(), weight: 1 };
        Route { name: name.parse().unwrap(), strategy: Strategy::Fallback, targets: vec![target] }
    };
    let options = Options {
        providers: providers(&pictures, &films),
        routes: vec![route("posters", Some("mypics"), "cogview-4"), route("own", None, "demo-sdxl")],
        egress: egress(&["127.0.0.1/32"]),
        ..Options::default()
    };
    let server = TestServer::start_with(options).await;
    let address = served(server.router.clone()).await;
    let directory = tempfile::tempdir().unwrap();
    for (model, flags, expected) in [
        ("cogview-4", &[][..], "out.png (by mypics, 0.02 EUR)"),
        ("posters", &[], "out.png (by mypics, 0.02 EUR)"),
        ("own", &["--seed", "7"], "out.png (by demo-sdxl, seed 7)"),
        ("demo-sdxl", &["--seed", "7"], "out.png (seed 7)"),
    ] {
        let asked = [&["image", "--prompt", "a ship", "--model", model][..], flags].concat();
        let made = run(directory.path(), &server, &address, &asked).await;
        assert_eq!(text(&made.stdout).lines().next(), Some(expected), "{}", text(&made.stderr));
        let task = server.get("/api/v1/tasks?limit=1").await.json()["tasks"][0].take();
        // What came otherwise than it was asked for is said behind it.
        let is_other_size = text(&made.stdout).contains("\nnote: 1024x1024 was asked for; mypics gave 40x30\n");
        assert_eq!(is_other_size, expected.contains("mypics"), "{}", text(&made.stdout));
        let seed = if flags.is_empty() { Value::Null } else { json!(7) };
        assert_eq!(task["result"]["outputs"][0]["seed"], seed, "{model}");
    }
    let asked = ["video", "--prompt", "a ship", "--model", "MiniMax-Hailuo-02", "--duration", "6"];
    let made = run(directory.path(), &server, &address, &asked).await;
    assert_eq!(text(&made.stdout), "output.mp4 (by reel, 0.3 EUR)\n", "{}", text(&made.stderr));

    let refused = run(directory.path(), &server, &address, &[&asked[..], &["--output", "out.webm"]].concat()).await;
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.starts_with("error: --output: the server says: "), "{said}");
}
