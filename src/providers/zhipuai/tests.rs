use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::providers::failure::FailureClass::{
    self, Authentication as WrongKey, Billing, Duplicate, InvalidRequest, Moderation, OutcomeUnknown, Permission, Quota,
    RateLimit, TaskFailed, Transient,
};
use crate::providers::frame::PixelSize;
use crate::providers::outcome::{ResultKind, Underway};
use crate::providers::protocol::create;
use crate::providers::request::{GenerationKind, GenerationRequest, Picture, PictureRole};
use crate::providers::tests::{NOW, RUNNING, account, answered, linked, refused, shown, task, written};

fn zhipuai() -> Zhipuai {
    Zhipuai::new(account(CHINA_BASE_URL), Authentication::Key).unwrap()
}

fn created(status: u16, body: &Value) -> Result<Created, ProviderFailure> {
    zhipuai().read_created("cogvideox-2", &answered(status, body.to_string().as_bytes()))
}

fn polled(known: Known, body: &Value) -> Result<Polled, ProviderFailure> {
    zhipuai().read_polled(&task("cogvideox-2"), known, &answered(200, body.to_string().as_bytes()))
}

fn frames() -> Vec<Picture> {
    vec![linked(PictureRole::FirstFrame, "https://host/a.png"), linked(PictureRole::LastFrame, "https://host/b.png")]
}

#[test]
fn the_documented_text_to_video_call_is_written() {
    let request = GenerationRequest {
        quality: Some("quality".to_owned()),
        frame: Some("1080x1920".parse().unwrap()),
        frames_per_second: Some(30),
        audio: Some(false),
        ..GenerationRequest::new(GenerationKind::TextToVideo, "一只狗狗在海边奔跑")
    };
    let options = CreateOptions { our_id: Some("gw-01J".to_owned()), callback_url: Some("https://gw.example/cb".to_owned()) };
    let call = create(&zhipuai(), "cogvideox-2", &request, &options, NOW).unwrap();
    let example = json!({
        "model": "cogvideox-2", "prompt": "一只狗狗在海边奔跑", "quality": "quality", "size": "1080x1920", "fps": 30,
        "with_audio": false, "request_id": "gw-01J",
    });
    assert_eq!(call.json(), Some(&example));
    insta::assert_snapshot!("text_to_video", shown(&call));
}

#[test]
fn the_documented_call_with_two_frames_is_written() {
    let request = GenerationRequest {
        pictures: frames(),
        seconds: Some(4),
        frame: Some("720P".parse().unwrap()),
        movement_amplitude: Some("medium".to_owned()),
        audio: Some(true),
        ..GenerationRequest::new(GenerationKind::FirstLastFrame, "平滑过渡")
    };
    let call = written(&zhipuai(), "vidu2-start-end", &request);
    let example = json!({
        "model": "vidu2-start-end", "image_url": ["https://host/a.png", "https://host/b.png"], "prompt": "平滑过渡",
        "duration": 4, "size": "1280x720", "movement_amplitude": "medium", "with_audio": true,
    });
    assert_eq!(call.json(), Some(&example));
    insta::assert_snapshot!("first_and_last_frame", shown(&call));
}

#[test]
fn one_picture_is_a_text_two_frames_are_an_array_in_order_and_references_are_an_array_even_of_one() {
    let body = |model: &str, kind, pictures| {
        written(&zhipuai(), model, &GenerationRequest { pictures, ..GenerationRequest::new(kind, "x") }).json().unwrap().clone()
    };
    let first = vec![linked(PictureRole::FirstFrame, "https://host/a.png")];
    assert_eq!(body("cogvideox-3", GenerationKind::ImageToVideo, first)["image_url"], json!("https://host/a.png"));
    let reversed = frames().into_iter().rev().collect();
    assert_eq!(
        body("cogvideox-3", GenerationKind::FirstLastFrame, reversed)["image_url"],
        json!(["https://host/a.png", "https://host/b.png"])
    );
    let reference = vec![linked(PictureRole::Reference, "https://host/a.png")];
    assert_eq!(body("vidu2-reference", GenerationKind::SubjectReference, reference)["image_url"], json!(["https://host/a.png"]));
}

