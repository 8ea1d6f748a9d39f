use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::providers::failure::FailureClass::{
    self, Authentication, Billing, InvalidRequest, Moderation, OutcomeUnknown, Permission, RateLimit, TaskFailed, Transient,
};
use crate::providers::outcome::{ResultKind, Underway};
use crate::providers::request::{GenerationRequest, Picture, PictureFormat, PictureRole, PictureSource};
use crate::providers::tests::{NOW, RUNNING, account, answered, linked, refused, shown, task, written};
use GenerationKind::{FirstLastFrame, ImageToVideo, TextToVideo};

fn runway() -> Runway {
    Runway::new(account(BASE_URL))
}

fn created(status: u16, body: &Value) -> Result<Created, ProviderFailure> {
    runway().read_created("gen4.5", &answered(status, body.to_string().as_bytes()))
}

fn polled(known: Known, body: &Value) -> Result<Polled, ProviderFailure> {
    runway().read_polled(&task("gen4.5"), known, &answered(200, body.to_string().as_bytes()))
}

#[test]
fn the_documented_image_to_video_call_is_written() {
    let request = GenerationRequest {
        pictures: vec![linked(PictureRole::FirstFrame, "https://host/a.png")],
        frame: Some("1280x720".parse().unwrap()),
        seconds: Some(5),
        seed: Some(42),
        ..GenerationRequest::new(ImageToVideo, "the ship sails")
    };
    insta::assert_snapshot!("image_to_video", shown(&written(&runway(), "gen4_turbo", &request)));
}

#[test]
fn the_documented_text_to_video_call_is_written() {
    let request = GenerationRequest {
        frame: Some("9:16".parse().unwrap()),
        audio: Some(false),
        seconds: Some(4),
        ..GenerationRequest::new(TextToVideo, "a ship")
    };
    insta::assert_snapshot!("text_to_video", shown(&written(&runway(), "veo3.1", &request)));
}

#[test]
fn one_picture_is_a_text_and_two_say_where_they_belong() {
    let source = PictureSource::Bytes { format: PictureFormat::Png, bytes: vec![1, 2, 3] };
    let pictures =
        vec![Picture { role: PictureRole::FirstFrame, source, size: None }, linked(PictureRole::LastFrame, "https://host/b.png")];
    let request = GenerationRequest { pictures, ..GenerationRequest::new(FirstLastFrame, "") };
    insta::assert_snapshot!("first_and_last_frame", shown(&written(&runway(), "veo3.1_fast", &request)));
}

