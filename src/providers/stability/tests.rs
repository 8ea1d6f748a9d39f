use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::providers::failure::FailureClass::{
    self, Authentication, Billing, InvalidRequest, Moderation, OutcomeUnknown, Permission, RateLimit, TaskFailed, Transient,
};
use crate::providers::outcome::{ResultKind, ResultSource, Underway};
use crate::providers::request::{GenerationKind, GenerationRequest};
use crate::providers::tests::{NOW, RUNNING, account, answered, refused, shown, task, written};

fn stability() -> Stability {
    Stability::new(account(BASE_URL))
}

fn created(status: u16, body: &Value) -> Result<Created, ProviderFailure> {
    stability().read_created("stable-image-core", &answered(status, body.to_string().as_bytes()))
}

/// The call without its boundary, which is made of all that it holds.
fn form(model: &str, request: &GenerationRequest) -> String {
    let text = shown(&written(&stability(), model, request));
    let (front, rest) = text.split_once("boundary=framewright-").unwrap();
    format!("{front}boundary=(boundary){}", &rest[32..])
}

#[test]
fn the_documented_call_is_written() {
    let request = GenerationRequest {
        negative_prompt: Some("blur".to_owned()),
        frame: Some("16:9".parse().unwrap()),
        seed: Some(42),
        ..GenerationRequest::new(GenerationKind::TextToImage, "a ship")
    };
    insta::assert_snapshot!("text_to_image", form("stable-image-core", &request));
}

#[test]
fn models_that_share_a_route_are_named() {
    let request = GenerationRequest::new(GenerationKind::TextToImage, "a ship");
    insta::assert_snapshot!("named_model", form("sd3.5-large-turbo", &request));
    assert!(form("stable-image-ultra", &request).starts_with("POST https://api.stability.ai/v2beta/stable-image/generate/ultra"));
    let request = GenerationRequest { negative_prompt: Some("blur".to_owned()), ..request };
    assert!(refused(&stability(), "sd3.5-large-turbo", &request).starts_with("negative_prompt: "));
}

#[test]
fn an_answer_may_be_as_long_as_a_picture() {
    let call = written(&stability(), "stable-image-core", &GenerationRequest::new(GenerationKind::TextToImage, "x"));
    assert_eq!(call.most_answer_bytes, MOST_PICTURES_BODY_BYTES);
}

#[test]
fn the_picture_is_in_the_answer() {
    let Ok(Created::Finished(finished)) = created(200, &json!({ "image": "AQID", "seed": 7, "finish_reason": "SUCCESS" })) else {
        panic!("not finished")
    };
    assert_eq!((finished.results.len(), finished.results[0].kind), (1, ResultKind::Picture));
    let ResultSource::Inline { media_type, bytes } = &finished.results[0].source else { panic!("not here") };
    assert_eq!((media_type.as_deref(), bytes.as_ref()), (Some("image/png"), &[1, 2, 3][..]));
    for body in
        [json!({ "finish_reason": "SUCCESS" }), json!({ "image": "" }), json!({ "image": "no base64!" }), json!({ "image": 7 })]
    {
        assert_eq!(created(200, &body).unwrap_err().class, OutcomeUnknown, "{body}");
    }
}

#[test]
fn a_filtered_picture_is_moderation_with_http_200() {
    let failure = created(200, &json!({ "image": "AQID", "finish_reason": "CONTENT_FILTERED" })).unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Moderation, "CONTENT_FILTERED"));
    assert_eq!(created(200, &json!({ "image": "AQID", "finish_reason": "ERROR" })).unwrap_err().class, TaskFailed);
}

#[rstest]
#[case(400, "bad_request", InvalidRequest)]
#[case(401, "unauthorized", Authentication)]
#[case(402, "payment_required", Billing)]
#[case(403, "content_moderation", Moderation)]
#[case(403, "forbidden", Permission)]
#[case(413, "payload_too_large", InvalidRequest)]
#[case(422, "invalid_language", InvalidRequest)]
#[case(429, "rate_limit_exceeded", RateLimit)]
#[case(500, "internal_error", OutcomeUnknown)]
#[case(503, "unavailable", Transient)]
fn every_status_has_its_class(#[case] status: u16, #[case] name: &str, #[case] class: FailureClass) {
    let failure = created(status, &json!({ "id": "7", "name": name, "errors": ["why"] })).unwrap_err();
    assert_eq!((failure.class, failure.code.as_str(), failure.message.as_str()), (class, name, "why"));
}

#[test]
fn there_are_no_tasks() {
    assert_eq!(stability().poll(&task("stable-image-core"), NOW).unwrap_err().code, "bad_task_id");
    assert!(stability().read_polled(&task("stable-image-core"), RUNNING, &answered(200, b"{}")).is_err());
    assert!(stability().cancel(&task("stable-image-core"), Known { state: Underway::Queued, polls: 0 }, NOW).is_none());
}
