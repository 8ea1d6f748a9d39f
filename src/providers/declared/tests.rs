//! The examples of `docs/adding-a-provider.md`, played against answers.

mod refusals;

use std::path::Path;

use proptest::prelude::*;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::config::parse_yaml;
use crate::providers::failure::FailureClass::{
    self, Billing, Duplicate, InvalidRequest, Moderation, OutcomeUnknown, Quota, RateLimit, TaskFailed, Transient, Upstream,
};
use crate::providers::frame::PixelSize;
use crate::providers::payload::Payload;
use crate::providers::protocol::create;
use crate::providers::request::{GenerationRequest, Picture, PictureFormat, PictureRole, PictureSource};
use crate::providers::tests::{NOW, RUNNING, answered, linked, refused, shown, smallest, task, task_of, written};

const DOCUMENT: &str = include_str!("../../../docs/adding-a-provider.md");

/// The examples, in order: a service of films, a service of pictures.
pub(super) fn examples() -> Vec<&'static str> {
    let blocks = DOCUMENT.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

pub(super) fn read(yaml: &str) -> Result<Declaration, String> {
    parse_yaml(Path::new("provider.yaml"), yaml).map_err(|error| error.to_string())
}

fn account(base_url: &str) -> Account {
    Account::new(base_url, SecretString::from("an-id.a-secret")).unwrap()
}

pub(super) fn provider(yaml: &str) -> Declared {
    let declaration = Arc::new(read(yaml).unwrap());
    let account = account(declaration.base_url());
    Declared::new(declaration, account)
}

fn films() -> Declared {
    provider(examples()[0])
}

fn pictures() -> Declared {
    provider(examples()[1])
}

fn film() -> GenerationRequest {
    GenerationRequest::new(GenerationKind::TextToVideo, "a {{cat}}")
}

fn picture() -> GenerationRequest {
    GenerationRequest::new(GenerationKind::TextToImage, "a cat")
}

fn created(provider: &Declared, status: u16, body: &Value) -> Result<Created, ProviderFailure> {
    provider.read_created(provider.models()[0].name, &answered(status, body.to_string().as_bytes()))
}

fn polled(status: u16, body: &Value) -> Result<Polled, ProviderFailure> {
    films().read_polled(&task("reel-1"), RUNNING, &answered(status, body.to_string().as_bytes()))
}

#[test]
fn the_document_has_two_examples_and_every_mode_of_them_takes_its_smallest_request() {
    assert_eq!(examples().len(), 2);
    for provider in [films(), pictures()] {
        for model in provider.models() {
            for mode in model.modes {
                assert_eq!(written(&provider, model.name, &smallest(mode)).method, Method::Post);
            }
        }
    }
}

#[test]
fn the_film_service_is_called_as_its_example_says() {
    let options = CreateOptions { our_id: Some("ours-1".to_owned()), callback_url: Some("https://gw.example/cb".to_owned()) };
    let asked = GenerationRequest {
        negative_prompt: Some("blur".to_owned()),
        seconds: Some(10),
        seed: Some(7),
        frame: Some("1080P".parse().unwrap()),
        ..film()
    };
    let call = create(&films(), "reel-1-latest", &asked, &options, NOW).unwrap();
    insta::assert_snapshot!("films_create", shown(&call));
    assert_eq!(call.most_answer_bytes, MOST_BODY_BYTES);
    let call = written(&films(), "reel-1", &film());
    assert!(call.headers.iter().all(|(name, _)| name != "Idempotency-Key"), "what is absent is left out");
    let body = json!({
        "model": "reel-1.4-turbo", "input": { "prompt": "a {{cat}}" },
        "parameters": { "size": "1280*720", "duration": 5, "watermark": false },
    });
    assert_eq!(call.json(), Some(&body));
    let task = task("reel-1");
    insta::assert_snapshot!("films_poll", shown(&films().poll(&task, NOW).unwrap()));
    let waits = Known { state: Underway::Queued, polls: 0 };
    insta::assert_snapshot!("films_cancel", shown(&films().cancel(&task, waits, NOW).unwrap()));
    assert!(films().cancel(&task, RUNNING, NOW).is_none(), "only_queued");
    let following = films().following("reel-1");
    assert!(following.cancels_queued && following.knows_our_id && following.deadline_seconds == 1200);
}

