use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::providers::failure::FailureClass::{
    self, Authentication, Billing, InvalidRequest, Moderation, OutcomeUnknown, Permission, Quota, RateLimit, TaskFailed,
    Transient,
};
use crate::providers::frame::PixelSize;
use crate::providers::outcome::{Finished, ResultKind};
use crate::providers::protocol::create;
use crate::providers::request::{GenerationKind, GenerationRequest, PictureRole};
use crate::providers::tests::{NOW, RUNNING, account, answered, linked, refused, shown, task, written};

const HAILUO: &str = "MiniMax-Hailuo-02";
const H3: &str = "MiniMax-H3";

fn minimax() -> Minimax {
    Minimax::new(account(Site::China.base_url()), Site::China, None).unwrap()
}

fn created(status: u16, body: &Value) -> Result<Created, ProviderFailure> {
    minimax().read_created(HAILUO, &answered(status, body.to_string().as_bytes()))
}

fn polled(model: &str, known: Known, body: &Value) -> Result<Polled, ProviderFailure> {
    minimax().read_polled(&task(model), known, &answered(200, body.to_string().as_bytes()))
}

fn request(kind: GenerationKind, pictures: &[(PictureRole, &str)]) -> GenerationRequest {
    let pictures = pictures.iter().map(|(role, link)| linked(*role, link)).collect();
    GenerationRequest { pictures, ..GenerationRequest::new(kind, "x") }
}

#[test]
fn the_documented_call_is_written() {
    let prompt = "男子拿起一本书[上升]，然后阅读[固定]";
    let asked = GenerationRequest {
        seconds: Some(6),
        frame: Some("1080P".parse().unwrap()),
        ..GenerationRequest::new(GenerationKind::TextToVideo, prompt)
    };
    let options =
        CreateOptions { our_id: Some("ours".to_owned()), callback_url: Some("https://gw.example/cb/minimax/1".to_owned()) };
    let call = create(&minimax(), HAILUO, &asked, &options, NOW).unwrap();
    let example = json!({
        "model": "MiniMax-Hailuo-02", "prompt": prompt, "duration": 6, "resolution": "1080P",
        "callback_url": "https://gw.example/cb/minimax/1",
    });
    assert_eq!(call.json(), Some(&example));
    insta::assert_snapshot!("text_to_video", shown(&call));
}

#[test]
fn a_subject_is_an_array_with_an_array_of_one() {
    let asked = request(GenerationKind::SubjectReference, &[(PictureRole::Reference, "https://host/a.jpg")]);
    let body = written(&minimax(), "S2V-01", &asked).json().unwrap().clone();
    let subject = json!([{ "type": "character", "image": ["https://host/a.jpg"] }]);
    assert_eq!(body, json!({ "model": "S2V-01", "prompt": "x", "subject_reference": subject }));
}

#[test]
fn neither_length_nor_size_is_told_to_a_model_without_those_fields() {
    let mut asked = request(GenerationKind::SubjectReference, &[(PictureRole::Reference, "https://host/a.jpg")]);
    asked.seconds = Some(6);
    assert_eq!(written(&minimax(), "S2V-01", &asked).json().unwrap().get("duration"), None);
    asked.seconds = Some(10);
    assert_eq!(refused(&minimax(), "S2V-01", &asked), "seconds: '10' is not possible with S2V-01; allowed: 6");
}

#[test]
fn the_last_frame_is_the_one_that_must_be_there() {
    let last = (PictureRole::LastFrame, "https://host/b.jpg");
    let body = written(&minimax(), HAILUO, &request(GenerationKind::FirstLastFrame, &[last])).json().unwrap().clone();
    assert_eq!(body["last_frame_image"], json!("https://host/b.jpg"));
    assert_eq!((body.get("first_frame_image"), &body["resolution"]), (None, &json!("768P")));
    let first = (PictureRole::FirstFrame, "https://host/a.jpg");
    let body = written(&minimax(), HAILUO, &request(GenerationKind::FirstLastFrame, &[first, last])).json().unwrap().clone();
    assert_eq!(body["first_frame_image"], json!("https://host/a.jpg"));
    let message = refused(&minimax(), HAILUO, &request(GenerationKind::FirstLastFrame, &[first]));
    assert!(message.starts_with("last_frame: '0 of the role last frame'"), "{message}");
}

