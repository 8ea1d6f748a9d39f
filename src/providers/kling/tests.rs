use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::providers::failure::FailureClass::{
    self, Authentication, Billing, InvalidRequest, Moderation, OutcomeUnknown, Permission, RateLimit, TaskFailed, Transient,
};
use crate::providers::outcome::{ResultKind, Underway};
use crate::providers::protocol::create;
use crate::providers::request::{GenerationRequest, Picture, PictureFormat, PictureRole, PictureSource};
use crate::providers::tests::{NOW, RUNNING, answered, linked, refused, shown, task, task_of, written};
use GenerationKind::{FirstLastFrame, ImageToVideo, TextToVideo};

fn kling() -> Kling {
    let account = Account::new(INTERNATIONAL_BASE_URL, SecretString::from("a-secret-key")).unwrap();
    Kling::new(account, Some("an-access-key".to_owned())).unwrap()
}

fn created(status: u16, body: &Value) -> Result<Created, ProviderFailure> {
    kling().read_created("kling-v1-6", &answered(status, body.to_string().as_bytes()))
}

fn polled(known: Known, body: &Value) -> Result<Polled, ProviderFailure> {
    kling().read_polled(&task("kling-v1-6"), known, &answered(200, body.to_string().as_bytes()))
}

fn data(data: &Value) -> Value {
    json!({ "code": 0, "message": "SUCCEED", "request_id": "r", "data": data })
}

fn first_and_last() -> GenerationRequest {
    let pictures =
        vec![linked(PictureRole::FirstFrame, "https://host/a.png"), linked(PictureRole::LastFrame, "https://host/b.png")];
    GenerationRequest { pictures, ..GenerationRequest::new(FirstLastFrame, "she turns") }
}

#[test]
fn the_documented_text_to_video_call_is_written() {
    let request = GenerationRequest {
        negative_prompt: Some("blur".to_owned()),
        quality: Some("pro".to_owned()),
        seconds: Some(10),
        frame: Some("16:9".parse().unwrap()),
        ..GenerationRequest::new(TextToVideo, "An eagle over mountains")
    };
    let options = CreateOptions { our_id: Some("fw-01J".to_owned()), callback_url: Some("https://gw.example/cb".to_owned()) };
    let call = create(&kling(), "kling-v1", &request, &options, NOW).unwrap();
    insta::assert_snapshot!("text_to_video", shown(&call));
}

#[test]
fn the_documented_call_with_two_frames_is_written() {
    let call = written(&kling(), "kling-v1-5", &first_and_last());
    insta::assert_snapshot!("first_and_last_frame", shown(&call));
}