#[test]
fn a_film_may_begin_with_a_picture() {
    let mut asked = GenerationRequest::new(GenerationKind::ImageToVideo, "");
    asked.pictures = vec![linked(PictureRole::FirstFrame, "https://host/a.png")];
    let body = written(&films(), "reel-1", &asked).json().unwrap().clone();
    assert_eq!(body["input"], json!({ "image": "https://host/a.png" }));
    let source = PictureSource::Bytes { format: PictureFormat::Webp, bytes: vec![1, 2, 3] };
    asked.pictures = vec![Picture { role: PictureRole::FirstFrame, source, size: None }];
    let body = written(&films(), "reel-1", &asked).json().unwrap().clone();
    assert_eq!(body["input"]["image"], json!("data:image/webp;base64,AQID"));
    asked.seconds = Some(11);
    assert!(refused(&films(), "reel-1", &asked).starts_with("seconds: '11' is not possible with reel-1; allowed: 3 to 10"));
}

#[test]
fn a_film_goes_its_way() {
    let accepted = Created::Accepted { task: "f-7".to_owned(), state: Underway::Queued };
    assert_eq!(created(&films(), 200, &json!({ "data": { "id": "f-7" } })), Ok(accepted));
    for (word, state) in [("waiting", Underway::Queued), ("RENDERING", Underway::Running)] {
        let underway = Polled::Underway { state, progress_percent: Some(42), unknown_word: None };
        assert_eq!(polled(200, &json!({ "data": { "state": word, "progress": 0.42 } })), Ok(underway), "{word}");
    }
    let unknown = Polled::unknown(Underway::Running, "Paused");
    assert_eq!(polled(200, &json!({ "data": { "state": "Paused" } })), Ok(unknown));
    assert_eq!(polled(200, &json!({ "data": { "state": "stopped" } })), Ok(Polled::Cancelled { is_billed: false }));
    let done = json!({ "data": { "state": "done", "prompt": "a grey cat",
        "files": [{ "id": "file-1", "duration": 4.9, "width": 1280, "height": 720 }, { "id": "../x" }] }, "usage": { "seconds": 5 } });
    let Ok(Polled::Finished(finished)) = polled(200, &done) else { panic!("not finished") };
    let film = RemoteResult {
        source: ResultSource::File("file-1".to_owned()),
        kind: ResultKind::Video,
        seconds: Some(4.9),
        size: Some(PixelSize::new(1280, 720)),
    };
    assert_eq!((&finished.results, finished.usage.seconds), (&vec![film.clone()], Some(5.0)));
    assert_eq!(finished.rewritten_prompt.as_deref(), Some("a grey cat"));
    let call = films().fetch(&film, NOW).unwrap();
    assert_eq!(call.url.as_str(), "https://api.reelworks.example/v2/files/file-1");
    assert!(films().download(&film, NOW).is_none());
    let answer = json!({ "data": { "url": "https://cdn.example/x.mp4?sig=1" } }).to_string();
    let fetched = films().read_fetched(&film, &answered(200, answer.as_bytes())).unwrap();
    assert_eq!(fetched, [RemoteResult { source: ResultSource::link("https://cdn.example/x.mp4?sig=1"), ..film.clone() }]);
    assert!(films().fetch(&fetched[0], NOW).is_none(), "a link is fetched without a key");
    assert_eq!(films().read_fetched(&film, &answered(200, b"{}")).unwrap_err().class, Upstream);
    let Ok(Polled::Failed(failure)) = polled(200, &json!({ "data": { "state": "done", "files": [] } })) else {
        panic!("no failure")
    };
    assert_eq!(failure.code, "no_result");
    assert_eq!(polled(200, &json!({ "data": {} })).unwrap_err().code, "unreadable_answer");
}