/// Model, kind, and what is possible: `tier seconds`.
#[rstest]
#[case("MiniMax-Hailuo-2.3", GenerationKind::TextToVideo, "768P 6,768P 10,1080P 6")]
#[case("MiniMax-Hailuo-2.3", GenerationKind::ImageToVideo, "768P 6,768P 10,1080P 6")]
#[case("MiniMax-Hailuo-2.3-Fast", GenerationKind::ImageToVideo, "768P 6,768P 10,1080P 6")]
#[case("MiniMax-Hailuo-02", GenerationKind::TextToVideo, "768P 6,768P 10,1080P 6")]
#[case("MiniMax-Hailuo-02", GenerationKind::ImageToVideo, "512P 6,512P 10,768P 6,768P 10,1080P 6")]
#[case("MiniMax-Hailuo-02", GenerationKind::FirstLastFrame, "768P 6,768P 10,1080P 6")]
#[case("T2V-01-Director", GenerationKind::TextToVideo, "720P 6")]
#[case("T2V-01", GenerationKind::TextToVideo, "720P 6")]
#[case("I2V-01-Director", GenerationKind::ImageToVideo, "720P 6")]
#[case("I2V-01-live", GenerationKind::ImageToVideo, "720P 6")]
#[case("I2V-01", GenerationKind::ImageToVideo, "720P 6")]
fn lengths_depend_on_the_tier(#[case] model: &str, #[case] kind: GenerationKind, #[case] possible: &str) {
    let pictures: &[(PictureRole, &str)] = match kind {
        GenerationKind::ImageToVideo => &[(PictureRole::FirstFrame, "https://host/a.jpg")],
        GenerationKind::FirstLastFrame => &[(PictureRole::LastFrame, "https://host/a.jpg")],
        _ => &[],
    };
    let mut found = Vec::new();
    for tier in ["512P", "720P", "768P", "1080P"] {
        for seconds in [5, 6, 10] {
            let mut asked = request(kind, pictures);
            asked.frame = Some(tier.parse().unwrap());
            asked.seconds = Some(seconds);
            match create(&minimax(), model, &asked, &CreateOptions::default(), NOW) {
                Ok(call) => {
                    let body = call.json().unwrap().clone();
                    assert_eq!((&body["resolution"], &body["duration"]), (&json!(tier), &json!(seconds)));
                    found.push(format!("{tier} {seconds}"));
                }
                Err(refusal) => assert!(matches!(refusal.field, "size" | "seconds"), "{refusal}"),
            }
        }
    }
    assert_eq!(found.join(","), possible);
}

#[test]
fn a_length_that_a_tier_has_not_is_named_with_those_it_has() {
    let mut asked = request(GenerationKind::TextToVideo, &[]);
    asked.frame = Some("1080P".parse().unwrap());
    asked.seconds = Some(10);
    assert_eq!(refused(&minimax(), HAILUO, &asked), "seconds: '10' is not possible with MiniMax-Hailuo-02; allowed: 6 at 1080P");
}

#[test]
fn the_group_is_named_on_creates_alone_and_the_mark_is_china_s() {
    let provider = Minimax::new(account(Site::International.base_url()), Site::International, Some("1234".to_owned())).unwrap();
    let mut asked = request(GenerationKind::TextToVideo, &[]);
    asked.watermark = Some(false);
    let call = written(&provider, HAILUO, &asked);
    assert_eq!(call.url.as_str(), "https://api.minimax.io/v1/video_generation?GroupId=1234");
    assert_eq!(call.json().unwrap().get("aigc_watermark"), None);
    assert_eq!(provider.poll(&task(HAILUO), NOW).unwrap().url.query(), Some(&*format!("task_id={}", task(HAILUO).id)));
    asked.watermark = Some(true);
    assert!(refused(&provider, HAILUO, &asked).starts_with("watermark: 'true'"));
    assert_eq!(written(&minimax(), HAILUO, &asked).json().unwrap()["aigc_watermark"], json!(true));
    assert!(Minimax::new(account("https://host"), Site::China, Some("1&x=2".to_owned())).is_err());
}

