use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::providers::described::{Inputs, SizeInput};
use crate::providers::failure::FailureClass::{
    Authentication, Billing, InvalidRequest, OutcomeUnknown, Permission, RateLimit, TaskFailed, Transient,
};
use crate::providers::frame::Ratio;
use crate::providers::outcome::{ResultKind, Underway};
use crate::providers::protocol::create;
use crate::providers::request::{GenerationKind, GenerationRequest};
use crate::providers::tests::{NOW, RUNNING, account, answered, shown, task, written};

const VERSION: &str = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa";

/// An account with a model of pictures, one of films, and a version.
pub(in crate::providers) fn replicate() -> Replicate {
    let pictures = Inputs {
        size: Some(SizeInput::Words {
            tier: None,
            ratio: Some(("aspect_ratio".to_owned(), vec![Ratio::new(1, 1), Ratio::new(16, 9)])),
        }),
        seed: Some("seed".to_owned()),
        count: Some(("num_outputs".to_owned(), 4)),
        fixed: json!({ "output_format": "png" }).as_object().unwrap().clone(),
        ..Inputs::default()
    };
    let films = Inputs { first_frame: Some("image".to_owned()), ..Inputs::default() };
    let models = vec![
        DescribedModel::new("black-forest-labs/flux-schnell", &[GenerationKind::TextToImage], pictures).unwrap(),
        DescribedModel::new("owner/film", &[GenerationKind::TextToVideo, GenerationKind::ImageToVideo], films).unwrap(),
        DescribedModel::new(format!("owner/old:{VERSION}"), &[GenerationKind::TextToVideo], Inputs::default()).unwrap(),
    ];
    Replicate::new(account(BASE_URL), models).unwrap()
}

fn created(status: u16, body: &Value) -> Result<Created, ProviderFailure> {
    replicate().read_created("owner/film", &answered(status, body.to_string().as_bytes()))
}

fn polled(known: Known, body: &Value) -> Result<Polled, ProviderFailure> {
    replicate().read_polled(&task("owner/film"), known, &answered(200, body.to_string().as_bytes()))
}

#[test]
fn a_model_has_a_route_of_its_own() {
    let request = GenerationRequest {
        frame: Some("16:9".parse().unwrap()),
        seed: Some(42),
        ..GenerationRequest::new(GenerationKind::TextToImage, "a ship")
    };
    let options = CreateOptions { our_id: Some("fw-1".to_owned()), callback_url: Some("https://gw.example/cb".to_owned()) };
    let call = create(&replicate(), "black-forest-labs/flux-schnell", &request, &options, NOW).unwrap();
    insta::assert_snapshot!("model", shown(&call));
}

#[test]
fn a_version_stands_in_the_body() {
    let request = GenerationRequest::new(GenerationKind::TextToVideo, "a ship");
    insta::assert_snapshot!("version", shown(&written(&replicate(), &format!("owner/old:{VERSION}"), &request)));
}

#[test]
fn polls_and_cancellations_are_of_the_prediction() {
    let calls =
        [replicate().poll(&task("owner/film"), NOW).unwrap(), replicate().cancel(&task("owner/film"), RUNNING, NOW).unwrap()];
    insta::assert_snapshot!("poll_and_cancel", calls.map(|call| shown(&call)).join("\n\n"));
}

#[test]
fn names_carry_nothing_into_a_path() {
    let model = |name: &str| {
        let model = DescribedModel::new(name, &[GenerationKind::TextToVideo], Inputs::default()).unwrap();
        Replicate::new(account(BASE_URL), vec![model]).map(drop)
    };
    for name in ["owner/name", "owner/name-1.5_b", VERSION] {
        assert_eq!(model(name), Ok(()), "{name}");
    }
    for name in
        ["", "name", "../x", "owner/..", "owner/name/more", "owner/a?b", "owner/a#b", "owner/name:latest", "a b/c", &VERSION[1..]]
    {
        assert!(matches!(model(name), Err(DescriptionError::Name { .. })), "{name}");
    }
}

#[test]
fn a_create_is_followed_by_its_id() {
    let body = json!({ "id": "gm3qorzdhgbfurvjtvhg6dckhu", "status": "starting", "output": null, "error": null,
        "urls": { "get": "https://elsewhere/x", "cancel": "https://elsewhere/y" } });
    let task = "gm3qorzdhgbfurvjtvhg6dckhu".to_owned();
    assert_eq!(created(201, &body), Ok(Created::Accepted { task: task.clone(), state: Underway::Queued }));
    for word in ["processing", "succeeded", "canceled"] {
        let body = json!({ "id": task, "status": word });
        assert_eq!(
            created(201, &body),
            if word == "succeeded" {
                // It has nothing to show.
                Err(ProviderFailure::no_result())
            } else {
                Ok(Created::Accepted { task: task.clone(), state: Underway::Running })
            }
        );
    }
    assert_eq!(created(201, &json!({ "id": task, "status": "failed", "error": "no" })).unwrap_err().class, TaskFailed);
}

#[rstest]
#[case("starting", Some(Underway::Queued))]
#[case("processing", Some(Underway::Running))]
#[case("dreaming", None)]
fn words_of_predictions_that_have_not_ended(#[case] word: &str, #[case] state: Option<Underway>) {
    for before in [Underway::Queued, Underway::Running] {
        let unknown_word = state.is_none().then(|| word.to_owned());
        let expected = Polled::Underway { state: state.unwrap_or(before), progress_percent: None, unknown_word };
        assert_eq!(polled(Known { state: before, polls: 1 }, &json!({ "status": word })), Ok(expected));
    }
}