#[rstest]
#[case(402, json!({ "error": { "code": "no_credits" } }), Billing)]
#[case(429, json!({ "error": { "code": "daily_limit" } }), Quota)]
#[case(429, json!({ "error": { "code": "too_many", "retry_after": 16.2 } }), RateLimit)]
#[case(400, json!({ "error": { "code": "bad_prompt" } }), Moderation)]
#[case(409, json!({ "error": { "code": "seen_before" } }), Duplicate)]
#[case(451, json!({}), Moderation)]
#[case(400, json!({ "error": { "code": "other" } }), InvalidRequest)]
#[case(503, json!({ "error": { "code": "other" } }), Transient)]
#[case(500, json!({ "error": { "code": "other" } }), OutcomeUnknown)]
fn codes_and_statuses_have_the_classes_that_are_told(#[case] status: u16, #[case] body: Value, #[case] class: FailureClass) {
    let failure = created(&films(), status, &body).unwrap_err();
    assert_eq!(failure.class, class);
    assert_eq!(failure.retry_after_seconds, (class == RateLimit).then_some(17));
}

#[test]
fn a_failed_task_names_its_reason() {
    for (code, class) in [("bad_prompt", Moderation), ("too_many", TaskFailed), ("other", TaskFailed)] {
        let body = json!({ "data": { "state": "broken", "error": { "code": code, "message": "why" } } });
        let Ok(Polled::Failed(failure)) = polled(200, &body) else { panic!("not failed") };
        assert_eq!((failure.class, failure.code.as_str(), failure.message.as_str()), (class, code, "why"));
    }
}