#[test]
fn models_without_a_length_are_not_told_one() {
    let mut request = GenerationRequest::new(GenerationKind::TextToVideo, "x");
    assert_eq!(written(&zhipuai(), "cogvideox-2", &request).json(), Some(&json!({ "model": "cogvideox-2", "prompt": "x" })));
    request.seconds = Some(5);
    assert_eq!(
        refused(&zhipuai(), "cogvideox-flash", &request),
        "seconds: '5' is not possible with cogvideox-flash, which takes none: the model decides; leave it out"
    );
    assert_eq!(written(&zhipuai(), "cogvideox-3", &request).json().unwrap()["duration"], json!(5));
}

#[rstest]
#[case("cogvideox-3", "16:9", json!({ "size": "1920x1080", "duration": 5 }))]
#[case("cogvideox-3", "720P", json!({ "size": "1280x720", "duration": 5 }))]
#[case("cogvideox-3", "4K", json!({ "size": "3840x2160", "duration": 5 }))]
#[case("cogvideox-2", "1:1", json!({ "size": "1024x1024" }))]
#[case("cogvideox-2", "480P", json!({ "size": "720x480" }))]
#[case("viduq1-text", "9:16", json!({ "size": "1920x1080", "aspect_ratio": "9:16", "duration": 5 }))]
#[case("viduq1-text", "1080x1920", json!({ "size": "1920x1080", "aspect_ratio": "9:16", "duration": 5 }))]
#[case("viduq1-text", "1080P", json!({ "size": "1920x1080", "duration": 5 }))]
fn tiers_and_ratios_are_looked_up(#[case] model: &str, #[case] frame: &str, #[case] expected: Value) {
    let request =
        GenerationRequest { frame: Some(frame.parse().unwrap()), ..GenerationRequest::new(GenerationKind::TextToVideo, "x") };
    let mut body = written(&zhipuai(), model, &request).json().unwrap().clone();
    body.as_object_mut().unwrap().retain(|field, _| field != "model" && field != "prompt");
    assert_eq!(body, expected);
}

/// Model, its sizes, its seconds; by the documents.
#[rstest]
#[case("cogvideox-3", "1280x720 720x1280 1024x1024 1920x1080 1080x1920 2048x1080 3840x2160", "5 10")]
#[case("cogvideox-2", "720x480 1024x1024 1280x960 960x1280 1920x1080 1080x1920 2048x1080 3840x2160", "")]
#[case("cogvideox-flash", "720x480 1024x1024 1280x960 960x1280 1920x1080 1080x1920 2048x1080 3840x2160", "")]
#[case("viduq1-text", "1920x1080 1080x1920", "5")]
#[case("viduq1-image", "1920x1080", "5")]
#[case("viduq1-start-end", "1920x1080", "5")]
#[case("vidu2-image", "1280x720", "4")]
#[case("vidu2-start-end", "1280x720 480x360", "4")]
#[case("vidu2-reference", "1280x720", "4")]
fn sizes_and_lengths_are_the_documents(#[case] model: &str, #[case] sizes: &str, #[case] seconds: &str) {
    let provider = zhipuai();
    let known = crate::providers::model(&provider, model).unwrap();
    let smallest = crate::providers::tests::smallest(&known.modes[0]);
    let possible = |request: &GenerationRequest| create(&zhipuai(), model, request, &CreateOptions::default(), NOW).is_ok();
    let all = [
        "1280x720",
        "720x1280",
        "720x480",
        "480x360",
        "640x480",
        "1024x1024",
        "1280x960",
        "960x1280",
        "1920x1080",
        "1080x1920",
        "2048x1080",
        "3840x2160",
        "2160x3840",
    ];
    for size in all {
        let expected = sizes.split(' ').any(|listed| listed == size);
        let request = GenerationRequest { frame: Some(size.parse().unwrap()), ..smallest.clone() };
        assert_eq!(possible(&request), expected, "{size}");
    }
    let possible_seconds: Vec<String> = (0..=30)
        .filter(|seconds| possible(&GenerationRequest { seconds: Some(*seconds), ..smallest.clone() }))
        .map(|seconds| seconds.to_string())
        .collect();
    assert_eq!(possible_seconds.join(" "), seconds);
}

