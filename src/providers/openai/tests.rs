use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::providers::failure::FailureClass::{
    self, Authentication, Billing, InvalidRequest, Moderation, OutcomeUnknown, Permission, RateLimit, TaskFailed, Transient,
};
use crate::providers::frame::PixelSize;
use crate::providers::outcome::{ResultKind, Underway};
use crate::providers::request::{GenerationRequest, Picture, PictureFormat, PictureRole, PictureSource};
use crate::providers::tests::{NOW, RUNNING, account, answered, linked, refused, shown, task, written};
use GenerationKind::{FirstLastFrame, ImageToVideo, TextToImage, TextToVideo};

fn openai() -> OpenAi {
    let painters = ["gpt-image-1", "gpt-image-2", "dall-e-3", "acme/painter"];
    let mut models: Vec<ServedModel> = painters.map(|name| ServedModel::new(name, &[TextToImage]).unwrap()).into();
    models[2].response_format = Some(ResponseFormat::Base64);
    models.extend(["sora-2", "acme/filmer"].map(|name| ServedModel::new(name, &[TextToVideo, ImageToVideo]).unwrap()));
    OpenAi::new(account(BASE_URL), models).unwrap()
}

fn created(status: u16, body: &Value) -> Result<Created, ProviderFailure> {
    openai().read_created("sora-2", &answered(status, body.to_string().as_bytes()))
}

fn polled(status: u16, body: &Value) -> Result<Polled, ProviderFailure> {
    openai().read_polled(&task("sora-2"), RUNNING, &answered(status, body.to_string().as_bytes()))
}

/// A form without its boundary, which is made of all that it holds.
fn form(model: &str, request: &GenerationRequest) -> String {
    let text = shown(&written(&openai(), model, request));
    let (front, rest) = text.split_once("boundary=framewright-").unwrap();
    format!("{front}boundary=(boundary){}", &rest[32..])
}

#[test]
fn the_documented_call_for_pictures_is_written() {
    let request = GenerationRequest {
        frame: Some("1536x1024".parse().unwrap()),
        quality: Some("high".to_owned()),
        count: Some(2),
        ..GenerationRequest::new(TextToImage, "a ship")
    };
    let call = written(&openai(), "gpt-image-1", &request);
    insta::assert_snapshot!("pictures", shown(&call));
    assert_eq!(call.most_answer_bytes, MOST_PICTURES_BODY_BYTES);
}

