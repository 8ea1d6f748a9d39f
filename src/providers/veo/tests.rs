use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::providers::failure::FailureClass::{
    self, Authentication, InvalidRequest, Moderation, OutcomeUnknown, Permission, RateLimit, TaskFailed, Transient,
};
use crate::providers::outcome::{ResultKind, Underway};
use crate::providers::request::{GenerationKind, GenerationRequest, Picture, PictureFormat, PictureRole, PictureSource};
use crate::providers::tests::{NOW, RUNNING, account, answered, linked, refused, shown, task, written};
use GenerationKind::{FirstLastFrame, ImageToVideo, TextToVideo};

const MODEL: &str = "veo-3.1-generate-preview";
const OPERATION: &str = "models/veo-3.1-generate-preview/operations/abc123";

fn veo() -> Veo {
    Veo::new(account(BASE_URL))
}

fn created(status: u16, body: &Value) -> Result<Created, ProviderFailure> {
    veo().read_created(MODEL, &answered(status, body.to_string().as_bytes()))
}

fn polled(body: &Value) -> Result<Polled, ProviderFailure> {
    let known = Known { state: Underway::Queued, polls: 1 };
    veo().read_polled(&task(MODEL), known, &answered(200, body.to_string().as_bytes()))
}

fn done(response: &Value) -> Value {
    json!({ "name": OPERATION, "done": true, "response": { "generateVideoResponse": response } })
}

fn film_at(uri: &str) -> RemoteResult {
    let body = done(&json!({ "generatedSamples": [{ "video": { "uri": uri } }] }));
    let Ok(Polled::Finished(mut finished)) = polled(&body) else { panic!("not finished") };
    assert_eq!((finished.results.len(), finished.results[0].kind), (1, ResultKind::Video));
    finished.results.remove(0)
}

fn png(role: PictureRole) -> Picture {
    Picture { role, source: PictureSource::Bytes { format: PictureFormat::Png, bytes: vec![1, 2, 3] }, size: None }
}

#[test]
fn the_documented_text_to_video_call_is_written() {
    let request = GenerationRequest {
        negative_prompt: Some("blur".to_owned()),
        frame: Some("1080P 16:9".parse().unwrap()),
        seconds: Some(8),
        ..GenerationRequest::new(TextToVideo, "a ship")
    };
    insta::assert_snapshot!("text_to_video", shown(&written(&veo(), MODEL, &request)));
}

#[test]
fn pictures_are_sent_as_they_are() {
    let pictures = vec![png(PictureRole::FirstFrame), png(PictureRole::LastFrame)];
    let request = GenerationRequest { pictures, ..GenerationRequest::new(FirstLastFrame, "a ship") };
    insta::assert_snapshot!("first_and_last_frame", shown(&written(&veo(), MODEL, &request)));
    let pictures = vec![linked(PictureRole::FirstFrame, "https://host/a.png")];
    let request = GenerationRequest { pictures, ..GenerationRequest::new(ImageToVideo, "a ship") };
    assert!(refused(&veo(), MODEL, &request).ends_with("allowed: the picture itself"));
}