#[test]
fn the_two_frames_of_vidu_are_about_equally_large() {
    let message = |first: (u32, u32), last: (u32, u32)| {
        let mut pictures = frames();
        pictures[0].size = Some(PixelSize::new(first.0, first.1));
        pictures[1].size = Some(PixelSize::new(last.0, last.1));
        let request = GenerationRequest { pictures, ..GenerationRequest::new(GenerationKind::FirstLastFrame, "x") };
        create(&zhipuai(), "viduq1-start-end", &request, &CreateOptions::default(), NOW).map_err(|refusal| refusal.to_string())
    };
    assert!(message((800, 1000), (1000, 1000)).is_ok() && message((1250, 1000), (1000, 1000)).is_ok());
    let refusal = message((799, 1000), (1000, 1000)).unwrap_err();
    assert!(refusal.ends_with("allowed: pixels of the first by those of the last frame from 0.80 to 1.25"), "{refusal}");
    assert!(message((1251, 1000), (1000, 1000)).is_err());
}

#[test]
fn pictures_come_with_the_call_or_by_a_task() {
    let options = CreateOptions { our_id: Some("gw-1".to_owned()), callback_url: None };
    let request = GenerationRequest::new(GenerationKind::TextToImage, "x");
    let call = create(&zhipuai(), "cogview-4", &request, &options, NOW).unwrap();
    insta::assert_snapshot!("text_to_image", shown(&call));
    let body = json!({ "created": 1_760_335_349, "data": [{ "url": "https://host/x.png" }],
        "content_filter": [{ "role": "assistant", "level": 3 }] })
    .to_string();
    let Ok(Created::Finished(finished)) = zhipuai().read_created("cogview-4", &answered(200, body.as_bytes())) else {
        panic!("not finished")
    };
    assert_eq!((finished.results.len(), finished.results[0].kind), (1, ResultKind::Picture));
    let call = written(&zhipuai(), "glm-image", &request);
    assert_eq!(call.url.as_str(), "https://open.bigmodel.cn/api/paas/v4/async/images/generations");
    assert_eq!(call.json().unwrap()["size"], json!("1280x1280"));
    let body = json!({ "id": "77", "task_status": "PROCESSING" }).to_string();
    assert!(matches!(zhipuai().read_created("glm-image", &answered(200, body.as_bytes())), Ok(Created::Accepted { .. })));
    assert!(!zhipuai().following("cogview-4").knows_our_id && zhipuai().following("cogvideox-3").knows_our_id);
}

#[test]
fn custom_picture_sizes_are_multiples_of_sixteen() {
    for (frame, possible) in [
        ("1024x1024", true),
        ("768x1344", true),
        ("512x512", true),
        ("496x512", false),
        ("1000x1000", false),
        ("2048x1024", true),
        ("2048x1040", false),
        ("2064x512", false),
    ] {
        let request =
            GenerationRequest { frame: Some(frame.parse().unwrap()), ..GenerationRequest::new(GenerationKind::TextToImage, "x") };
        assert_eq!(create(&zhipuai(), "cogview-4", &request, &CreateOptions::default(), NOW).is_ok(), possible, "{frame}");
    }
}

