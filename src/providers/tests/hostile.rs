//! What no answer may do to a reader.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{NOW, RUNNING, answered, providers, task};
use crate::providers::*;

/// How many answers there are.
const GOOD_ANSWERS: usize = 34;

/// Answers that are as they should be, to be spoiled.
fn good_answers() -> Vec<Value> {
    vec![
        json!({ "output": { "task_status": "PENDING", "task_id": "0385" }, "request_id": "4909" }),
        json!({ "code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "fb53" }),
        json!({ "output": { "task_id": "0385", "task_status": "SUCCEEDED", "video_url": "https://host/x.mp4?Expires=1" },
            "usage": { "video_duration": 5, "video_ratio": "832*480", "video_count": 1 } }),
        json!({ "output": { "task_id": "0385", "task_status": "FAILED", "code": "InvalidParameter", "message": "size" } }),
        json!({ "output": { "task_status": "SUCCEEDED", "results": [{ "url": "https://host/x.png" }, { "code": "InternalError" }] } }),
        json!({ "model": "cogvideox-2", "id": "8868", "request_id": "654321", "task_status": "PROCESSING" }),
        json!({ "task_status": "SUCCESS", "video_result": [{ "url": "https://host/x.mp4", "cover_image_url": "https://host/x.png" }] }),
        json!({ "task_status": "FAIL", "error": { "code": "1301", "message": "no" } }),
        json!({ "created": 1_760_335_349, "data": [{ "url": "https://host/x.png" }] }),
        json!({ "error": { "code": "1214", "message": "no" } }),
        json!({ "task_id": "1069", "base_resp": { "status_code": 0, "status_msg": "success" } }),
        json!({ "task_id": "1069", "status": "Success", "file_id": "1768", "video_width": 1920, "video_height": 1080,
            "base_resp": { "status_code": 0, "status_msg": "success" } }),
        json!({ "file": { "file_id": 1768, "download_url": "https://host/x.mp4" }, "base_resp": { "status_code": 0 } }),
        json!({ "task": { "id": "7", "status": "succeeded", "content": { "url": "https://host/x.mp4" }, "usage": { "total_seconds": 5 } } }),
        json!({ "type": "error", "error": { "type": "rate_limit_error", "message": "slow (1002)", "http_code": "429" } }),
        json!({ "code": 0, "message": "m", "data": { "task_id": "7", "task_status": "submitted", "created_at": 7 } }),
        json!({ "code": 0, "data": { "task_status": "succeed", "task_result": { "videos": [{ "url": "https://host/x.mp4", "duration": "5" }] } } }),
        json!({ "code": 1301, "message": "no", "request_id": "r" }),
        json!({ "id": "7", "status": "SUCCEEDED", "output": ["https://host/x.mp4"] }),
        json!({ "id": "7", "status": "FAILED", "failure": "no", "failureCode": "SAFETY.INPUT.TEXT" }),
        json!({ "id": "7", "status": "succeeded", "output": { "video": "https://host/x.mp4" }, "error": null }),
        json!({ "request_id": "7", "status_url": "https://queue.fal.run/s", "response_url": "https://queue.fal.run/r",
            "cancel_url": "https://queue.fal.run/c", "queue_position": 1 }),
        json!({ "status": "COMPLETED", "error": "no", "error_type": "runner_error" }),
        json!({ "status": "COMPLETED" }),
        json!({ "images": [{ "url": "https://host/x.png", "width": 7, "height": 7 }] }),
        json!({ "detail": [{ "loc": ["body"], "msg": "no", "type": "content_policy_violation" }] }),
        json!({ "created": 7, "data": [{ "b64_json": "AQID", "revised_prompt": "x" }], "output_format": "png", "size": "7x7" }),
        json!({ "id": "video_7", "object": "video", "status": "completed", "progress": 100, "seconds": "4", "size": "7x7" }),
        json!({ "id": "video_7", "status": "failed", "error": { "code": "moderation_blocked", "message": "no" } }),
        json!({ "image": "AQID", "seed": 7, "finish_reason": "SUCCESS" }),
        json!({ "name": "models/veo/operations/7" }),
        json!({ "done": true, "response": { "generateVideoResponse": { "generatedSamples": [
            { "video": { "uri": "https://veo.test/v1beta/files/7:download?alt=media" } }] } } }),
        json!({ "done": true, "response": { "generateVideoResponse": { "raiMediaFilteredCount": 1,
            "raiMediaFilteredReasons": ["no"] } } }),
        json!({ "error": { "code": 400, "message": "no", "status": "INVALID_ARGUMENT",
            "details": [{ "reason": "API_KEY_INVALID" }] } }),
    ]
}

/// Models of all routes.
const MODELS: &[&str] = &[
    "wan2.7-t2v",
    "cogvideox-3",
    "cogview-4",
    "MiniMax-Hailuo-02",
    "MiniMax-H3",
    "kling-v1",
    "gen4.5",
    "owner/film",
    "fal-ai/flux/dev",
    "sora-2",
    "stable-image-core",
    "veo-3.1-generate-preview",
];

/// A task as the provider has made it.
fn task_at(provider: &dyn Provider, model: &str) -> RemoteTask {
    if provider.name() != "fal" {
        return task(model);
    }
    let base = "https://queue.fal.run/fal-ai/flux/requests/7";
    RemoteTask { id: format!("7 {base}/status {base} {base}/cancel"), ..task(model) }
}

/// Every reader of every provider, for models of all their routes. What it says is looked at by other tests; here it must say something.
fn read_everywhere(status: u16, body: &[u8]) {
    let response = answered(status, body);
    let file = RemoteResult { source: ResultSource::File("7".to_owned()), kind: ResultKind::Video, seconds: None, size: None };
    for provider in providers() {
        for &model in MODELS {
            if let Ok(Created::Accepted { task: id, .. }) = provider.read_created(model, &response) {
                let task = RemoteTask { id, ..task(model) };
                assert!(provider.poll(&task, NOW).is_ok(), "a task that was read can be polled");
            }
            match provider.read_polled(&task_at(provider.as_ref(), model), RUNNING, &response) {
                Ok(Polled::Finished(finished)) => {
                    assert!(!finished.results.is_empty());
                    for result in &finished.results {
                        let fetched = provider.fetch(result, NOW).is_some() || provider.download(result, NOW).is_some();
                        assert_eq!(fetched, matches!(result.source, ResultSource::File(_)), "a file can be fetched");
                        let _ = provider.read_fetched(result, &response);
                    }
                }
                Ok(Polled::Failed(failure)) | Err(failure) => assert!(!failure.to_string().is_empty()),
                Ok(Polled::Underway { .. } | Polled::Cancelled { .. }) => {}
            }
            let _ = provider.read_cancelled(&task(model), RUNNING, &response);
            let _ = provider.read_fetched(&file, &response);
        }
    }
}

/// Values that should not stand where they do.
fn wrong_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!(-1)),
        Just(json!(u64::MAX)),
        Just(json!(1e308)),
        Just(json!("")),
        Just(json!("../../x?y=z")),
        Just(json!("NaN")),
        Just(json!([])),
        Just(json!([[[[{}]]]])),
        Just(json!({})),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        proptest::collection::vec("[a-z]{0,3}", 0..40).prop_map(Value::from),
    ]
}