#[test]
fn the_larger_films_have_one_length() {
    let request = |frame: &str, seconds| GenerationRequest {
        frame: Some(frame.parse().unwrap()),
        seconds: Some(seconds),
        ..GenerationRequest::new(TextToVideo, "x")
    };
    for seconds in [4, 6, 8] {
        assert!(shown(&written(&veo(), MODEL, &request("720P", seconds))).contains(&format!(r#""durationSeconds": {seconds}"#)));
    }
    assert!(refused(&veo(), MODEL, &request("1080P", 4)).contains("allowed: 8 at 1080P"));
    assert!(refused(&veo(), MODEL, &request("720P", 5)).contains("allowed: 4, 6, 8 at 720P"));
}

#[test]
fn an_operations_name_is_a_path_that_leads_nowhere_else() {
    let Ok(Created::Accepted { task: id, .. }) = created(200, &json!({ "name": OPERATION })) else { panic!("not accepted") };
    let task = RemoteTask { id, ..task(MODEL) };
    insta::assert_snapshot!("poll", shown(&veo().poll(&task, NOW).unwrap()));
    for name in [
        "",
        "operations",
        "models/../operations/x",
        "models/x",
        "/operations/x",
        "operations/x?y",
        "operations//x",
        "https://evil/operations/x",
    ] {
        assert_eq!(created(200, &json!({ "name": name })).unwrap_err().class, OutcomeUnknown, "{name}");
        let task = RemoteTask { id: name.to_owned(), ..task.clone() };
        assert_eq!(veo().poll(&task, NOW).unwrap_err().code, "bad_task_id", "{name}");
    }
}

#[rstest]
#[case(json!({ "name": OPERATION }), Underway::Running)]
#[case(json!({ "name": OPERATION, "done": false }), Underway::Running)]
fn what_is_not_done_runs(#[case] body: Value, #[case] state: Underway) {
    assert_eq!(polled(&body), Ok(Polled::underway(state)));
}

#[test]
fn a_word_in_place_of_done_leaves_the_task_where_it_was() {
    assert_eq!(polled(&json!({ "done": "soon" })), Ok(Polled::unknown(Underway::Queued, "\"soon\"")));
}

#[test]
fn films_on_the_services_own_host_are_fetched_with_the_key() {
    let result = film_at("https://generativelanguage.googleapis.com/v1beta/files/abc:download?alt=media");
    let call = veo().download(&result, NOW).unwrap();
    insta::assert_snapshot!("download", shown(&call));
    assert_eq!(call.headers[0].1.expose(), "an-id.a-secret");
}

#[rstest]
#[case("https://storage.googleapis.com/x.mp4")]
#[case("https://generativelanguage.googleapis.com.evil.example/x.mp4")]
#[case("http://generativelanguage.googleapis.com/x.mp4")]
#[case("https://generativelanguage.googleapis.com:8443/x.mp4")]
fn films_on_other_hosts_are_fetched_without_the_key(#[case] uri: &str) {
    let result = film_at(uri);
    assert_eq!(result.source, ResultSource::link(uri));
    assert!(veo().download(&result, NOW).is_none());
    // Nor when it comes from the store.
    let stored = RemoteResult { source: ResultSource::File(uri.to_owned()), ..result };
    assert!(veo().download(&stored, NOW).is_none());
}

#[rstest]
#[case(json!({ "raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["a face"] }), "a face")]
#[case(json!({ "raiMediaFilteredCount": 1 }), "the film was filtered")]
#[case(json!({ "generatedSamples": [], "raiMediaFilteredReasons": ["a face"] }), "a face")]
fn a_filtered_film_is_moderation(#[case] response: Value, #[case] message: &str) {
    let Ok(Polled::Failed(failure)) = polled(&done(&response)) else { panic!("not failed") };
    assert_eq!((failure.class, failure.message.as_str()), (Moderation, message));
}

#[test]
fn done_without_a_film_is_a_failure() {
    for response in
        [json!({}), json!(null), json!({ "generatedSamples": [{ "video": {} }] }), json!({ "raiMediaFilteredCount": 0 })]
    {
        let Ok(Polled::Failed(failure)) = polled(&done(&response)) else { panic!("not failed") };
        assert_eq!(failure.code, "no_result");
    }
}

#[rstest]
#[case(json!({ "code": 3, "message": "no" }), InvalidRequest)]
#[case(json!({ "code": 8, "message": "no" }), TaskFailed)]
#[case(json!({ "code": 13, "message": "no" }), TaskFailed)]
#[case(json!({ "message": "no" }), TaskFailed)]
fn a_failed_operation_has_a_number_for_a_code(#[case] error: Value, #[case] class: FailureClass) {
    let Ok(Polled::Failed(failure)) = polled(&json!({ "done": true, "error": error })) else { panic!("not failed") };
    assert_eq!((failure.class, failure.message.as_str()), (class, "no"));
}

#[test]
fn every_status_has_its_class() {
    for (status, word, class, on_create) in [
        (400, "INVALID_ARGUMENT", InvalidRequest, InvalidRequest),
        (400, "FAILED_PRECONDITION", Permission, Permission),
        (401, "UNAUTHENTICATED", Authentication, Authentication),
        (403, "PERMISSION_DENIED", Permission, Permission),
        (404, "NOT_FOUND", InvalidRequest, InvalidRequest),
        (429, "RESOURCE_EXHAUSTED", RateLimit, RateLimit),
        (500, "INTERNAL", Transient, OutcomeUnknown),
        (503, "UNAVAILABLE", Transient, Transient),
        (504, "DEADLINE_EXCEEDED", Transient, OutcomeUnknown),
        (418, "TEAPOT", FailureClass::Upstream, FailureClass::Upstream),
    ] {
        let body = json!({ "error": { "code": status, "message": "no", "status": word } });
        let failure = created(status, &body).unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (on_create, word));
        let body = body.to_string();
        let failure = veo().read_polled(&task(MODEL), RUNNING, &answered(status, body.as_bytes())).unwrap_err();
        assert_eq!(failure.class, class, "{word}");
    }
}

#[test]
fn a_wrong_key_is_an_invalid_argument_of_which_only_the_reason_says_so() {
    let body = json!({ "error": { "code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT",
        "details": [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID" }] } });
    assert_eq!(created(400, &body).unwrap_err().class, Authentication);
}

#[test]
fn nothing_can_be_cancelled() {
    assert!(veo().cancel(&RemoteTask { id: OPERATION.to_owned(), ..task(MODEL) }, RUNNING, NOW).is_none());
}