#[test]
fn tokens_are_of_half_an_hour_in_seconds_and_of_the_access_key() {
    let call = kling().poll(&task("kling-v1"), NOW).unwrap();
    let value = call.headers[0].1.expose().to_owned();
    let parts: Vec<&str> = value.strip_prefix("Bearer ").unwrap().split('.').collect();
    let decoded = |part: &str| -> Value { serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    assert_eq!(decoded(parts[0]), json!({ "alg": "HS256", "typ": "JWT" }));
    let claims = json!({ "iss": "an-access-key", "exp": 1_760_001_800, "nbf": 1_759_999_995 });
    assert_eq!(decoded(parts[1]), claims);
    let again = json_web_token::sign(r#"{"alg":"HS256","typ":"JWT"}"#, &claims, "a-secret-key").unwrap();
    assert_eq!(value, format!("Bearer {}", again.expose_secret()));
    assert!(!value.contains("a-secret-key") && !format!("{call:?} {:?}", call.headers).contains(&value));
}

/// The key, the access key beside it, and the access key and the secret key that calls are signed with.
#[rstest]
#[case("a-secret-key", Some("an-access-key"), Ok(("an-access-key", "a-secret-key")))]
#[case("another.its-secret", Some("an-access-key"), Ok(("another", "its-secret")))]
#[case("another.its-secret", None, Ok(("another", "its-secret")))]
#[case("another.its.secret", None, Ok(("another", "its.secret")))]
#[case("a-secret-key", None, Err(AccountError::AccessKey))]
#[case("another.", None, Err(AccountError::Key))]
#[case(".its-secret", None, Err(AccountError::Name { field: "access_key" }))]
#[case("s", Some("a\"b"), Err(AccountError::Name { field: "access_key" }))]
#[case("a\"b.s", None, Err(AccountError::Name { field: "access_key" }))]
fn every_account_has_an_access_key(
    #[case] key: &str,
    #[case] beside: Option<&str>,
    #[case] expected: Result<(&str, &str), AccountError>,
) {
    let account = Account::new(CHINA_BASE_URL, SecretString::from(key)).unwrap();
    let kling = Kling::new(account, beside.map(str::to_owned));
    let found = kling.as_ref().map(|kling| (kling.access_key.as_str(), kling.secret_key.expose_secret()));
    assert_eq!(found.map_err(Clone::clone), expected);
    assert!(!format!("{kling:?}").contains("its-secret") && !format!("{kling:?}").contains("a-secret-key"));
}

#[test]
fn lengths_are_texts() {
    let request = GenerationRequest { seconds: Some(5), ..GenerationRequest::new(TextToVideo, "x") };
    assert!(shown(&written(&kling(), "kling-v1", &request)).contains(r#""duration": "5""#));
}

#[test]
fn pictures_here_are_base64_without_the_head_of_a_data_url() {
    let source = PictureSource::Bytes { format: PictureFormat::Png, bytes: vec![1, 2, 3] };
    let pictures = vec![Picture { role: PictureRole::FirstFrame, source, size: None }];
    let request = GenerationRequest { pictures, ..GenerationRequest::new(ImageToVideo, "") };
    let text = shown(&written(&kling(), "kling-v2-1", &request));
    assert!(text.contains(r#""image": "AQID""#) && !text.contains("data:") && text.contains("/v1/videos/image2video"), "{text}");
}

#[test]
fn a_task_is_polled_on_the_route_that_made_it() {
    for (kind, path) in [
        (TextToVideo, "/v1/videos/text2video/"),
        (ImageToVideo, "/v1/videos/image2video/"),
        (FirstLastFrame, "/v1/videos/image2video/"),
    ] {
        let task = task_of("kling-v1-6", kind);
        let call = kling().poll(&task, NOW).unwrap();
        assert_eq!(call.url.path(), format!("{path}{}", task.id));
    }
    insta::assert_snapshot!("poll", shown(&kling().poll(&task("kling-v1-6"), NOW).unwrap()));
}

#[test]
fn films_between_two_frames_are_made_in_the_quality_that_has_them() {
    assert!(shown(&written(&kling(), "kling-v2-1", &first_and_last())).contains(r#""mode": "pro""#));
    let request = GenerationRequest { quality: Some("std".to_owned()), ..first_and_last() };
    assert!(
        refused(&kling(), "kling-v2-1", &request).starts_with("quality: 'std' is not possible with kling-v2-1; allowed: pro")
    );
    // The first model has them in both, and of five seconds alone.
    assert!(!shown(&written(&kling(), "kling-v1", &first_and_last())).contains(r#""mode":"#));
    let request = GenerationRequest { seconds: Some(10), ..first_and_last() };
    assert!(refused(&kling(), "kling-v1", &request).starts_with("seconds: '10'"));
}

#[test]
fn sound_is_of_the_latest_model_and_its_better_quality() {
    let request = |quality: Option<&str>, audio| GenerationRequest {
        quality: quality.map(ToOwned::to_owned),
        audio: Some(audio),
        ..GenerationRequest::new(TextToVideo, "x")
    };
    for quality in [None, Some("pro")] {
        let text = shown(&written(&kling(), "kling-v2-6", &request(quality, true)));
        assert!(text.contains(r#""sound": "on""#) && text.contains(r#""mode": "pro""#), "{text}");
    }
    assert!(shown(&written(&kling(), "kling-v2-6", &request(None, false))).contains(r#""sound": "off""#));
    let message = refused(&kling(), "kling-v2-6", &request(Some("std"), true));
    assert!(message.starts_with("audio: 'true'") && message.contains("quality pro"), "{message}");
    assert!(refused(&kling(), "kling-v1", &request(Some("pro"), true)).starts_with("audio: "));
}

#[test]
fn a_task_is_known_by_our_id() {
    assert!(kling().following("kling-v1").knows_our_id);
    let options = CreateOptions { our_id: Some("fw-7".to_owned()), callback_url: None };
    let call = create(&kling(), "kling-v1", &GenerationRequest::new(TextToVideo, "x"), &options, NOW).unwrap();
    assert!(shown(&call).contains(r#""external_task_id": "fw-7""#));
}

#[rstest]
#[case("submitted", Some(Underway::Queued))]
#[case("processing", Some(Underway::Running))]
#[case("waiting", None)]
fn words_of_tasks_that_have_not_ended(#[case] word: &str, #[case] state: Option<Underway>) {
    for before in [Underway::Queued, Underway::Running] {
        let unknown_word = state.is_none().then(|| word.to_owned());
        let expected = Polled::Underway { state: state.unwrap_or(before), progress_percent: None, unknown_word };
        assert_eq!(polled(Known { state: before, polls: 1 }, &data(&json!({ "task_status": word }))), Ok(expected));
    }
}

#[test]
fn success_has_a_film_with_its_length_and_without_one_it_is_a_failure() {
    let film = data(&json!({ "task_id": "7", "task_status": "succeed",
        "task_result": { "videos": [{ "id": "v", "url": "https://host/x.mp4", "duration": "5.1" }] } }));
    let Ok(Polled::Finished(finished)) = polled(RUNNING, &film) else { panic!("not finished") };
    let result = &finished.results[0];
    assert_eq!((finished.results.len(), result.kind, result.seconds), (1, ResultKind::Video, Some(5.1)));
    for result in [json!(null), json!({ "videos": [] }), json!({ "videos": [{ "url": "file:///x" }] }), json!({ "videos": {} })] {
        let body = data(&json!({ "task_status": "succeed", "task_result": result }));
        let Ok(Polled::Failed(failure)) = polled(RUNNING, &body) else { panic!("not failed") };
        assert_eq!(failure.code, "no_result");
    }
}

#[rstest]
#[case(json!({ "task_status": "failed", "task_status_msg": "risk control" }), "risk control")]
#[case(json!({ "task_status": "failed" }), "the provider reported failed and no reason")]
fn a_failed_task_says_why_where_it_does(#[case] body: Value, #[case] message: &str) {
    let Ok(Polled::Failed(failure)) = polled(RUNNING, &data(&body)) else { panic!("not failed") };
    assert_eq!((failure.class, failure.message.as_str()), (TaskFailed, message));
    assert_eq!(created(200, &data(&body)).unwrap_err().class, TaskFailed);
}

#[test]
fn a_create_is_followed_by_its_task_id() {
    let body = data(&json!({ "task_id": "831", "task_status": "submitted", "created_at": 1_722_769_557_708_i64 }));
    assert_eq!(created(200, &body), Ok(Created::Accepted { task: "831".to_owned(), state: Underway::Queued }));
    let body = data(&json!({ "task_id": 831, "task_status": "processing" }));
    assert_eq!(created(200, &body), Ok(Created::Accepted { task: "831".to_owned(), state: Underway::Running }));
    assert_eq!(created(200, &data(&json!({ "task_status": "submitted" }))).unwrap_err().class, OutcomeUnknown);
}

/// Every code, with its status and its class for a poll.
const CODES: &[(u16, &[i64], FailureClass)] = &[
    (401, &[1000, 1001, 1002, 1003, 1004], Authentication),
    (429, &[1100, 1304], Authentication),
    (403, &[1103], Permission),
    (429, &[1101, 1102], Billing),
    (400, &[1200, 1201], InvalidRequest),
    (404, &[1202, 1203], InvalidRequest),
    (400, &[1300, 1301], Moderation),
    (429, &[1302, 1303], RateLimit),
    (500, &[5000], Transient),
    (503, &[5001], Transient),
    (504, &[5002], Transient),
    // Codes that nobody knows: the status speaks.
    (429, &[9999], RateLimit),
    (400, &[9999], InvalidRequest),
];

#[test]
fn every_code_has_its_class() {
    for &(status, codes, class) in CODES {
        for code in codes {
            let body = json!({ "code": code, "message": "m", "request_id": "r" }).to_string();
            let answer = answered(status, body.as_bytes());
            let failure = kling().read_polled(&task("kling-v1"), RUNNING, &answer).unwrap_err();
            assert_eq!((failure.class, failure.code), (class, code.to_string()), "{status}");
            // Only 503 says that the create was turned away.
            let on_create = if class == Transient && status != 503 { OutcomeUnknown } else { class };
            assert_eq!(kling().read_created("kling-v1", &answer).unwrap_err().class, on_create, "{code}");
        }
    }
}

#[test]
fn an_http_200_with_a_code_is_an_error() {
    for (code, class) in [(json!(1301), Moderation), (json!("1102"), Billing)] {
        assert_eq!(created(200, &json!({ "code": code, "message": "m" })).unwrap_err().class, class);
    }
    assert_eq!(created(200, &json!({ "code": "none", "message": "m" })).unwrap_err().class, OutcomeUnknown);
}

#[test]
fn an_http_429_that_is_an_empty_account_is_no_rate_limit() {
    for code in [1101, 1102] {
        let class = created(429, &json!({ "code": code, "message": "m" })).unwrap_err().class;
        assert!(class == Billing && !class.may_create_again(true), "{code}");
    }
}

#[test]
fn nothing_can_be_cancelled() {
    assert!(kling().cancel(&task("kling-v1"), Known { state: Underway::Queued, polls: 0 }, NOW).is_none());
    assert!(!kling().following("kling-v1").cancels_queued);
}