#[test]
fn a_cancellation_may_come_too_late() {
    let read = |status, body: &[u8]| films().read_cancelled(&task("reel-1"), RUNNING, &answered(status, body));
    assert_eq!(read(204, b""), Ok(Cancellation::Cancelled));
    assert_eq!(read(200, b"{}"), Ok(Cancellation::Cancelled));
    assert_eq!(read(500, br#"{"error":{"code":"already_running"}}"#), Ok(Cancellation::TooLate));
    assert_eq!(read(404, b"{}"), Ok(Cancellation::TooLate));
    assert_eq!(read(500, b"{}").unwrap_err().class, Transient);
}

#[test]
fn the_picture_service_is_called_as_its_example_says() {
    let asked = GenerationRequest { count: Some(2), style: Some("ink".to_owned()), ..picture() };
    let call = written(&pictures(), "brush", &asked);
    assert_eq!(call.url.as_str(), "https://paintbox.example/api/v1/generate/brush?format=png");
    assert_eq!(call.headers[0].0, "X-Api-Key");
    assert_eq!(call.headers[0].1.expose(), "an-id.a-secret");
    let parts =
        vec![Part::field("aspect", "1:1"), Part::field("n", "2"), Part::field("prompt", "a cat"), Part::field("style", "ink")];
    assert!(call.body == Some(Payload::Multipart(parts)));
    assert!(call.most_answer_bytes > MOST_BODY_BYTES, "pictures come with the answer");
}

#[test]
fn pictures_come_with_the_answer() {
    let answer = json!({ "code": "ok", "images": [{ "b64": "AQID" }, { "url": "https://host/b.png" }, { "b64": "?" }, {}] });
    let Ok(Created::Finished(finished)) = created(&pictures(), 200, &answer) else { panic!("not finished") };
    let sources: Vec<&ResultSource> = finished.results.iter().map(|result| &result.source).collect();
    assert_eq!(sources, [&ResultSource::inline("AQID").unwrap(), &ResultSource::link("https://host/b.png")]);
    assert!(finished.results.iter().all(|result| result.kind == ResultKind::Picture));
    for (body, class) in [
        (json!({ "code": 0, "images": [] }), OutcomeUnknown),
        (json!({ "code": "filtered", "images": [{ "b64": "AQID" }] }), Moderation),
    ] {
        assert_eq!(created(&pictures(), 200, &body).unwrap_err().class, class, "{body}");
    }
    let task = task_of("brush", GenerationKind::TextToImage);
    assert_eq!(pictures().poll(&task, NOW).unwrap_err().code, "bad_task_id", "there is nothing to poll");
    assert!(pictures().cancel(&task, RUNNING, NOW).is_none());
}

/// A service of the first example with some of its lines exchanged.
fn changed(which: usize, changes: &[(&str, &str)]) -> String {
    let mut yaml = examples()[which].to_owned();
    for (from, to) in changes {
        assert!(yaml.contains(from), "{from}");
        yaml = yaml.replace(from, to);
    }
    yaml
}

#[test]
fn the_answer_may_be_the_picture_itself() {
    let provider =
        provider(&changed(1, &[("      list: /images\n      base64: /b64\n      link: /url\n", "      body: true\n")]));
    let headers = [("content-type".to_owned(), "image/webp".to_owned())];
    let response = WireResponse { status: 200, headers: &headers, body: &[1, 2, 3] };
    let Ok(Created::Finished(finished)) = provider.read_created("brush", &response) else { panic!("not finished") };
    let bytes = bytes::Bytes::from_static(&[1, 2, 3]);
    let inline = ResultSource::Inline { media_type: Some("image/webp".to_owned()), bytes };
    assert_eq!(finished.results[0].source, inline);
    for status in [400, 500] {
        assert!(provider.read_created("brush", &WireResponse { status, ..response }).is_err());
    }
    assert!(provider.read_created("brush", &answered(200, &[1, 2, 3])).is_err(), "bytes that nobody says are a picture");
}

#[test]
fn a_file_may_be_the_answer_to_a_call() {
    let fetch = "fetch:\n  path: /files/{{file}}\n  answer:\n    results:\n      link: /data/url\n";
    let provider = provider(&changed(0, &[(fetch, "download:\n  path: /files/{{file}}/content\n")]));
    let film = RemoteResult::new(ResultSource::File("file-1".to_owned()), ResultKind::Video);
    let call = provider.download(&film, NOW).unwrap();
    assert_eq!(call.url.path(), "/v2/files/file-1/content");
    assert_eq!(call.headers[0].1.expose(), "Bearer an-id.a-secret");
    assert!(provider.fetch(&film, NOW).is_none());
    let odd = RemoteResult::new(ResultSource::File("../keys".to_owned()), ResultKind::Video);
    assert!(provider.download(&odd, NOW).is_none());
}

#[test]
fn keys_stand_where_they_are_told_to_and_do_not_show_themselves() {
    for (authentication, header, query) in [
        ("{ header: X-Api-Key, value: \"Key {{key}}\" }", Some(("X-Api-Key", "Key an-id.a-secret")), None),
        ("{ header: Authorization, value: \"Token {{key}}\" }", Some(("Authorization", "Token an-id.a-secret")), None),
        ("{ query: api_key }", None, Some("format=png&api_key=an-id.a-secret")),
        ("{}", Some(("Authorization", "Bearer an-id.a-secret")), None),
    ] {
        let yaml = changed(1, &[("authentication:\n  header: X-Api-Key\n", &format!("authentication: {authentication}\n"))]);
        let call = written(&provider(&yaml), "brush", &picture());
        let found = call.headers.first().map(|(name, value)| (name.as_ref(), value.expose()));
        if header.is_some() {
            assert_eq!(found, header);
        }
        if query.is_some() {
            assert_eq!(call.url.query(), query);
        }
        assert!(!format!("{call:?} {:?}", call.headers).contains("a-secret"), "{authentication}");
    }
}

#[test]
fn pictures_go_as_files_or_as_base64_and_links_are_refused_then() {
    let source = PictureSource::Bytes { format: PictureFormat::Png, bytes: vec![1, 2, 3] };
    let mut asked = GenerationRequest::new(GenerationKind::ImageToVideo, "x");
    asked.pictures = vec![Picture { role: PictureRole::FirstFrame, source, size: None }];
    let with_link = GenerationRequest { pictures: vec![linked(PictureRole::FirstFrame, "https://host/a.png")], ..asked.clone() };
    let base64 = provider(&changed(0, &[("image: \"{{first_frame}}\"", "image: \"{{first_frame_base64}}\"")]));
    assert_eq!(written(&base64, "reel-1", &asked).json().unwrap()["input"]["image"], json!("AQID"));
    let json = examples()[0].split("  json:\n").nth(1).unwrap().split("  answer:\n").next().unwrap();
    let multipart = provider(&changed(
        0,
        &[(
            &format!("  json:\n{json}"),
            "  multipart:\n    image: \"{{first_frame}}\"\n    prompt: \"{{prompt}}\"\n    id: \"{{our_id}}\"\n",
        )],
    ));
    let file = Part::file("image", "first_frame.png", "image/png", vec![1, 2, 3]);
    assert!(written(&multipart, "reel-1", &asked).body == Some(Payload::Multipart(vec![file, Part::field("prompt", "x")])));
    for provider in [&base64, &multipart] {
        let message = refused(provider, "reel-1", &with_link);
        assert!(
            message.starts_with("first_frame: 'a link of the role first frame' is not possible with reel-1; allowed: the file")
        );
    }
}

#[test]
fn without_a_status_a_task_has_ended_when_it_has_results() {
    let status = examples()[0].split("    status: /data/state\n").nth(1).unwrap().split("    progress:").next().unwrap();
    let provider = provider(&changed(0, &[(&format!("    status: /data/state\n{status}"), "")]));
    let polled = |body: Value| provider.read_polled(&task("reel-1"), RUNNING, &answered(200, body.to_string().as_bytes()));
    let underway = Polled::Underway { state: Underway::Running, progress_percent: Some(10), unknown_word: None };
    assert_eq!(polled(json!({ "data": { "progress": 0.1 } })), Ok(underway));
    assert!(matches!(polled(json!({ "data": { "files": [{ "id": "7" }] } })), Ok(Polled::Finished(_))));
}

#[test]
fn truth_values_are_words_and_none_may_have_a_meaning_too() {
    let statuses = examples()[0].split("    statuses:\n").nth(1).unwrap().split("    progress:").next().unwrap();
    let changes =
        [(format!("    statuses:\n{statuses}"), "    statuses: { true: succeeded, 3: failed }\n    without_status: running\n")];
    let provider = provider(&changed(0, &[(&changes[0].0, changes[0].1)]));
    let polled = |body: Value| provider.read_polled(&task("reel-1"), RUNNING, &answered(200, body.to_string().as_bytes()));
    assert!(matches!(polled(json!({ "data": { "state": true, "files": [{ "id": "7" }] } })), Ok(Polled::Finished(_))));
    assert!(matches!(polled(json!({ "data": { "state": 3 } })), Ok(Polled::Failed(_))));
    assert_eq!(polled(json!({ "data": {} })), Ok(Polled::underway(Underway::Running)));
}

#[test]
fn task_ids_that_no_provider_gives_are_not_called_for() {
    for id in ["", "..", "a/../b", "a?b=c", "a#b", "a b", "é"] {
        let task = RemoteTask { id: id.to_owned(), ..task("reel-1") };
        assert_eq!(films().poll(&task, NOW).unwrap_err().code, "bad_task_id");
        assert!(films().cancel(&task, Known { state: Underway::Queued, polls: 0 }, NOW).is_none());
    }
}

proptest! {
    #[test]
    fn no_answer_makes_a_reader_panic(
        status in prop_oneof![Just(200_u16), any::<u16>()],
        field in "(data|images|error|code|usage)",
        value in "\\PC{0,30}|[0-9]{1,25}|\\{\"(state|id|files|progress)\":(\"done\"|\"\"|\\[\\]|\\[\\{\\}\\]|-1e300|null)\\}",
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let body = format!(r#"{{"{field}":{value}}}"#);
        let film = RemoteResult::new(ResultSource::File("7".to_owned()), ResultKind::Video);
        for provider in [films(), pictures()] {
            for body in [body.as_bytes(), &bytes] {
                let response = answered(status, body);
                let _ = provider.read_created("reel-1", &response);
                let _ = provider.read_polled(&task("reel-1"), RUNNING, &response);
                let _ = provider.read_fetched(&film, &response);
                let _ = provider.read_cancelled(&task("reel-1"), RUNNING, &response);
            }
        }
    }

    #[test]
    fn what_users_write_is_never_a_template_and_never_leaves_its_place(prompt in "\\PC{1,80}") {
        let asked = GenerationRequest { prompt: prompt.clone(), ..film() };
        if let Ok(call) = create(&films(), "reel-1", &asked, &CreateOptions::default(), NOW) {
            prop_assert_eq!(&call.json().unwrap()["input"]["prompt"], &json!(prompt));
            prop_assert_eq!(call.url.as_str(), "https://api.reelworks.example/v2/films");
        }
    }
}