#[test]
fn how_pictures_come_is_told_where_the_operator_says_so() {
    let request = GenerationRequest::new(TextToImage, "x");
    assert!(shown(&written(&openai(), "dall-e-3", &request)).contains(r#""response_format": "b64_json""#));
    // These refuse the field.
    assert!(!shown(&written(&openai(), "gpt-image-1", &request)).contains("response_format"));
}

#[test]
fn models_of_the_documents_have_their_limits_and_others_have_ours() {
    let frame =
        |frame: &str| GenerationRequest { frame: Some(frame.parse().unwrap()), ..GenerationRequest::new(TextToImage, "x") };
    for (model, size, possible) in [
        ("gpt-image-1", "1024x1024", true),
        ("gpt-image-1", "1000x1000", false),
        ("gpt-image-2", "1008x1008", true),
        ("gpt-image-2", "1000x1000", false),
        ("gpt-image-2", "3840x2160", true),
        ("gpt-image-2", "3072x1024", true),
        ("gpt-image-2", "3088x1024", false),
        ("dall-e-3", "1536x1024", false),
        ("acme/painter", "1000x1000", true),
    ] {
        let provider = openai();
        let result = crate::providers::create(&provider, model, &frame(size), &CreateOptions::default(), NOW);
        assert_eq!(result.is_ok(), possible, "{model} {size}");
    }
    let dated = ServedModel::new("gpt-image-2-2026-04-21", &[TextToImage]).unwrap();
    assert_eq!(dated.modes[0].prompt.most_characters, 32_000, "a date behind the name changes nothing");
    for kinds in [&[FirstLastFrame][..], &[TextToVideo]] {
        assert!(matches!(ServedModel::new("gpt-image-1", kinds), Err(DescriptionError::Kinds(_))));
    }
    let message = refused(&openai(), "dall-e-3", &GenerationRequest { count: Some(2), ..frame("1024x1024") });
    assert!(message.starts_with("n: '2'"), "{message}");
}

#[test]
fn names_are_anything_that_a_body_can_carry() {
    for (name, possible) in [("acme/painter:latest@v1", true), ("", false), ("a b", false), ("é", false)] {
        let models = vec![ServedModel::new(name, &[TextToImage]).unwrap()];
        assert_eq!(OpenAi::new(account(BASE_URL), models).is_ok(), possible, "{name}");
    }
}

#[test]
fn a_film_is_asked_for_with_a_form_even_without_a_file() {
    let request = GenerationRequest {
        frame: Some("1280x720".parse().unwrap()),
        seconds: Some(8),
        ..GenerationRequest::new(TextToVideo, "a ship")
    };
    insta::assert_snapshot!("film", form("sora-2", &request));
}

#[test]
fn a_picture_is_a_file_and_a_link_has_its_name_in_brackets() {
    let source = PictureSource::Bytes { format: PictureFormat::Png, bytes: vec![1, 2, 3] };
    let pictures = vec![Picture { role: PictureRole::FirstFrame, source, size: None }];
    let request = GenerationRequest { pictures, ..GenerationRequest::new(ImageToVideo, "a ship") };
    insta::assert_snapshot!("film_from_a_picture", form("acme/filmer", &request));
    let pictures = vec![linked(PictureRole::FirstFrame, "https://host/a.png")];
    let request = GenerationRequest { pictures, ..request };
    assert!(form("acme/filmer", &request).contains("\ninput_reference[image_url]: https://host/a.png"));
}

#[test]
fn polls_films_and_cancellations_are_of_the_task() {
    let film = RemoteResult::new(ResultSource::File("video_7".to_owned()), ResultKind::Video);
    let calls = [
        openai().poll(&task("sora-2"), NOW).unwrap(),
        openai().download(&film, NOW).unwrap(),
        openai().cancel(&task("sora-2"), RUNNING, NOW).unwrap(),
    ];
    insta::assert_snapshot!("poll_download_and_delete", calls.map(|call| shown(&call)).join("\n\n"));
    let elsewhere = RemoteResult { source: ResultSource::File("../files".to_owned()), ..film };
    assert!(openai().download(&elsewhere, NOW).is_none());
}

#[test]
fn organizations_and_projects_are_named() {
    let account = Account::new(BASE_URL, SecretString::from("k")).unwrap();
    let named = |organization: &str| {
        let provider = OpenAi::new(account.clone(), vec![]).unwrap();
        provider.with_organization(Some(organization.to_owned()), Some("proj_1".to_owned()))
    };
    let text = shown(&named("org-1").unwrap().poll(&task("x"), NOW).unwrap());
    assert!(text.contains("OpenAI-Organization: org-1") && text.contains("OpenAI-Project: proj_1"), "{text}");
    assert_eq!(named("a\nb").unwrap_err(), AccountError::Name { field: "organization" });
}

#[test]
fn pictures_are_behind_links_or_in_the_answer() {
    let body = json!({ "created": 1, "data": [{ "url": "https://host/x.png", "revised_prompt": "a tall ship" }] });
    let Ok(Created::Finished(finished)) = created(200, &body) else { panic!("not finished") };
    assert_eq!(finished.results[0].source, ResultSource::link("https://host/x.png"));
    assert_eq!((finished.results[0].kind, finished.rewritten_prompt.as_deref()), (ResultKind::Picture, Some("a tall ship")));
    let body = json!({ "created": 1, "data": [{ "b64_json": "AQID" }, { "b64_json": "no base64!" }, { "b64_json": "BAUG" }],
        "output_format": "webp", "size": "1024x1024", "error": null });
    let Ok(Created::Finished(finished)) = created(200, &body) else { panic!("not finished") };
    assert_eq!((finished.results.len(), finished.results[0].size), (2, Some(PixelSize::new(1024, 1024))));
    let ResultSource::Inline { media_type, bytes } = &finished.results[1].source else { panic!("not here") };
    assert_eq!((media_type.as_deref(), bytes.as_ref()), (Some("image/webp"), &[4, 5, 6][..]));
    for body in [json!({ "created": 1 }), json!({ "data": [] }), json!({ "data": [{ "url": "data:," }] })] {
        assert_eq!(created(200, &body).unwrap_err().class, OutcomeUnknown, "{body}");
    }
}

#[test]
fn an_answer_with_pictures_may_be_longer_than_others() {
    let body = json!({ "data": [{ "b64_json": "A".repeat(4 << 20) }] });
    assert!(matches!(created(200, &body), Ok(Created::Finished(_))));
}

#[rstest]
#[case("queued", Underway::Queued)]
#[case("in_progress", Underway::Running)]
#[case("completed", Underway::Running)]
#[case("dreaming", Underway::Queued)]
fn a_create_of_a_film_is_followed_by_its_id(#[case] word: &str, #[case] state: Underway) {
    let body = json!({ "id": "video_7", "object": "video", "status": word, "error": null });
    assert_eq!(created(200, &body), Ok(Created::Accepted { task: "video_7".to_owned(), state }));
}

#[rstest]
#[case("queued", Some(Underway::Queued))]
#[case("in_progress", Some(Underway::Running))]
#[case("dreaming", None)]
fn words_of_tasks_that_have_not_ended(#[case] word: &str, #[case] state: Option<Underway>) {
    let progress_percent = state.map(|_| 40);
    let unknown_word = state.is_none().then(|| word.to_owned());
    let state = state.unwrap_or(RUNNING.state);
    let body = json!({ "id": "video_7", "status": word, "progress": 40, "error": null });
    assert_eq!(polled(200, &body), Ok(Polled::Underway { state, progress_percent, unknown_word }));
}

#[test]
fn a_film_is_for_the_account_alone() {
    let body = json!({ "id": "video_7", "status": "completed", "progress": 100, "seconds": "8", "size": "1280x720",
        "url": "https://elsewhere/x.mp4", "error": null });
    let Ok(Polled::Finished(finished)) = polled(200, &body) else { panic!("not finished") };
    let film = &finished.results[0];
    assert_eq!((film.kind, film.seconds, film.size), (ResultKind::Video, Some(8.0), Some(PixelSize::new(1280, 720))));
    assert_eq!(film.source, ResultSource::File(task("sora-2").id));
    assert!(openai().fetch(film, NOW).is_none() && openai().download(film, NOW).is_some());
    assert_eq!(finished.usage.seconds, Some(8.0));
}

#[rstest]
#[case(json!({ "code": "moderation_blocked", "message": "no" }), Moderation)]
#[case(json!({ "code": "content_policy_violation", "message": "no" }), Moderation)]
#[case(json!({ "code": "safety_system", "message": "no" }), Moderation)]
#[case(json!({ "code": "rate_limit_exceeded", "message": "no" }), TaskFailed)]
#[case(json!({ "code": "video_generation_failed", "message": "no" }), TaskFailed)]
#[case(json!({ "message": "no" }), TaskFailed)]
fn a_failed_task_says_why(#[case] error: Value, #[case] class: FailureClass) {
    let body = json!({ "id": "video_7", "status": "failed", "error": error });
    let Ok(Polled::Failed(failure)) = polled(200, &body) else { panic!("not failed") };
    assert_eq!((failure.class, failure.message.as_str()), (class, "no"));
    assert_eq!(created(200, &body).unwrap_err().class, class);
}

#[test]
fn what_was_cancelled_has_failed_with_a_code_that_says_so() {
    let body = json!({ "status": "failed", "error": { "code": "cancelled", "message": "by the user" } });
    assert_eq!(polled(200, &body), Ok(Polled::Cancelled { is_billed: false }));
}

#[rstest]
#[case(400, json!({ "code": null, "type": "invalid_request_error" }), InvalidRequest)]
#[case(400, json!({ "code": "moderation_blocked", "type": "image_generation_user_error" }), Moderation)]
#[case(400, json!({ "code": "content_policy_violation", "type": "invalid_request_error" }), Moderation)]
#[case(400, json!({ "code": "billing_hard_limit_reached", "type": "image_generation_user_error" }), Billing)]
#[case(401, json!({ "code": "invalid_api_key", "type": "invalid_request_error" }), Authentication)]
#[case(401, json!({ "code": null, "type": "invalid_request_error" }), Authentication)]
#[case(403, json!({ "code": null, "type": "permission_error" }), Permission)]
#[case(404, json!({ "code": "model_not_found" }), InvalidRequest)]
#[case(429, json!({ "code": "insufficient_quota", "type": "insufficient_quota" }), Billing)]
#[case(429, json!({ "code": null, "type": "insufficient_quota" }), Billing)]
#[case(429, json!({ "code": "rate_limit_exceeded", "type": "requests" }), RateLimit)]
#[case(429, json!({ "code": null }), RateLimit)]
#[case(500, json!({ "type": "server_error" }), OutcomeUnknown)]
#[case(503, json!({ "type": "server_error" }), Transient)]
#[case(200, json!({ "type": "invalid_request_error" }), InvalidRequest)]
fn every_error_has_its_class(#[case] status: u16, #[case] mut error: Value, #[case] on_create: FailureClass) {
    error["message"] = json!("no");
    let failure = created(status, &json!({ "error": error })).unwrap_err();
    assert_eq!((failure.class, failure.message.as_str()), (on_create, "no"));
    let on_poll = if on_create == OutcomeUnknown { Transient } else { on_create };
    assert_eq!(polled(status, &json!({ "error": error })).unwrap_err().class, on_poll);
}

#[test]
fn an_insufficient_quota_is_an_account_that_cannot_pay() {
    let class = created(429, &json!({ "error": { "code": "insufficient_quota" } })).unwrap_err().class;
    assert!(class == Billing && !class.may_create_again(true));
}

#[test]
fn an_error_may_be_a_text() {
    let failure = created(400, &json!({ "error": "no such model" })).unwrap_err();
    assert_eq!((failure.class, failure.code.as_str(), failure.message.as_str()), (InvalidRequest, "http_400", "no such model"));
}

#[test]
fn deleting_is_cancelling() {
    let read = |status, body: &[u8]| openai().read_cancelled(&task("sora-2"), RUNNING, &answered(status, body));
    assert_eq!(read(200, br#"{"id":"video_7","object":"video.deleted","deleted":true}"#), Ok(Cancellation::Cancelled));
    assert_eq!(read(204, b""), Ok(Cancellation::Cancelled));
    assert_eq!(read(200, br#"{"id":"video_7","deleted":false}"#), Ok(Cancellation::TooLate));
    assert_eq!(read(409, br#"{"error":{"message":"in progress"}}"#), Ok(Cancellation::TooLate));
    assert_eq!(read(404, br#"{"error":{"message":"gone"}}"#), Ok(Cancellation::TooLate));
    assert_eq!(read(401, br#"{"error":{"message":"no"}}"#).unwrap_err().class, Authentication);
}