#[test]
fn a_shape_that_is_not_listed_becomes_a_size_that_is_allowed() {
    for (shape, size) in [("3:2", Some("1248x832")), ("5:2", Some("1616x640")), ("5:1", None)] {
        let request =
            GenerationRequest { frame: Some(shape.parse().unwrap()), ..GenerationRequest::new(GenerationKind::TextToImage, "x") };
        let call = create(&zhipuai(), "cogview-4", &request, &CreateOptions::default(), NOW);
        let sent = call.ok().map(|call| call.json().unwrap()["size"].as_str().unwrap().to_owned());
        assert_eq!(sent.as_deref(), size, "{shape}");
    }
}

#[test]
fn a_task_is_polled_by_its_id_and_never_by_our_own() {
    let body =
        json!({ "model": "cogvideox-2", "id": "8868902201637896192", "request_id": "654321", "task_status": "PROCESSING" });
    let Ok(Created::Accepted { task: id, state }) = created(200, &body) else { panic!("not accepted") };
    assert_eq!((id.as_str(), state), ("8868902201637896192", Underway::Queued));
    let task = RemoteTask { id, ..task("cogvideox-2") };
    insta::assert_snapshot!("poll", shown(&zhipuai().poll(&task, NOW).unwrap()));
    let without_id = json!({ "request_id": "654321", "task_status": "PROCESSING" });
    assert_eq!(created(200, &without_id).unwrap_err().class, OutcomeUnknown);
}

#[test]
fn signed_tokens_stand_in_for_the_key() {
    let provider = Zhipuai::new(account(INTERNATIONAL_BASE_URL), Authentication::SignedToken).unwrap();
    let call = provider.poll(&task("cogvideox-2"), NOW).unwrap();
    let value = call.headers[0].1.expose();
    assert!(value.starts_with("Bearer eyJ") && !value.contains("a-secret"), "{value}");
    let key = SecretString::from("no-dot");
    let account = Account::new(CHINA_BASE_URL, key).unwrap();
    assert_eq!(Zhipuai::new(account, Authentication::SignedToken).unwrap_err(), AccountError::KeyForm);
}

#[test]
fn a_create_may_fail_with_http_200() {
    let failure =
        created(200, &json!({ "id": "7", "task_status": "FAIL", "error": { "code": "1301", "message": "no" } })).unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (Moderation, "1301"));
    assert_eq!(created(200, &json!({ "id": "7", "task_status": "FAIL" })).unwrap_err().class, TaskFailed);
    assert_eq!(created(200, &json!({ "error": { "code": "1214", "message": "no" } })).unwrap_err().class, InvalidRequest);
}

#[rstest]
#[case("SUBMITTED", Some(Underway::Queued))]
#[case("PROCESSING", Some(Underway::Running))]
#[case("WAITING", None)]
fn words_of_tasks_that_have_not_ended(#[case] word: &str, #[case] state: Option<Underway>) {
    for before in [Underway::Queued, Underway::Running] {
        let unknown_word = state.is_none().then(|| word.to_owned());
        let expected = Polled::Underway { state: state.unwrap_or(before), progress_percent: None, unknown_word };
        assert_eq!(polled(Known { state: before, polls: 1 }, &json!({ "task_status": word })), Ok(expected));
    }
}

#[test]
fn success_has_films_or_pictures_and_without_any_it_is_a_failure() {
    let films = json!({ "task_status": "SUCCESS",
        "video_result": [{ "url": "https://host/x.mp4", "cover_image_url": "https://host/x.png" }] });
    let Ok(Polled::Finished(finished)) = polled(RUNNING, &films) else { panic!("not finished") };
    assert_eq!((finished.results.len(), finished.results[0].kind), (1, ResultKind::Video));
    let pictures = json!({ "task_status": "SUCCESS", "image_result": [{ "url": "https://host/x.png" }] });
    let Ok(Polled::Finished(finished)) = polled(RUNNING, &pictures) else { panic!("not finished") };
    assert_eq!(finished.results[0].kind, ResultKind::Picture);
    for body in [
        json!({ "task_status": "SUCCESS" }),
        json!({ "task_status": "SUCCESS", "video_result": [] }),
        json!({ "task_status": "SUCCESS", "video_result": [{ "url": null }] }),
        json!({ "task_status": "SUCCESS", "video_result": { "url": "https://host/x.mp4" } }),
    ] {
        let Ok(Polled::Failed(failure)) = polled(RUNNING, &body) else { panic!("not failed") };
        assert_eq!(failure.code, "no_result");
    }
}

