use rstest::rstest;
use serde_json::json;

use super::*;
use crate::providers::described::{Inputs, SecondsInput, SizeInput};
use crate::providers::failure::FailureClass::{
    self, Authentication, Billing, InvalidRequest, Moderation, OutcomeUnknown, Permission, RateLimit, TaskFailed, Transient,
};
use crate::providers::outcome::{ResultKind, Underway};
use crate::providers::protocol::create;
use crate::providers::request::{GenerationKind, GenerationRequest};
use crate::providers::tests::{NOW, RUNNING, account, answered, shown, written};

/// An account with a model of pictures and one of films.
pub(in crate::providers) fn fal() -> Fal {
    let pictures = Inputs {
        size: Some(SizeInput::Object("image_size".to_owned())),
        seed: Some("seed".to_owned()),
        count: Some(("num_images".to_owned(), 4)),
        ..Inputs::default()
    };
    let films = Inputs {
        seconds: Some(SecondsInput { name: "duration".to_owned(), as_text: true, allowed: vec![5, 10] }),
        first_frame: Some("image_url".to_owned()),
        ..Inputs::default()
    };
    let models = vec![
        DescribedModel::new("fal-ai/flux/dev", &[GenerationKind::TextToImage], pictures).unwrap(),
        DescribedModel::new("fal-ai/kling-video/v2", &[GenerationKind::TextToVideo, GenerationKind::ImageToVideo], films)
            .unwrap(),
    ];
    Fal::new(account(BASE_URL), models).unwrap()
}

fn answer_to_create() -> Value {
    // The path of a task is not the model's: what stands behind its second part is left out.
    let base = "https://queue.fal.run/fal-ai/flux/requests/764cabcf";
    json!({ "request_id": "764cabcf", "status": "IN_QUEUE", "queue_position": 2, "response_url": base,
        "status_url": format!("{base}/status"), "cancel_url": format!("{base}/cancel") })
}

fn created(status: u16, body: &Value) -> Result<Created, ProviderFailure> {
    fal().read_created("fal-ai/flux/dev", &answered(status, body.to_string().as_bytes()))
}

fn task_of(model: &str) -> RemoteTask {
    let Ok(Created::Accepted { task, .. }) = created(200, &answer_to_create()) else { panic!("not accepted") };
    RemoteTask { id: task, model: model.to_owned(), kind: GenerationKind::TextToImage }
}

fn polled(body: &Value) -> Result<Polled, ProviderFailure> {
    fal().read_polled(&task_of("fal-ai/flux/dev"), RUNNING, &answered(200, body.to_string().as_bytes()))
}

fn completed(model: &str) -> RemoteResult {
    let body = json!({ "status": "COMPLETED" }).to_string();
    let Ok(Polled::Finished(mut finished)) = fal().read_polled(&task_of(model), RUNNING, &answered(200, body.as_bytes())) else {
        panic!("not finished")
    };
    assert_eq!(finished.results.len(), 1);
    finished.results.remove(0)
}

fn fetched(model: &str, status: u16, headers: &[(String, String)], body: &Value) -> Result<Vec<RemoteResult>, ProviderFailure> {
    let body = body.to_string();
    fal().read_fetched(&completed(model), &WireResponse { status, headers, body: body.as_bytes() })
}

#[test]
fn the_models_input_stands_at_the_top_of_the_body() {
    let request = GenerationRequest {
        frame: Some("1024x768".parse().unwrap()),
        seed: Some(42),
        count: Some(2),
        ..GenerationRequest::new(GenerationKind::TextToImage, "a ship")
    };
    let options = CreateOptions { our_id: None, callback_url: Some("https://gw.example/cb?a=1&b=2".to_owned()) };
    let call = create(&fal(), "fal-ai/flux/dev", &request, &options, NOW).unwrap();
    insta::assert_snapshot!("create", shown(&call));
}

#[test]
fn the_key_stands_behind_the_word_key() {
    let call = written(&fal(), "fal-ai/flux/dev", &GenerationRequest::new(GenerationKind::TextToImage, "x"));
    assert_eq!(call.headers[0].1.expose(), "Key an-id.a-secret");
}