#[test]
fn a_size_is_always_told_and_has_a_colon() {
    let request = GenerationRequest::new(TextToVideo, "x");
    assert!(shown(&written(&runway(), "gen4.5", &request)).contains(r#""ratio": "1280:720""#));
    let request = GenerationRequest { frame: Some("960x960".parse().unwrap()), ..request };
    // From a prompt alone this model is wide or tall.
    assert!(refused(&runway(), "gen4.5", &request).starts_with("size: '960x960'"));
}

#[test]
fn prompts_are_counted_in_utf_16() {
    let request = |prompt: String| GenerationRequest::new(TextToVideo, prompt);
    written(&runway(), "gen4.5", &request("🚢".repeat(500)));
    let message = refused(&runway(), "gen4.5", &request("🚢".repeat(501)));
    assert!(message.starts_with("prompt: '1002 UTF-16 code units'"), "{message}");
}

#[test]
fn links_are_https_and_not_long() {
    for link in ["http://host/a.png".to_owned(), format!("https://host/{}", "a".repeat(2048))] {
        let pictures = vec![linked(PictureRole::FirstFrame, &link)];
        let request = GenerationRequest { pictures, ..GenerationRequest::new(ImageToVideo, "x") };
        let message = refused(&runway(), "gen4_turbo", &request);
        assert!(message.starts_with("first_frame: 'a link of") && message.contains("begin with https://"), "{message}");
    }
}

#[test]
fn every_call_names_the_version() {
    let calls = [runway().poll(&task("gen4.5"), NOW).unwrap(), runway().cancel(&task("gen4.5"), RUNNING, NOW).unwrap()];
    for call in &calls {
        assert!(shown(call).contains("X-Runway-Version: 2024-11-06"));
    }
    insta::assert_snapshot!("poll_and_cancel", calls.map(|call| shown(&call)).join("\n\n"));
}

#[rstest]
#[case("PENDING", Some(Underway::Queued))]
#[case("THROTTLED", Some(Underway::Queued))]
#[case("RUNNING", Some(Underway::Running))]
#[case("DREAMING", None)]
fn words_of_tasks_that_have_not_ended(#[case] word: &str, #[case] state: Option<Underway>) {
    for before in [Underway::Queued, Underway::Running] {
        let unknown_word = state.is_none().then(|| word.to_owned());
        let progress_percent = (word == "RUNNING").then_some(50);
        let expected = Polled::Underway { state: state.unwrap_or(before), progress_percent, unknown_word };
        let body = json!({ "id": "7", "status": word, "progress": 0.5 });
        assert_eq!(polled(Known { state: before, polls: 1 }, &body), Ok(expected));
    }
    assert_eq!(polled(RUNNING, &json!({ "status": "CANCELLED" })), Ok(Polled::Cancelled { is_billed: false }));
}

#[test]
fn success_has_films_and_without_any_it_is_a_failure() {
    let body = json!({ "id": "7", "status": "SUCCEEDED", "output": ["https://host/x.mp4?_jwt=s"] });
    let Ok(Polled::Finished(finished)) = polled(RUNNING, &body) else { panic!("not finished") };
    assert_eq!((finished.results.len(), finished.results[0].kind), (1, ResultKind::Video));
    for output in [json!(null), json!([]), json!("https://host/x.mp4"), json!([7]), json!(["data:video/mp4;base64,AA"])] {
        let Ok(Polled::Failed(failure)) = polled(RUNNING, &json!({ "status": "SUCCEEDED", "output": output })) else {
            panic!("not failed")
        };
        assert_eq!(failure.code, "no_result");
    }
}

#[rstest]
#[case(Some("SAFETY.INPUT.TEXT"), Moderation, "SAFETY.INPUT")]
#[case(Some("SAFETY.OUTPUT.VIDEO"), Moderation, "SAFETY.OUTPUT")]
#[case(Some("INPUT_PREPROCESSING.SAFETY.TEXT"), Moderation, "INPUT_PREPROCESSING.SAFETY")]
#[case(Some("INPUT_PREPROCESSING.INTERNAL"), TaskFailed, "INPUT_PREPROCESSING.INTERNAL")]
#[case(Some("ASSET.INVALID"), InvalidRequest, "ASSET.INVALID")]
#[case(Some("INTERNAL.BAD_OUTPUT.CODE01"), TaskFailed, "INTERNAL.BAD_OUTPUT")]
#[case(Some("INTERNAL"), TaskFailed, "INTERNAL")]
#[case(None, TaskFailed, "task_failed")]
fn a_failed_task_has_a_code_of_which_the_first_words_matter(
    #[case] code: Option<&str>,
    #[case] class: FailureClass,
    #[case] shown: &str,
) {
    let body = json!({ "status": "FAILED", "failure": "no", "failureCode": code });
    let Ok(Polled::Failed(failure)) = polled(RUNNING, &body) else { panic!("not failed") };
    assert_eq!((failure.class, failure.code.as_str(), failure.message.as_str()), (class, shown, "no"));
}

#[test]
fn every_status_has_its_class() {
    for (status, class, on_create) in [
        (400, InvalidRequest, InvalidRequest),
        (401, Authentication, Authentication),
        (403, Permission, Permission),
        (404, InvalidRequest, InvalidRequest),
        (405, InvalidRequest, InvalidRequest),
        (429, RateLimit, RateLimit),
        (500, Transient, OutcomeUnknown),
        (502, Transient, OutcomeUnknown),
        (503, Transient, Transient),
        (504, Transient, OutcomeUnknown),
    ] {
        let body = json!({ "error": "Validation of body failed" }).to_string();
        let failure = runway().read_polled(&task("gen4.5"), RUNNING, &answered(status, body.as_bytes())).unwrap_err();
        assert_eq!((failure.class, failure.message.as_str()), (class, "Validation of body failed"), "{status}");
        assert_eq!(runway().read_created("gen4.5", &answered(status, body.as_bytes())).unwrap_err().class, on_create, "{status}");
    }
}

#[test]
fn a_create_is_followed_by_its_id() {
    let body = json!({ "id": "497f6eca-6276-4993-bfeb-53cbbbba6f08" });
    let expected = Created::Accepted { task: "497f6eca-6276-4993-bfeb-53cbbbba6f08".to_owned(), state: Underway::Queued };
    assert_eq!(created(200, &body), Ok(expected));
}

#[test]
fn what_waits_or_runs_is_cancelled_and_the_answer_has_no_body() {
    for state in [Underway::Queued, Underway::Running] {
        assert!(runway().cancel(&task("gen4.5"), Known { state, polls: 0 }, NOW).is_some());
    }
    let read = |status, body: &[u8]| runway().read_cancelled(&task("gen4.5"), RUNNING, &answered(status, body));
    assert_eq!(read(204, b""), Ok(Cancellation::Cancelled));
    assert_eq!(read(404, b""), Ok(Cancellation::TooLate));
    assert_eq!(read(401, br#"{"error":"no"}"#).unwrap_err().class, Authentication);
    assert_eq!(read(502, b"<html>").unwrap_err().class, Transient);
    assert!(read(302, b"{}").is_err());
}

#[test]
fn an_account_without_credits_is_no_wrong_request() {
    let class = |status: u16, error: &str| created(status, &json!({ "error": error })).unwrap_err().class;
    assert_eq!(class(400, "You do not have enough credits to run this task."), Billing);
    assert_eq!(class(400, "Validation of body failed"), InvalidRequest);
    assert_eq!(class(404, "You do not have enough credits to run this task."), InvalidRequest);
}
