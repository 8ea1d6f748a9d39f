//! Pictures and sound that requests link to instead of carrying them.

use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rstest::rstest;
use serde_json::{Value, json};

use super::images::picture_base64;
use crate::harness::{Options, TestServer, egress};
use crate::outside::{FRIEND, Outside, Reply, VICTIM};

fn picture() -> Vec<u8> {
    BASE64_STANDARD.decode(picture_base64(136, 100)).unwrap()
}

/// A second of silence.
fn sound() -> Vec<u8> {
    let samples = vec![0; 16_000];
    let mut wav = b"RIFF".to_vec();
    wav.extend(36_u32.wrapping_add(16_000).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(8_000_u32.to_le_bytes());
    wav.extend(16_000_u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend(16_000_u32.to_le_bytes());
    wav.extend(samples);
    wav
}

/// A server that may call [`FRIEND`] beside the public internet, without a device.
async fn server() -> TestServer {
    let egress = egress(&[&format!("{FRIEND}/32")]);
    TestServer::start_with(Options { has_device: false, egress, ..Options::default() }).await
}

#[tokio::test]
async fn an_initial_picture_may_be_a_link() {
    let server = TestServer::start_with(Options { egress: egress(&[&format!("{FRIEND}/32")]), ..Options::default() }).await;
    let outside = Outside::start(FRIEND, |_, request| match request.path.as_str() {
        "/moved.png" => Reply::redirect("/a.png?signature=1"),
        _ => Reply::ok(picture()),
    })
    .await;
    let body = json!({"prompt": "x", "num_inference_steps": 2, "init_image": outside.url("/moved.png"), "strength": 0.5});
    let id = server.submit(&body).await;
    server.wait(&id).await;
    let task = server.get(&format!("/api/v1/tasks/{id}")).await.json();
    let request = &task["result"]["manifest"]["request"];
    assert_eq!((&request["width"], &request["height"]), (&json!(136), &json!(96)), "{task}");
    let received = outside.wait_for(2).await;
    let paths: Vec<&str> = received.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/moved.png", "/a.png?signature=1"], "fetched once, when it was asked for");
    for request in &received {
        assert!(request.body.is_empty() && request.header("accept-encoding") == "identity", "{request:?}");
        assert_eq!((request.header("authorization"), request.header("referer")), ("", ""), "nothing of the caller goes along");
    }
}

#[tokio::test]
async fn scenes_and_sound_may_be_links() {
    let (server, outside) = (
        server().await,
        Outside::start(FRIEND, |_, request| Reply::ok(if request.path == "/sound" { sound() } else { picture() })).await,
    );
    let body = json!({
        "scenes": [{"image": outside.url("/1"), "duration": 0.5}, {"prompt": "x", "image": outside.url("/2"), "duration": 0.5}],
        "video_config": {"fps": 8, "width": 64, "height": 64, "audio": outside.url("/sound")},
    });
    let answer = server.post("/api/v1/videos/generate", &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let answer = server.post("/v1/videos", &json!({"prompt": "x", "input_reference": {"image_url": outside.url("/3")}})).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    let link = outside.url("/4");
    let answer = server.post("/v1/videos", &json!({"prompt": "x", "input_reference": link})).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    let form = server.form("/v1/videos", &[("prompt", "x"), ("input_reference", &link)], &[]);
    let answer = server.send(form).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    let paths: Vec<String> = outside.received().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/1", "/2", "/sound", "/3", "/4", "/4"]);
}

#[rstest]
#[case::no_picture("/text", "cannot be used: not a PNG")]
#[case::not_there("/gone", "answered 404; the link may have expired")]
#[case::too_large("/large", "sends more than 33554432 bytes")]
#[case::to_a_neighbour("/neighbour", "because it is a loopback address")]
#[case::to_a_name("/name", "redirects to where this server does not go")]
#[tokio::test]
async fn what_a_link_cannot_give_is_refused_with_its_field(#[case] path: &str, #[case] words: &str) {
    let victim = Outside::start(VICTIM, |_, _| Reply::ok(picture())).await;
    let neighbour = victim.url("/secret");
    let outside = Outside::start(FRIEND, move |_, request| match request.path.as_str() {
        "/text" => Reply::ok("<html>not here</html>"),
        "/large" => Reply::ok(vec![0; (32 << 20) + 1]),
        "/neighbour" => Reply::redirect(&neighbour),
        "/name" => Reply::redirect("ftp://internal.example/"),
        _ => Reply::status(404),
    })
    .await;
    let server = server().await;
    let link = outside.url(path);
    for (route, body, field) in [
        ("/api/v1/images/generate", json!({"prompt": "x", "init_image": link}), "init_image"),
        ("/api/v1/videos/generate", json!({"scenes": [{"duration": 1, "image": link}]}), "scenes[0].image"),
    ] {
        let answer = server.post(route, &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text());
        let problem = answer.json();
        assert_eq!(problem["field"], field);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(words) && !detail.contains("secret") && !detail.contains('\n'), "{detail}");
    }
    let answer = server.post("/v1/videos", &json!({"prompt": "x", "input_reference": {"image_url": link}})).await;
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (StatusCode::BAD_REQUEST, &json!("input_reference")));
    assert!(victim.received().is_empty(), "nothing was sent there");
}

#[tokio::test]
async fn what_is_not_opened_is_not_called() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let victim = Outside::start(VICTIM, |_, _| Reply::ok(picture())).await;
    // Whether a name is unknown or leads inside must look the same.
    for link in [victim.url("/a.png"), "https://169.254.169.254/a.png".to_owned(), "https://nobody.example/a.png".to_owned()] {
        let answer = server.post("/api/v1/images/generate", &json!({"prompt": "x", "init_image": link})).await;
        let problem: Value = answer.json();
        assert_eq!((answer.status, &problem["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("init_image")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("is a link that was not fetched: "), "{problem}");
    }
    assert!(victim.received().is_empty());
}