#[test]
fn rewriting_has_a_shorter_form_where_the_schema_has_it() {
    let mut asked = request(GenerationKind::TextToVideo, &[]);
    asked.prompt_extension = Some(true);
    asked.fast_pretreatment = Some(true);
    let body = written(&minimax(), "MiniMax-Hailuo-2.3", &asked).json().unwrap().clone();
    assert_eq!((&body["prompt_optimizer"], &body["fast_pretreatment"]), (&json!(true), &json!(true)));
    asked.prompt_extension = Some(false);
    assert!(refused(&minimax(), "MiniMax-Hailuo-2.3", &asked).ends_with("allowed: false, or true with prompt_extension"));
    assert!(refused(&minimax(), "T2V-01", &asked).starts_with("fast_pretreatment: 'true'"));
}

#[test]
fn the_second_generation_has_contents_and_a_ratio() {
    let asked = request(GenerationKind::TextToVideo, &[]);
    let call = written(&minimax(), H3, &asked);
    let text = json!({ "type": "text", "text": "x" });
    assert_eq!(call.json(), Some(&json!({ "model": H3, "content": [text], "ratio": "16:9" })), "text alone needs a ratio");
    let asked = GenerationRequest {
        seconds: Some(15),
        frame: Some("2K".parse().unwrap()),
        ..request(GenerationKind::ImageToVideo, &[(PictureRole::FirstFrame, "https://host/a.jpg")])
    };
    let picture = json!({ "type": "image_url", "image_url": { "url": "https://host/a.jpg" }, "role": "first_frame" });
    let call = written(&minimax(), H3, &asked);
    assert_eq!(
        call.json(),
        Some(&json!({ "model": H3, "content": [text, picture], "resolution": "2K", "duration": 15, "ratio": "adaptive" }))
    );
    insta::assert_snapshot!("second_generation", shown(&call));
    let message = refused(&minimax(), "MiniMax-H3-Max", &asked);
    assert!(message.starts_with("size: '2K'"), "{message}");
}

#[test]
fn both_generations_have_their_routes() {
    let calls = [
        minimax().poll(&task(HAILUO), NOW).unwrap(),
        minimax().poll(&task(H3), NOW).unwrap(),
        minimax().cancel(&task(H3), Known { state: Underway::Queued, polls: 1 }, NOW).unwrap(),
    ];
    insta::assert_snapshot!("routes", calls.each_ref().map(shown).join("\n\n"));
    assert!(minimax().cancel(&task(HAILUO), Known { state: Underway::Queued, polls: 1 }, NOW).is_none());
    assert!(minimax().cancel(&task(H3), RUNNING, NOW).is_none(), "by then it may have ended, and its result would be removed");
}

#[test]
fn http_200_is_no_success() {
    let good = json!({ "task_id": "106916112212032", "base_resp": { "status_code": 0, "status_msg": "success" } });
    let accepted = Created::Accepted { task: "106916112212032".to_owned(), state: Underway::Queued };
    assert_eq!(created(200, &good), Ok(accepted));
    let bad = json!({ "task_id": "106916112212032", "base_resp": { "status_code": 1008, "status_msg": "insufficient balance" } });
    let failure = created(200, &bad).unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Billing, "1008"), "only status_code counts");
    assert!(created(200, &json!({ "task_id": "7", "base_resp": { "status_code": "1004" } })).is_err(), "also as a text");
    assert!(created(200, &json!({ "task_id": "7", "base_resp": { "status_code": [] } })).is_err());
}