#[test]
fn the_addresses_of_the_create_are_used_and_none_is_built() {
    let task = task_of("fal-ai/flux/dev");
    let calls = [
        fal().poll(&task, NOW).unwrap(),
        fal().fetch(&completed("fal-ai/flux/dev"), NOW).unwrap(),
        fal().cancel(&task, RUNNING, NOW).unwrap(),
    ];
    insta::assert_snapshot!("poll_fetch_and_cancel", calls.map(|call| shown(&call)).join("\n\n"));
}

#[rstest]
#[case("status_url", "https://evil.example/status")]
#[case("response_url", "https://queue.fal.run.evil.example/x")]
#[case("cancel_url", "http://queue.fal.run/x")]
#[case("status_url", "https://169.254.169.254/latest")]
#[case("status_url", "/status")]
#[case("request_id", "../x")]
fn the_key_is_never_sent_to_another_host(#[case] field: &str, #[case] value: &str) {
    let mut body = answer_to_create();
    body[field] = json!(value);
    let failure = created(200, &body).unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (OutcomeUnknown, "unreadable_answer"));
    // Nor when it comes from the store.
    let good = task_of("fal-ai/flux/dev");
    let id = good.id.replace("https://queue.fal.run", "https://evil.example");
    let task = RemoteTask { id, ..good };
    assert_eq!(fal().poll(&task, NOW).unwrap_err().code, "bad_task_id");
    assert!(fal().cancel(&task, RUNNING, NOW).is_none());
}

#[test]
fn a_task_waits_after_its_create() {
    assert!(matches!(created(200, &answer_to_create()), Ok(Created::Accepted { state: Underway::Queued, .. })));
}

#[test]
fn names_carry_nothing_into_a_path() {
    for name in ["flux", "../flux", "fal-ai//flux", "fal-ai/flux?x", "fal-ai/..", "a b/c"] {
        let model = DescribedModel::new(name, &[GenerationKind::TextToImage], Inputs::default()).unwrap();
        assert!(matches!(Fal::new(account(BASE_URL), vec![model]), Err(DescriptionError::Name { .. })), "{name}");
    }
}

#[rstest]
#[case("IN_QUEUE", Some(Underway::Queued))]
#[case("IN_PROGRESS", Some(Underway::Running))]
#[case("DREAMING", None)]
fn words_of_tasks_that_have_not_ended(#[case] word: &str, #[case] state: Option<Underway>) {
    let unknown_word = state.is_none().then(|| word.to_owned());
    let state = state.unwrap_or(RUNNING.state);
    assert_eq!(polled(&json!({ "status": word })), Ok(Polled::Underway { state, progress_percent: None, unknown_word }));
}

#[rstest]
#[case(json!({ "status": "COMPLETED", "error": "out of memory", "error_type": "runner_error" }), TaskFailed, "runner_error")]
#[case(json!({ "status": "COMPLETED", "error": "out of memory" }), TaskFailed, "task_failed")]
#[case(json!({ "status": "COMPLETED", "error": "no", "error_type": "content_policy_violation" }), Moderation, "content_policy_violation")]
fn what_is_completed_may_have_failed(#[case] body: Value, #[case] class: FailureClass, #[case] code: &str) {
    let Ok(Polled::Failed(failure)) = polled(&body) else { panic!("not failed") };
    assert_eq!((failure.class, failure.code.as_str()), (class, code));
}

