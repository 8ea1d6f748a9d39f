//! The clouds of the tests themselves: a call that is not as the provider wants it is turned away, so that a wire which writes one fails its
//! tests.

use axum::http::{HeaderName, HeaderValue};
use rstest::rstest;
use serde_json::{Value, json};

use crate::providers::{Answer, Cloud, Recorded, Tasks};
use crate::signed_kinds::{kling, mindvideo, veo, vidsme};
use crate::stage::Stage;
use crate::subject::Subject;

/// A create that the kind's cloud took, and the stage whose time it was written at.
async fn taken(subject: &Subject) -> (Stage, Recorded) {
    let (stage, mock) = subject.start().await;
    let settings = subject.settings(&mock, &[("a", None)]);
    // Its film is not waited for.
    tokio::select! {
        ending = stage.run(&settings, &subject.request) => panic!("it ended: {ending:?}"),
        () = mock.wait_for("poll", 1) => {}
    }
    (stage, mock.recorded("create").remove(0))
}

/// What a cloud answers to a request: the status and the body.
fn answered(cloud: &dyn Cloud, request: &Recorded) -> (u16, Value) {
    let usual = || cloud.answer(request, &mut Tasks::default(), "http://127.0.0.1");
    match cloud.refusal(request).unwrap_or_else(usual) {
        Answer::Json(status, body) => (status, body),
        other => panic!("{other:?}"),
    }
}