#[rstest]
#[case("Preparing", Some(Underway::Queued))]
#[case("Queueing", Some(Underway::Queued))]
#[case("Processing", Some(Underway::Running))]
#[case("processing", Some(Underway::Running))]
#[case("Dreaming", None)]
fn words_of_tasks_that_have_not_ended(#[case] word: &str, #[case] state: Option<Underway>) {
    let first = json!({ "task_id": "7", "status": word, "base_resp": { "status_code": 0 } });
    let second = json!({ "task": { "id": "7", "status": word.to_lowercase() } });
    for before in [Underway::Queued, Underway::Running] {
        for (model, body, word) in [(HAILUO, &first, word.to_owned()), (H3, &second, word.to_lowercase())] {
            let unknown_word = state.is_none().then_some(word);
            let expected = Polled::Underway { state: state.unwrap_or(before), progress_percent: None, unknown_word };
            assert_eq!(polled(model, Known { state: before, polls: 1 }, body), Ok(expected));
        }
    }
}

#[test]
fn a_file_id_is_a_text_or_a_number_and_its_link_is_one_more_call() {
    for file_id in [json!("176844028768320"), json!(176_844_028_768_320_i64)] {
        for word in ["Success", "success"] {
            let body = json!({ "task_id": "7", "status": word, "file_id": file_id, "video_width": 1920, "video_height": 1080,
                "base_resp": { "status_code": 0, "status_msg": "success" } });
            let Ok(Polled::Finished(Finished { results, .. })) = polled(HAILUO, RUNNING, &body) else { panic!("not finished") };
            assert_eq!(results[0].source, ResultSource::File("176844028768320".to_owned()));
            assert_eq!((results[0].kind, results[0].size), (ResultKind::Video, Some(PixelSize::new(1920, 1080))));
            let call = minimax().fetch(&results[0], NOW).unwrap();
            assert_eq!(call.url.as_str(), "https://api.minimaxi.com/v1/files/retrieve?file_id=176844028768320");
            assert_eq!(call.headers[0].1.expose(), "Bearer an-id.a-secret");
            let answer = json!({ "file": { "file_id": file_id, "bytes": 5_896_337, "filename": "output_aigc.mp4",
                "download_url": "https://host/x.mp4" }, "base_resp": { "status_code": 0, "status_msg": "success" } })
            .to_string();
            let fetched = minimax().read_fetched(&results[0], &answered(200, answer.as_bytes())).unwrap().remove(0);
            assert_eq!(fetched.source, ResultSource::link("https://host/x.mp4"));
            assert_eq!(fetched.size, results[0].size);
            assert!(minimax().fetch(&fetched, NOW).is_none(), "a link is fetched without a key");
        }
    }
    let gone = json!({ "file": {}, "base_resp": { "status_code": 0 } }).to_string();
    let file = RemoteResult { source: ResultSource::File("7".to_owned()), kind: ResultKind::Video, seconds: None, size: None };
    assert!(minimax().read_fetched(&file, &answered(200, gone.as_bytes())).is_err());
}

#[test]
fn success_without_a_file_is_a_failure() {
    for file_id in [json!(""), json!(null), json!("../x"), json!({})] {
        let body = json!({ "status": "Success", "file_id": file_id, "base_resp": { "status_code": 0 } });
        let Ok(Polled::Failed(failure)) = polled(HAILUO, RUNNING, &body) else { panic!("not failed") };
        assert_eq!(failure.code, "no_result");
    }
}

#[rstest]
#[case(1026, Moderation)]
#[case(1027, Moderation)]
#[case(2013, InvalidRequest)]
#[case(1000, TaskFailed)]
#[case(0, TaskFailed)]
#[case(4711, TaskFailed)]
fn a_failed_task_names_its_reason_where_a_failed_call_does(#[case] code: i64, #[case] class: FailureClass) {
    for word in ["Fail", "failed"] {
        let body = json!({ "task_id": "7", "status": word, "base_resp": { "status_code": code, "status_msg": "m" } });
        let Ok(Polled::Failed(failure)) = polled(HAILUO, RUNNING, &body) else { panic!("not failed") };
        assert_eq!(failure.class, class);
    }
}

#[test]
fn a_poll_that_fails_is_no_task_that_fails() {
    let body = json!({ "task_id": "7", "status": "", "base_resp": { "status_code": 1002, "status_msg": "slow" } });
    assert_eq!(polled(HAILUO, RUNNING, &body).unwrap_err().class, RateLimit);
}

