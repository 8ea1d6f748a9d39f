use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::providers::failure::FailureClass::{self, Authentication, InvalidRequest, OutcomeUnknown, Transient, Upstream};
use crate::providers::outcome::{ResultSource, Underway};
use crate::providers::protocol::create;
use crate::providers::request::{GenerationKind, GenerationRequest};
use crate::providers::tests::{NOW, RUNNING, account, answered, refused, shown, task, written};

const MODEL: &str = "sora-2-free";

/// Always the same bytes, or none.
#[derive(Debug)]
struct Fixed(Option<[u8; 8]>);

impl Randomness for Fixed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        bytes.copy_from_slice(&self.0.ok_or(NoRandomness)?);
        Ok(())
    }
}

fn settings() -> Settings {
    Settings::new(SecretString::from("an-app-key"))
}

fn of(settings: Settings) -> Mindvideo {
    Mindvideo::new(account(BASE_URL), settings, Arc::new(Fixed(Some([0xab; 8])))).unwrap()
}

fn mindvideo() -> Mindvideo {
    of(settings())
}

fn asked() -> GenerationRequest {
    GenerationRequest::new(GenerationKind::TextToVideo, "a cat")
}

fn created(status: u16, body: &Value) -> Result<Created, ProviderFailure> {
    mindvideo().read_created(MODEL, &answered(status, body.to_string().as_bytes()))
}

fn polled(body: &Value) -> Result<Polled, ProviderFailure> {
    mindvideo().read_polled(&task(MODEL), RUNNING, &answered(200, body.to_string().as_bytes()))
}