/// Puts `wrong` at the `place`th value of a tree, counted as they are met.
fn spoil(value: &mut Value, place: &mut usize, wrong: &Value) {
    if *place == 0 {
        *value = wrong.clone();
        *place = usize::MAX;
        return;
    }
    *place = place.saturating_sub(1);
    let mut children: Vec<&mut Value> = match value {
        Value::Array(values) => values.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => return,
    };
    for child in &mut children {
        if *place > 1000 {
            return;
        }
        spoil(child, place, wrong);
    }
}

fn status() -> impl Strategy<Value = u16> {
    prop_oneof![Just(200), Just(400), Just(429), Just(500), Just(503), any::<u16>()]
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(status in status(), body in proptest::collection::vec(any::<u8>(), 0..300)) {
        read_everywhere(status, &body);
    }

    #[test]
    fn no_spoiled_answer_makes_a_reader_panic(
        status in status(),
        which in 0_usize..GOOD_ANSWERS,
        place in 0_usize..14,
        wrong in wrong_value(),
    ) {
        let mut answer = good_answers().swap_remove(which);
        spoil(&mut answer, &mut { place }, &wrong);
        read_everywhere(status, answer.to_string().as_bytes());
    }

    #[test]
    fn no_answer_that_is_cut_off_or_has_a_wrong_byte_makes_a_reader_panic(
        which in 0_usize..GOOD_ANSWERS,
        cut in 0_usize..400,
        byte in any::<u8>(),
    ) {
        let mut body = good_answers()[which].to_string().into_bytes();
        let at = cut.min(body.len() - 1);
        body[at] = byte;
        read_everywhere(200, &body);
        body.truncate(at);
        read_everywhere(200, &body);
    }
}

#[test]
fn the_good_answers_are_all_tried() {
    assert_eq!(good_answers().len(), GOOD_ANSWERS);
}

#[test]
fn a_create_whose_answer_cannot_be_read_is_of_unknown_outcome() {
    for provider in providers() {
        for &model in MODELS {
            for body in ["", "{", "[]", "{}", "<html>", "null", r#"{"output":{}}"#, r#"{"task_id":"../x","id":"../x"}"#] {
                for status in [200, 201, 500, 502, 504] {
                    let failure = provider.read_created(model, &answered(status, body.as_bytes())).unwrap_err();
                    assert_eq!(failure.class, FailureClass::OutcomeUnknown, "{model} {status} {body}");
                    assert!(!failure.class.may_create_again(false));
                }
            }
        }
    }
}

#[test]
fn retry_after_comes_along() {
    let headers = [("retry-after".to_owned(), "17".to_owned())];
    for body in [&b"{}"[..], b"<html>", br#"{"code":"Throttling"}"#, br#"{"error":{"code":"1302"}}"#] {
        let response = WireResponse { status: 429, headers: &headers, body };
        for provider in providers() {
            let failure = provider.read_created("MiniMax-H3", &response).unwrap_err();
            assert_eq!((failure.class, failure.retry_after_seconds), (FailureClass::RateLimit, Some(17)));
        }
    }
}