#[rstest]
#[case(json!({ "task_status": "FAIL", "error": { "code": "1301", "message": "m" } }), Moderation, "m")]
#[case(json!({ "task_status": "FAIL", "error": { "code": 1301, "message": "m" } }), Moderation, "m")]
#[case(json!({ "task_status": "FAIL", "error": { "code": "1234", "message": "m" } }), TaskFailed, "m")]
#[case(json!({ "task_status": "FAIL", "message": "m" }), TaskFailed, "m")]
#[case(json!({ "task_status": "FAIL" }), TaskFailed, "the provider reported FAIL and no reason")]
fn a_failed_task_says_why_where_it_does(#[case] body: Value, #[case] class: FailureClass, #[case] message: &str) {
    let Ok(Polled::Failed(failure)) = polled(RUNNING, &body) else { panic!("not failed") };
    assert_eq!((failure.class, failure.message.as_str()), (class, message));
}

/// Every code of the documents, with its status and its class for a poll.
const CODES: &[(u16, &[u32], FailureClass)] = &[
    (401, &[1000, 1001, 1002, 1003, 1004, 1005], WrongKey),
    (400, &[1110, 1111, 1112, 1120, 1121], WrongKey),
    (429, &[1113], Billing),
    (429, &[1302, 1303, 1305, 1312], RateLimit),
    (429, &[1304, 1308, 1309, 1310, 1311, 1313], Quota),
    (400, &[1210, 1211, 1212, 1213, 1214, 1215, 1221, 1222, 1261], InvalidRequest),
    (400, &[1231], Duplicate),
    (400, &[1301], Moderation),
    (403, &[1220], Permission),
    (500, &[1200, 1230, 1234], Transient),
    // Codes that nobody knows: the status speaks.
    (434, &[9999], Permission),
    (435, &[9999], InvalidRequest),
    (429, &[9999], RateLimit),
    (500, &[9999], Transient),
];

#[test]
fn every_code_has_its_class() {
    for &(status, codes, class) in CODES {
        for code in codes {
            let body = json!({ "error": { "code": code.to_string(), "message": "m" } }).to_string();
            let answer = answered(status, body.as_bytes());
            let failure = zhipuai().read_polled(&task("cogvideox-2"), RUNNING, &answer).unwrap_err();
            assert_eq!((failure.class, failure.code), (class, code.to_string()), "{status}");
            let on_create = if class == Transient { OutcomeUnknown } else { class };
            for model in ["cogvideox-2", "cogview-4"] {
                assert_eq!(zhipuai().read_created(model, &answer).unwrap_err().class, on_create, "{code}");
            }
        }
    }
}

#[test]
fn an_http_429_that_is_a_balance_or_an_allowance_is_no_rate_limit() {
    for code in ["1113", "1304", "1308", "1310"] {
        let class = created(429, &json!({ "error": { "code": code, "message": "m" } })).unwrap_err().class;
        assert!(matches!(class, Billing | Quota) && !class.may_create_again(true), "{code}");
    }
}

#[test]
fn a_repeated_id_means_that_an_earlier_create_got_through() {
    let failure = created(400, &json!({ "error": { "code": "1231", "message": "m" } })).unwrap_err();
    assert_eq!(failure.class, Duplicate);
    assert!(!failure.class.may_create_again(true), "another create would be refused likewise, or be billed");
}

#[test]
fn nothing_can_be_cancelled() {
    assert!(zhipuai().cancel(&task("cogvideox-2"), Known { state: Underway::Queued, polls: 0 }, NOW).is_none());
    assert!(!zhipuai().following("cogvideox-2").cancels_queued);
}