#[test]
fn the_calls_are_those_of_the_web_application_and_nothing_is_published() {
    let call = written(&mindvideo(), MODEL, &asked());
    insta::assert_snapshot!("create", shown(&call));
    let sign = call.headers.iter().find(|(name, _)| name == "i-sign").unwrap().1.expose();
    assert!(sign.starts_with(r#"{"nonce":"abababababababab","timestamp":1760000000000,"sign":""#), "{sign}");
    let text = format!("{} {:?} {:?} {:?}", shown(&call), call, call.headers, mindvideo());
    assert!(!text.contains("a-secret") && !text.contains("an-app-key") && !text.contains("abab"), "{text}");
    let task = RemoteTask { id: "123456".to_owned(), ..task(MODEL) };
    insta::assert_snapshot!("poll", shown(&mindvideo().poll(&task, NOW).unwrap()));
    let call = written(&of(Settings { is_public: true, ..settings() }), MODEL, &asked());
    assert_eq!(call.json().unwrap()["is_public"], json!(true));
}

#[test]
fn models_are_bots_and_the_operator_may_know_more() {
    let bots = vec![Bot { model: "another".to_owned(), id: 7 }, Bot { model: MODEL.to_owned(), id: 8 }];
    let provider = of(Settings { bots, ..settings() });
    for (model, id) in [("another", 7), (MODEL, 8)] {
        assert_eq!(written(&provider, model, &asked()).json().unwrap()["bot_id"], json!(id));
    }
    assert!(refused(&mindvideo(), "another", &asked()).contains("allowed: sora-2-free"));
    let bad = Settings { bots: vec![Bot { model: "a b".to_owned(), id: 1 }], ..settings() };
    assert!(Mindvideo::new(account(BASE_URL), bad, Arc::new(Fixed(None))).is_err());
    let bad = Settings { version: "1\r\nX: 1".to_owned(), ..settings() };
    assert!(Mindvideo::new(account(BASE_URL), bad, Arc::new(Fixed(None))).is_err());
}

#[test]
fn sizes_and_lengths_are_those_that_were_seen() {
    for (frame, seconds, possible) in [
        ("720x1280", 15, true),
        ("1280x720", 15, true),
        ("1920x1080", 15, true),
        ("1080P", 15, true),
        ("16:9", 15, true),
        ("1080x1920", 15, false),
        ("720x1280", 10, false),
    ] {
        let request = GenerationRequest { frame: Some(frame.parse().unwrap()), seconds: Some(seconds), ..asked() };
        let call = create(&mindvideo(), MODEL, &request, &CreateOptions::default(), NOW);
        assert_eq!(call.is_ok(), possible, "{frame} {seconds}");
    }
}

#[test]
fn without_random_numbers_nothing_is_sent() {
    let provider = Mindvideo::new(account(BASE_URL), settings(), Arc::new(Fixed(None))).unwrap();
    assert!(refused(&provider, MODEL, &asked()).contains("no random numbers"));
    assert_eq!(provider.poll(&task(MODEL), NOW).unwrap_err().code, "not_sent");
}

#[rstest]
#[case(200, json!({ "code": 1001, "message": "no credits" }), InvalidRequest, "1001")]
#[case(200, json!({ "code": "1001", "message": "no" }), InvalidRequest, "1001")]
#[case(401, json!({ "code": 401, "message": "token" }), Authentication, "401")]
#[case(200, json!({ "code": 0, "data": {} }), OutcomeUnknown, "unreadable_answer")]
#[case(200, json!({ "data": { "id": 7 } }), OutcomeUnknown, "http_200")]
#[case(500, json!({ "code": 500 }), OutcomeUnknown, "500")]
fn a_create_that_is_refused_says_so(#[case] status: u16, #[case] body: Value, #[case] class: FailureClass, #[case] code: &str) {
    let failure = created(status, &body).unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (class, code));
}

#[test]
fn a_task_is_known_by_its_number() {
    let accepted = Created::Accepted { task: "123456".to_owned(), state: Underway::Queued };
    assert_eq!(created(200, &json!({ "code": 0, "data": { "id": 123_456 } })), Ok(accepted));
}

#[rstest]
#[case("waiting", json!(0), json!([]), Underway::Queued, None)]
#[case("processing", json!(40), json!([]), Underway::Running, Some(40))]
#[case("processing", json!("40.7"), json!([{ "result_url": "" }]), Underway::Running, Some(40))]
#[case("completed", json!(100), json!([]), Underway::Running, Some(100))]
#[case("processing", json!(400), json!(null), Underway::Running, Some(100))]
#[case("", json!(null), json!(null), Underway::Queued, None)]
fn what_has_no_result_goes_on(
    #[case] word: &str,
    #[case] progress: Value,
    #[case] results: Value,
    #[case] state: Underway,
    #[case] progress_percent: Option<u8>,
) {
    let body = json!({ "code": 0, "data": [{ "task_status": word, "task_progress": progress, "results": results }] });
    assert_eq!(polled(&body), Ok(Polled::Underway { state, progress_percent, unknown_word: None }));
}

#[test]
fn a_link_with_a_word_or_a_hundred_percent_is_the_end() {
    for (word, progress, ended) in [("completed", 99, true), ("processing", 100, true), ("processing", 99, false)] {
        let body = json!({ "code": 0, "data": [{ "task_status": word, "task_progress": progress,
            "results": [{ "result_url": "https://host/x.mp4" }] }] });
        let polled = polled(&body).unwrap();
        assert_eq!(matches!(polled, Polled::Finished(_)), ended, "{word} {progress}");
        if let Polled::Finished(finished) = polled {
            assert_eq!(finished.results[0].source, ResultSource::link("https://host/x.mp4"));
        }
    }
    let failed = json!({ "code": 0, "data": [{ "task_status": "failed", "task_remark": "sensitive" }] });
    let Ok(Polled::Failed(failure)) = polled(&failed) else { panic!("not failed") };
    assert_eq!((failure.class, failure.message.as_str()), (FailureClass::TaskFailed, "sensitive"));
}

#[test]
fn a_poll_that_got_a_code_or_no_task_is_repeated() {
    for body in [json!({ "code": 5, "message": "busy" }), json!({ "code": 0, "data": [] }), json!({ "code": 0 })] {
        let failure = polled(&body).unwrap_err();
        assert!(failure.class.may_read_again(), "{body}");
    }
    assert_eq!(polled(&json!({ "code": 5 })).unwrap_err().class, Transient);
}

#[test]
fn a_page_against_programs_is_reported_and_not_got_round() {
    let page = b"<!DOCTYPE html><html><title>Just a moment...</title></html>";
    let headers = [("Content-Type".to_owned(), "text/html; charset=UTF-8".to_owned())];
    for (status, class) in [(403, Upstream), (503, OutcomeUnknown)] {
        for response in [answered(status, page), WireResponse { status, headers: &headers, body: b"challenge" }] {
            let failure = mindvideo().read_created(MODEL, &response).unwrap_err();
            assert_eq!((failure.class, failure.code.as_str()), (class, "upstream_blocked"));
            let action = failure.class.action();
            assert!(!action.other_key && !action.other_provider && !failure.class.may_create_again(false));
            let failure = mindvideo().read_polled(&task(MODEL), RUNNING, &response).unwrap_err();
            assert_eq!((failure.class, failure.code.as_str()), (Upstream, "upstream_blocked"));
        }
    }
}

#[test]
fn nothing_can_be_cancelled_and_only_ids_are_polled() {
    assert!(mindvideo().cancel(&task(MODEL), RUNNING, NOW).is_none() && !mindvideo().following(MODEL).cancels_queued);
    let odd = RemoteTask { id: "1&ids[]=2".to_owned(), ..task(MODEL) };
    assert_eq!(mindvideo().poll(&odd, NOW).unwrap_err().code, "bad_task_id");
}

proptest! {
    #[test]
    fn no_answer_makes_a_reader_panic(
        status in any::<u16>(),
        field in "(code|data|message|task_status|results)",
        value in "\\PC{0,30}|[0-9]{1,20}|\\[\\{\\}\\]|\\{\"id\":\\[\\]\\}|null",
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let body = format!(r#"{{"code":0,"{field}":{value}}}"#);
        for body in [body.as_bytes(), &bytes] {
            let response = answered(status, body);
            let _ = mindvideo().read_created(MODEL, &response);
            let _ = mindvideo().read_polled(&task(MODEL), RUNNING, &response);
        }
    }
}
