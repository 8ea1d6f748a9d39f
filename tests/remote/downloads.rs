//! Results are fetched from wherever a provider says, and believed to be nothing.

use framewright::domain::{ErrorCode, JobKind, ProviderKind, RemoteRequest};
use framewright::ledger::CallState;
use rstest::rstest;
use serde_json::json;

use crate::providers::{AliyunCloud, Answer, MinimaxCloud, Mock, film as film_bytes, picture};
use crate::stage::{Stage, completed, failed, film, film_of, settings};

#[tokio::test]
async fn a_link_that_has_expired_is_asked_for_anew() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.script("file", [Answer::Bytes(403, "application/xml", b"<Error>AccessDenied</Error>".to_vec())]);
    let (result, _) = completed(stage.run(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]), &film()).await);
    let files = mock.recorded("file");
    assert_eq!(files.len(), 2);
    assert_ne!(files[0].target, files[1].target, "the second link is a fresh one");
    let links = &result.manifest["original_urls"];
    assert!(links[0].as_str().unwrap().ends_with(&files[1].target) && links.as_array().unwrap().len() == 1, "{links}");

    let mock = Mock::start(MinimaxCloud).await;
    mock.script("file", [Answer::Json(404, json!({}))]);
    let request = film_of(ProviderKind::Minimax, "MiniMax-Hailuo-02", Some(6));
    completed(stage.run(&settings(&mock, ProviderKind::Minimax, &[("a", None)]), &request).await);
    assert_eq!(mock.recorded("fetch").len(), 2);
}

#[tokio::test]
async fn a_film_that_breaks_off_is_fetched_again() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let half = film_bytes()[..film_bytes().len() / 2].to_vec();
    mock.script("file", [Answer::Broken(200, half), Answer::Json(503, json!({}))]);
    let (result, _) = completed(stage.run(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]), &film()).await);
    assert_eq!(result.artifacts[0].bytes, film_bytes().len() as u64);
    assert_eq!((mock.recorded("file").len(), stage.files().len()), (3, 3), "nothing is left of the first tries");
}

/// Answers of the place where the result should be. It is made and paid for, so nothing is made again.
#[rstest]
#[case::private(Answer::Redirect("http://127.0.0.2:8080/latest/meta-data".to_owned()), "does not go")]
#[case::a_file(Answer::Redirect("file:///etc/passwd".to_owned()), "does not go")]
#[case::a_page(Answer::Bytes(200, "video/mp4", b"<!DOCTYPE html><title>Log in</title>".to_vec()), "neither MP4, WebM nor QuickTime")]
#[case::a_picture(Answer::Bytes(200, "video/mp4", picture()), "neither MP4, WebM nor QuickTime")]
#[case::nothing(Answer::Bytes(200, "video/mp4", Vec::new()), "neither MP4, WebM nor QuickTime")]
#[case::half_a_film(Answer::Bytes(200, "video/mp4", film_bytes()[..200].to_vec()), "no film that can be read")]
#[tokio::test]
async fn what_is_no_film_is_not_kept(#[case] answer: Answer, #[case] words: &str) {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.always("file", answer);
    let (code, message, cost) = failed(stage.run(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]), &film()).await);
    assert_eq!((code, cost), (ErrorCode::ProviderFailed, 500_000), "{message}");
    assert!(message.contains(words) && !message.contains("Signature"), "{message}");
    assert_eq!(stage.only_call().await, (CallState::Failed, Some(500_000)));
    assert_eq!((mock.recorded("create").len(), mock.recorded("file").len()), (1, 1));
    assert_eq!(stage.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_picture_without_an_end_is_not_read_to_it() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.always("file", Answer::Flood(200));
    let request = RemoteRequest { output: JobKind::Image, ..film_of(ProviderKind::Aliyun, "wanx2.1-t2i-turbo", None) };
    let (code, message, _) = failed(stage.run(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]), &request).await);
    assert_eq!(code, ErrorCode::ProviderFailed);
    assert!(message.contains("sends more than 67108864 bytes"), "{message}");
    assert_eq!(stage.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_provider_that_names_a_private_address_gains_nothing() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    for link in ["http://169.254.169.254/latest", "http://10.0.0.7/film.mp4", "http://[::1]:1/film.mp4"] {
        let output = json!({ "task_id": "x", "task_status": "SUCCEEDED", "video_url": link });
        mock.script("poll", [Answer::Json(200, json!({ "output": output }))]);
        let (code, message, _) = failed(stage.run(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]), &film()).await);
        assert_eq!(code, ErrorCode::ProviderFailed, "{message}");
    }
    assert_eq!(mock.recorded("file").len(), 0);
}