#[test]
fn words_of_predictions_that_were_cancelled() {
    for word in ["canceled", "cancelled", "aborted"] {
        assert_eq!(polled(RUNNING, &json!({ "status": word })), Ok(Polled::Cancelled { is_billed: false }));
        for (started, is_billed) in [(json!(null), false), (json!("2026-01-02T03:04:05.779176Z"), true)] {
            let body = json!({ "status": word, "started_at": started });
            assert_eq!(polled(RUNNING, &body), Ok(Polled::Cancelled { is_billed }), "{word}");
        }
    }
}

#[rstest]
#[case(json!("https://host/x.mp4"), 1)]
#[case(json!(["https://host/x.mp4", "https://host/y.mp4"]), 2)]
#[case(json!({ "video": "https://host/x.mp4" }), 1)]
fn output_is_a_text_an_array_or_an_object(#[case] output: Value, #[case] count: usize) {
    let Ok(Polled::Finished(finished)) = polled(RUNNING, &json!({ "status": "succeeded", "output": output })) else {
        panic!("not finished")
    };
    assert_eq!((finished.results.len(), finished.results[0].kind), (count, ResultKind::Video));
}

#[test]
fn success_without_a_link_is_a_failure() {
    for output in [json!(null), json!("done"), json!([]), json!({ "score": 7 }), json!("file:///etc/passwd")] {
        let Ok(Polled::Failed(failure)) = polled(RUNNING, &json!({ "status": "succeeded", "output": output })) else {
            panic!("not failed")
        };
        assert_eq!(failure.code, "no_result");
    }
}

#[test]
fn pictures_are_pictures() {
    let body = json!({ "status": "succeeded", "output": ["https://host/x.png"] }).to_string();
    let task = task("black-forest-labs/flux-schnell");
    let Ok(Polled::Finished(finished)) = replicate().read_polled(&task, RUNNING, &answered(200, body.as_bytes())) else {
        panic!("not finished")
    };
    assert_eq!(finished.results[0].kind, ResultKind::Picture);
}

#[rstest]
#[case(json!({ "status": "failed", "error": "CUDA out of memory" }), "CUDA out of memory")]
#[case(json!({ "status": "failed", "error": null }), "the provider reported failed and no reason")]
fn a_failed_prediction_says_why_where_it_does(#[case] body: Value, #[case] message: &str) {
    let Ok(Polled::Failed(failure)) = polled(RUNNING, &body) else { panic!("not failed") };
    assert_eq!((failure.class, failure.message.as_str()), (TaskFailed, message));
}

#[test]
fn every_status_has_its_class() {
    for (status, class, on_create) in [
        (400, InvalidRequest, InvalidRequest),
        (401, Authentication, Authentication),
        (402, Billing, Billing),
        (403, Permission, Permission),
        (404, InvalidRequest, InvalidRequest),
        (422, InvalidRequest, InvalidRequest),
        (429, RateLimit, RateLimit),
        (500, Transient, OutcomeUnknown),
        (502, Transient, OutcomeUnknown),
        (503, Transient, Transient),
    ] {
        let body = json!({ "title": "t", "detail": "input is required", "status": status });
        let answer = body.to_string();
        let failure = replicate().read_polled(&task("owner/film"), RUNNING, &answered(status, answer.as_bytes())).unwrap_err();
        assert_eq!((failure.class, failure.message.as_str()), (class, "input is required"), "{status}");
        assert_eq!(created(status, &body).unwrap_err().class, on_create, "{status}");
    }
}

#[test]
fn what_has_ended_is_not_cancelled() {
    let read = |status, body: &Value| {
        replicate().read_cancelled(&task("owner/film"), RUNNING, &answered(status, body.to_string().as_bytes()))
    };
    for word in ["canceled", "processing", "starting"] {
        assert_eq!(read(200, &json!({ "id": "7", "status": word })), Ok(Cancellation::Cancelled), "{word}");
    }
    for word in ["succeeded", "failed"] {
        assert_eq!(read(200, &json!({ "id": "7", "status": word })), Ok(Cancellation::TooLate), "{word}");
    }
    for (started, cancellation) in
        [(json!(null), Cancellation::Cancelled), (json!("2026-01-02T03:04:05.779176Z"), Cancellation::TooLate)]
    {
        assert_eq!(read(200, &json!({ "id": "7", "status": "canceled", "started_at": started })), Ok(cancellation));
    }
    assert_eq!(read(404, &json!({ "detail": "no" })), Ok(Cancellation::TooLate));
    assert_eq!(read(500, &json!({ "detail": "no" })).unwrap_err().class, Transient);
}

#[rstest]
#[case(None, json!(5), Some(5))]
#[case(Some("7"), json!(5), Some(7))]
#[case(Some("soon"), json!("5"), Some(5))]
#[case(None, json!(9_000_000_000_i64), None)]
#[case(None, json!(90_000), Some(3600))]
#[case(None, json!(-1), None)]
#[case(None, json!(null), None)]
fn the_pause_stands_in_a_header_or_in_the_body(#[case] header: Option<&str>, #[case] told: Value, #[case] pause: Option<u32>) {
    let headers: Vec<(String, String)> = header.map(|value| ("Retry-After".to_owned(), value.to_owned())).into_iter().collect();
    let body = json!({ "detail": "slowly", "status": 429, "retry_after": told }).to_string();
    let response = WireResponse { status: 429, headers: &headers, body: body.as_bytes() };
    let failure = replicate().read_created("owner/film", &response).unwrap_err();
    assert_eq!((failure.class, failure.retry_after_seconds), (RateLimit, pause));
}