/// Every code of the documents and its class for a poll.
const CODES: &[(&[i64], FailureClass)] = &[
    (&[1000, 1001, 1013, 1024, 1033], Transient),
    (&[1002, 1039, 1041, 2045], RateLimit),
    (&[1004, 2049], Authentication),
    (&[1008], Billing),
    (&[1026, 1027], Moderation),
    (&[1042, 2013], InvalidRequest),
    (&[2038], Permission),
    (&[2056], Quota),
];

#[test]
fn every_code_has_its_class() {
    for &(codes, class) in CODES {
        for code in codes {
            let body = json!({ "task_id": "", "base_resp": { "status_code": code, "status_msg": "m" } });
            let failure = polled(HAILUO, RUNNING, &body).unwrap_err();
            assert_eq!((failure.class, failure.code), (class, code.to_string()));
            let on_create = if class == Transient { OutcomeUnknown } else { class };
            assert_eq!(created(200, &body).unwrap_err().class, on_create, "{code}");
            // The second generation writes the same codes behind its message, with a status of HTTP.
            let body =
                json!({ "type": "error", "error": { "type": "some_error", "message": format!("m ({code})") } }).to_string();
            let failure = minimax().read_polled(&task(H3), RUNNING, &answered(400, body.as_bytes())).unwrap_err();
            assert_eq!(failure.class, class, "{code}");
        }
    }
}

#[rstest]
#[case(400, InvalidRequest, InvalidRequest)]
#[case(401, Authentication, Authentication)]
#[case(402, Billing, Billing)]
#[case(422, InvalidRequest, InvalidRequest)]
#[case(429, RateLimit, RateLimit)]
#[case(500, Transient, OutcomeUnknown)]
#[case(529, Transient, Transient)]
fn statuses_of_the_second_generation(#[case] status: u16, #[case] poll: FailureClass, #[case] create: FailureClass) {
    let body = json!({ "type": "error", "error": { "type": "some_error", "message": "m", "http_code": status.to_string() } })
        .to_string();
    let answer = answered(status, body.as_bytes());
    let failure = minimax().read_polled(&task(H3), RUNNING, &answer).unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (poll, "some_error"));
    assert_eq!(minimax().read_created(H3, &answer).unwrap_err().class, create);
}

#[test]
fn a_film_of_the_second_generation_comes_with_its_link() {
    let body = json!({ "task": { "id": "7", "model": H3, "status": "succeeded", "duration": 6,
        "content": { "url": "https://host/x.mp4", "prompt": "better" }, "usage": { "total_seconds": 6 } } });
    let Ok(Polled::Finished(finished)) = polled(H3, RUNNING, &body) else { panic!("not finished") };
    assert_eq!(finished.results[0].source, ResultSource::link("https://host/x.mp4"));
    assert_eq!((finished.usage.seconds, finished.rewritten_prompt.as_deref()), (Some(6.0), Some("better")));
    let failed = json!({ "task": { "id": "7", "status": "failed", "error": { "code": "1027", "message": "no" } } });
    let Ok(Polled::Failed(failure)) = polled(H3, RUNNING, &failed) else { panic!("not failed") };
    assert_eq!(failure.class, Moderation);
    assert_eq!(polled(H3, RUNNING, &json!({ "task": { "status": "cancelled" } })), Ok(Polled::Cancelled { is_billed: false }));
}

#[test]
fn a_cancellation_may_come_too_late_or_remove_what_had_ended() {
    let read = |status, body: Value| minimax().read_cancelled(&task(H3), RUNNING, &answered(status, body.to_string().as_bytes()));
    assert_eq!(read(200, json!({ "task_id": "7", "action": "cancel", "status": "cancelled" })), Ok(Cancellation::Cancelled));
    assert_eq!(read(200, json!({ "task_id": "7", "action": "delete", "status": "deleted" })), Ok(Cancellation::Removed));
    let running = json!({ "type": "error", "error": { "type": "invalid_request_error", "message": "running" } });
    assert_eq!(read(400, running), Ok(Cancellation::TooLate));
    assert!(read(500, json!({})).is_err());
}