#[test]
fn results_are_one_call_away() {
    let body = json!({ "images": [{ "url": "https://v3.fal.media/a.png", "width": 1024, "height": 768 },
        { "url": "https://v3.fal.media/b.png" }], "timings": {}, "seed": 7 });
    let results = fetched("fal-ai/flux/dev", 200, &[], &body).unwrap();
    assert_eq!(results.iter().map(|result| result.kind).collect::<Vec<_>>(), [ResultKind::Picture; 2]);
    assert_eq!(results[0].size, Some(crate::providers::PixelSize::new(1024, 768)));
    assert_eq!(results[0].source, ResultSource::link("https://v3.fal.media/a.png"));
    let body = json!({ "video": { "url": "https://v3.fal.media/x.mp4", "content_type": "video/mp4" } });
    let results = fetched("fal-ai/kling-video/v2", 200, &[], &body).unwrap();
    assert_eq!((results.len(), results[0].kind), (1, ResultKind::Video));
    assert_eq!(fetched("fal-ai/flux/dev", 200, &[], &json!({ "images": [] })).unwrap_err().code, "no_result");
}

#[test]
fn the_answer_that_has_the_results_may_be_the_tasks_error() {
    let of_model = json!({ "detail": [{ "loc": ["body", "prompt"], "msg": "flagged", "type": "content_policy_violation" }] });
    let failure = fetched("fal-ai/flux/dev", 422, &[], &of_model).unwrap_err();
    assert_eq!((failure.class, failure.message.as_str()), (Moderation, "flagged"));
    let of_model = json!({ "detail": [{ "loc": ["body", "image_url"], "msg": "too small", "type": "image_too_small" }] });
    assert_eq!(fetched("fal-ai/flux/dev", 422, &[], &of_model).unwrap_err().class, InvalidRequest);
    let around = json!({ "detail": "the runner died", "error_type": "runner_error" });
    assert_eq!(fetched("fal-ai/flux/dev", 500, &[], &around).unwrap_err().class, TaskFailed);
    let header = [("x-fal-error-type".to_owned(), "startup_timeout".to_owned())];
    let failure = fetched("fal-ai/flux/dev", 504, &header, &json!({ "detail": "no runner" })).unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (TaskFailed, "startup_timeout"));
    // An error of the way is no error of the task: it is asked again.
    let failure = fetched("fal-ai/flux/dev", 502, &[], &json!({ "detail": "bad gateway" })).unwrap_err();
    assert!(failure.class == Transient && failure.class.may_read_again());
}

#[test]
fn every_status_has_its_class() {
    for (status, class) in [
        (400, InvalidRequest),
        (401, Authentication),
        (403, Permission),
        (404, InvalidRequest),
        (422, InvalidRequest),
        (429, RateLimit),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, Transient),
        (504, OutcomeUnknown),
    ] {
        let failure = created(status, &json!({ "detail": "no" })).unwrap_err();
        assert_eq!((failure.class, failure.message.as_str()), (class, "no"), "{status}");
    }
}

#[test]
fn what_has_ended_is_not_cancelled() {
    let read_of = |state, status, body: &[u8]| {
        let known = Known { state, polls: 1 };
        fal().read_cancelled(&task_of("fal-ai/flux/dev"), known, &answered(status, body))
    };
    let requested = br#"{"status":"CANCELLATION_REQUESTED"}"#;
    assert_eq!(read_of(Underway::Queued, 202, requested), Ok(Cancellation::Cancelled));
    assert_eq!(read_of(Underway::Running, 202, requested), Ok(Cancellation::TooLate), "it may go on, and is billed");
    let read = |status, body: &[u8]| read_of(Underway::Queued, status, body);
    assert_eq!(read(400, br#"{"status":"ALREADY_COMPLETED"}"#), Ok(Cancellation::TooLate));
    assert_eq!(read(404, br#"{"status":"NOT_FOUND"}"#), Ok(Cancellation::TooLate));
    assert_eq!(read(401, br#"{"detail":"no"}"#).unwrap_err().class, Authentication);
    assert_eq!(read(503, b"").unwrap_err().class, Transient);
}

#[test]
fn an_account_without_money_is_locked() {
    let class = |status: u16, detail: &str| created(status, &json!({ "detail": detail })).unwrap_err().class;
    assert_eq!(class(403, "User is locked. Reason: Exhausted balance."), Billing);
    assert_eq!(class(403, "Cannot access application"), Permission);
    assert_eq!(class(422, "the user is locked out"), InvalidRequest);
}