/// What becomes of a create.
enum Change {
    /// It stays as it was.
    Nothing,
    /// A header has lost its end.
    Cut(&'static str),
    /// A header is gone.
    Without(&'static str),
    /// A text in a header is another one.
    Header(&'static str, &'static str, &'static str),
    /// What is at a place of the body is another value.
    Body(&'static str, Value),
    /// A text in path and query is another one.
    Target(&'static str, &'static str),
}

impl Change {
    fn apply(&self, create: &mut Recorded) {
        match self {
            Self::Nothing => {}
            Self::Cut(name) => {
                let value = create.header(name);
                let value = HeaderValue::from_str(&value[..value.len() - 4]).unwrap();
                create.headers.insert(HeaderName::from_static(name), value);
            }
            Self::Without(name) => assert!(create.headers.remove(*name).is_some(), "{name}"),
            Self::Header(name, from, to) => {
                let value = create.header(name).to_owned();
                assert!(value.contains(from), "{name}: {value}");
                let value = HeaderValue::from_str(&value.replacen(from, to, 1)).unwrap();
                create.headers.insert(HeaderName::from_static(name), value);
            }
            Self::Body(pointer, value) => {
                let mut body = create.json();
                let (parent, field) = pointer.rsplit_once('/').unwrap();
                body.pointer_mut(parent).unwrap()[field] = value.clone();
                create.body = body.to_string().into();
            }
            Self::Target(from, to) => {
                assert!(create.target.contains(from), "{}", create.target);
                create.target = create.target.replacen(from, to, 1);
            }
        }
    }
}

/// Where a kind's answers say what is wrong.
fn code(body: &Value) -> Value {
    let code = body.pointer("/error/status").or_else(|| body.pointer("/code"));
    code.cloned().unwrap_or_default()
}

#[rstest]
#[case(Change::Nothing, 200, 0)]
#[case::no_token(Change::Without("authorization"), 401, 401)]
#[case::other_token(Change::Header("authorization", "secret-of-a", "secret-of-z"), 401, 401)]
#[case::no_signature(Change::Without("i-sign"), 200, 40_001)]
#[case::spaces(Change::Header("i-sign", ":", ": "), 200, 40_001)]
#[case::seconds(Change::Header("i-sign", "000,", ","), 200, 40_001)]
#[case::no_version(Change::Without("i-version"), 200, 40_002)]
#[case::text_for_a_number(Change::Body("/options/seconds", json!("15")), 200, 42_200)]
#[case::size_with_a_star(Change::Body("/options/size", json!("720*1280")), 200, 42_200)]
#[case::another_bot(Change::Body("/bot_id", json!(154)), 200, 42_200)]
#[tokio::test]
async fn mindvideo_looks_at(#[case] change: Change, #[case] status: u16, #[case] expected: i64) {
    looks_at(&mindvideo(), &change, status, &json!(expected)).await;
}

#[rstest]
#[case(Change::Nothing, 200, 200)]
#[case::other_time(Change::Target("t=1767323045", "t=1767323046"), 200, 40_001)]
#[case::other_application(Change::Target("app_id=an-app", "app_id=another"), 200, 40_001)]
#[case::no_signature(Change::Target("&sign=", "&signature="), 200, 40_001)]
#[case::one_field_more(Change::Target("?app_id", "?a=b&app_id"), 200, 42_200)]
#[case::other_user(Change::Body("/user_id", json!("secret-of-z")), 401, 401)]
#[case::our_name(Change::Body("/model", json!("another")), 200, 42_200)]
#[case::other_size(Change::Body("/width", json!(1024)), 200, 42_200)]
#[tokio::test]
async fn vidsme_looks_at(#[case] change: Change, #[case] status: u16, #[case] expected: i64) {
    looks_at(&vidsme(), &change, status, &json!(expected)).await;
}

#[rstest]
#[case(Change::Nothing, 200, 0)]
#[case::no_token(Change::Without("authorization"), 401, 1001)]
#[case::no_bearer(Change::Header("authorization", "Bearer ", "Token "), 401, 1002)]
#[case::other_claims(Change::Header("authorization", ".eyJ", ".eyK"), 401, 1002)]
#[case::other_algorithm(Change::Header("authorization", "eyJhbGciOiJIUzI1NiIs", "eyJhbGciOiJIUzUxMiIs"), 401, 1002)]
#[case::other_signature(Change::Cut("authorization"), 401, 1000)]
#[case::number_for_a_text(Change::Body("/duration", json!(10)), 400, 1201)]
#[case::other_length(Change::Body("/duration", json!("7")), 400, 1201)]
#[case::data_url(Change::Body("/image", json!("data:image/png;base64,AQID")), 400, 1201)]
#[case::no_model(Change::Body("/model_name", json!(null)), 400, 1201)]
#[case::other_field(Change::Body("/model", json!("kling-v1")), 400, 1201)]
#[tokio::test]
async fn kling_looks_at(#[case] change: Change, #[case] status: u16, #[case] expected: i64) {
    looks_at(&kling(), &change, status, &json!(expected)).await;
}

#[rstest]
#[case(Change::Nothing, 200, json!(null))]
#[case::no_key(Change::Without("x-goog-api-key"), 403, json!("PERMISSION_DENIED"))]
#[case::other_key(Change::Header("x-goog-api-key", "of-a", "of-z"), 400, json!("INVALID_ARGUMENT"))]
#[case::other_model(Change::Target("veo-3.1", "veo-9"), 404, json!("NOT_FOUND"))]
#[case::text_for_a_number(Change::Body("/parameters/durationSeconds", json!("8")), 400, json!("INVALID_ARGUMENT"))]
#[case::capitals(Change::Body("/parameters/resolution", json!("720P")), 400, json!("INVALID_ARGUMENT"))]
#[case::short_and_large(Change::Body("/parameters", json!({ "resolution": "1080p", "durationSeconds": 4 })), 400, json!("INVALID_ARGUMENT"))]
#[case::link(Change::Body("/instances/0/image", json!("https://host/a.png")), 400, json!("INVALID_ARGUMENT"))]
#[case::other_field(Change::Body("/parameters/seed", json!(7)), 400, json!("INVALID_ARGUMENT"))]
#[case::nothing_asked(Change::Body("/instances", json!([])), 400, json!("INVALID_ARGUMENT"))]
#[tokio::test]
async fn veo_looks_at(#[case] change: Change, #[case] status: u16, #[case] expected: Value) {
    looks_at(&veo(), &change, status, &expected).await;
}

async fn looks_at(subject: &Subject, change: &Change, status: u16, expected: &Value) {
    let (stage, mut create) = taken(subject).await;
    change.apply(&mut create);
    let cloud = (subject.cloud)(stage.clock.clone());
    let (found, body) = answered(cloud.as_ref(), &create);
    assert_eq!((found, &code(&body)), (status, expected), "{body}");
}

#[rstest]
#[case::mindvideo(mindvideo(), 40_001)]
#[case::vidsme(vidsme(), 40_001)]
#[case::kling(kling(), 1201)]
#[tokio::test]
async fn a_create_is_taken_once(#[case] subject: Subject, #[case] expected: i64) {
    let (stage, create) = taken(&subject).await;
    let cloud = (subject.cloud)(stage.clock.clone());
    assert_eq!(answered(cloud.as_ref(), &create).0, 200);
    let (_, body) = answered(cloud.as_ref(), &create);
    assert_eq!(code(&body), json!(expected), "{body}");
}
