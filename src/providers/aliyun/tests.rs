use rstest::rstest;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::*;
use crate::providers::failure::FailureClass::{
    self, Authentication, Billing, InvalidRequest, Moderation, OutcomeUnknown, Permission, Quota, RateLimit, TaskFailed,
    Transient,
};
use crate::providers::frame::{Frame, PixelSize};
use crate::providers::outcome::{Finished, ResultKind, ResultSource, Underway};
use crate::providers::protocol::create;
use crate::providers::request::{GenerationKind, GenerationRequest, Picture, PictureFormat, PictureRole, PictureSource};
use crate::providers::tests::{NOW, RUNNING, account, answered, linked, refused, shown, task, written};

fn aliyun() -> Aliyun {
    Aliyun::new(account("https://dashscope.aliyuncs.com/api/v1"), Region::Beijing, None).unwrap()
}

fn body_of(model: &str, request: &GenerationRequest) -> Value {
    written(&aliyun(), model, request).json().unwrap().clone()
}

fn text(prompt: &str, frame: &str, seconds: u32) -> GenerationRequest {
    GenerationRequest {
        frame: Some(frame.parse().unwrap()),
        seconds: Some(seconds),
        ..GenerationRequest::new(GenerationKind::TextToVideo, prompt)
    }
}

fn with_frames(kind: GenerationKind, frames: &[(PictureRole, &str)]) -> GenerationRequest {
    let pictures = frames.iter().map(|(role, link)| linked(*role, link)).collect();
    GenerationRequest { pictures, ..GenerationRequest::new(kind, "一只猫") }
}

fn created(status: u16, body: &Value) -> Result<Created, ProviderFailure> {
    aliyun().read_created("wan2.7-t2v", &answered(status, body.to_string().as_bytes()))
}

fn polled(known: Known, body: &Value) -> Result<Polled, ProviderFailure> {
    aliyun().read_polled(&task("wan2.7-t2v"), known, &answered(200, body.to_string().as_bytes()))
}

#[test]
fn the_documented_text_to_video_call_is_written() {
    let request = GenerationRequest {
        negative_prompt: Some("模糊".to_owned()),
        prompt_extension: Some(true),
        watermark: Some(false),
        seed: Some(42),
        ..text("一只小猫在月光下奔跑", "1280x720", 5)
    };
    let call = written(&aliyun(), "wanx2.1-t2v-turbo", &request);
    let example = json!({
        "model": "wanx2.1-t2v-turbo",
        "input": { "prompt": "一只小猫在月光下奔跑", "negative_prompt": "模糊" },
        "parameters": { "size": "1280*720", "duration": 5, "prompt_extend": true, "watermark": false, "seed": 42 },
    });
    assert_eq!(call.json(), Some(&example));
    insta::assert_snapshot!("text_to_video", shown(&call));
}

#[test]
fn the_documented_image_to_video_call_is_written() {
    let mut request = with_frames(GenerationKind::ImageToVideo, &[(PictureRole::FirstFrame, "https://host/a.jpg")]);
    request.frame = Some("720P".parse().unwrap());
    request.seconds = Some(5);
    let example = json!({
        "model": "wanx2.1-i2v-turbo",
        "input": { "prompt": "一只猫", "img_url": "https://host/a.jpg" },
        "parameters": { "resolution": "720P", "duration": 5 },
    });
    assert_eq!(body_of("wanx2.1-i2v-turbo", &request), example);
}

#[test]
fn films_between_two_frames_have_their_own_path() {
    let frames = [(PictureRole::FirstFrame, "https://host/a.png"), (PictureRole::LastFrame, "https://host/b.png")];
    let request = with_frames(GenerationKind::FirstLastFrame, &frames);
    let call = written(&aliyun(), "wanx2.1-kf2v-plus", &request);
    let example = json!({
        "model": "wanx2.1-kf2v-plus",
        "input": { "prompt": "一只猫", "first_frame_url": "https://host/a.png", "last_frame_url": "https://host/b.png" },
        "parameters": { "resolution": "720P" },
    });
    assert_eq!(call.json(), Some(&example));
    insta::assert_snapshot!("first_and_last_frame", shown(&call));
}

#[test]
fn from_2_7_on_there_are_tiers_ratios_and_media() {
    // The documents' example, with the mark that is always sent.
    let example = json!({
        "model": "wan2.7-t2v",
        "input": { "prompt": "一只猫" },
        "parameters": { "resolution": "720P", "ratio": "16:9", "duration": 5, "watermark": false },
    });
    assert_eq!(body_of("wan2.7-t2v", &text("一只猫", "720P 16:9", 5)), example);

    let mut request = with_frames(GenerationKind::ImageToVideo, &[(PictureRole::FirstFrame, "https://host/a.png")]);
    request.frame = Some("720P".parse().unwrap());
    request.seconds = Some(10);
    let example = json!({
        "model": "wan2.7-i2v",
        "input": { "prompt": "一只猫", "media": [{ "type": "first_frame", "url": "https://host/a.png" }] },
        "parameters": { "resolution": "720P", "duration": 10, "watermark": false },
    });
    let call = written(&aliyun(), "wan2.7-i2v", &request);
    assert_eq!(call.json(), Some(&example));
    insta::assert_snapshot!("image_to_video_with_media", shown(&call));

    let frames = [(PictureRole::FirstFrame, "https://host/a.png"), (PictureRole::LastFrame, "https://host/b.png")];
    let mut request = with_frames(GenerationKind::FirstLastFrame, &frames);
    request.audio_link = Some("https://host/c.mp3".to_owned());
    let call = written(&aliyun(), "wan2.7-i2v-2026-06-12", &request);
    let types: Vec<&Value> = call.json().unwrap()["input"]["media"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(types, ["first_frame", "last_frame", "driving_audio"]);
    assert!(call.url.path().ends_with("/video-generation/video-synthesis"));
    assert_eq!(call.json().unwrap()["model"], json!("wan2.7-i2v-2026-06-12"));
}

#[test]
fn the_mark_is_always_sent_from_2_7_on() {
    assert_eq!(body_of("wan2.7-t2v", &text("x", "720P", 5))["parameters"]["watermark"], json!(false));
    assert_eq!(body_of("wan2.6-t2v", &text("x", "720P", 5))["parameters"].get("watermark"), None);
}

/// Model, its tiers, its seconds; by the documents.
#[rstest]
#[case("wanx2.1-t2v-turbo", "480P 720P", "5")]
#[case("wanx2.1-t2v-plus", "720P", "5")]
#[case("wan2.2-t2v-plus", "480P 1080P", "5")]
#[case("wan2.5-t2v-preview", "480P 720P 1080P", "5 10")]
#[case("wan2.6-t2v", "720P 1080P", "2 3 4 5 6 7 8 9 10 11 12 13 14 15")]
#[case("wan2.7-t2v", "720P 1080P", "2 3 4 5 6 7 8 9 10 11 12 13 14 15")]
#[case("wanx2.1-i2v-turbo", "480P 720P", "3 4 5")]
#[case("wanx2.1-i2v-plus", "720P", "5")]
#[case("wan2.2-i2v-flash", "480P 720P 1080P", "5")]
#[case("wan2.2-i2v-plus", "480P 1080P", "5")]
#[case("wan2.5-i2v-preview", "480P 720P 1080P", "5 10")]
#[case("wan2.6-i2v", "720P 1080P", "5 10 15")]
#[case("wan2.7-i2v", "720P 1080P", "2 3 4 5 6 7 8 9 10 11 12 13 14 15")]
#[case("wanx2.1-kf2v-plus", "720P", "5")]
#[case("wan2.2-kf2v-flash", "480P 720P 1080P", "5")]
fn tiers_and_lengths_are_the_documents(#[case] model: &str, #[case] tiers: &str, #[case] seconds: &str) {
    let provider = aliyun();
    let known = crate::providers::model(&provider, model).unwrap();
    let smallest = crate::providers::tests::smallest(&known.modes[0]);
    let possible = |request: &GenerationRequest| create(&aliyun(), model, request, &CreateOptions::default(), NOW).is_ok();
    let possible_tiers: Vec<&str> = ["480P", "512P", "720P", "768P", "1080P", "2K", "4K"]
        .into_iter()
        .filter(|tier| possible(&GenerationRequest { frame: Some(tier.parse().unwrap()), ..smallest.clone() }))
        .collect();
    let possible_seconds: Vec<String> = (0..=30)
        .filter(|seconds| possible(&GenerationRequest { seconds: Some(*seconds), ..smallest.clone() }))
        .map(|seconds| seconds.to_string())
        .collect();
    assert_eq!((possible_tiers.join(" ").as_str(), possible_seconds.join(" ").as_str()), (tiers, seconds));
}

#[test]
fn several_shots_need_the_rewriting_that_makes_them() {
    let mut request = GenerationRequest { shot_type: Some("multi".to_owned()), ..text("x", "720P", 5) };
    assert_eq!(body_of("wan2.6-t2v", &request)["parameters"]["shot_type"], json!("multi"));
    request.prompt_extension = Some(false);
    assert!(refused(&aliyun(), "wan2.6-t2v", &request).starts_with("shot_type: 'multi'"));
    request.prompt_extension = None;
    assert!(refused(&aliyun(), "wan2.5-t2v-preview", &request).ends_with("which takes none; leave it out"));
}

#[test]
fn pictures_by_number_are_one_unless_asked_for_more() {
    let request = GenerationRequest::new(GenerationKind::TextToImage, "一只猫");
    let call = written(&aliyun(), "wan2.2-t2i-flash", &request);
    assert_eq!(call.json().unwrap()["parameters"], json!({ "size": "1024*1024", "n": 1 }));
    insta::assert_snapshot!("text_to_image", shown(&call));
    let request = GenerationRequest { count: Some(4), ..request };
    assert_eq!(body_of("wanx2.1-t2i-plus", &request)["parameters"]["n"], json!(4));
}

#[rstest]
#[case::exact("wanx2.1-t2v-turbo", "832x480", "832*480")]
#[case::default_shape("wanx2.1-t2v-turbo", "480P", "832*480")]
#[case::default_tier("wanx2.1-t2v-turbo", "9:16", "720*1280")]
#[case::square("wanx2.1-t2v-turbo", "1:1", "960*960")]
#[case::both("wanx2.1-t2v-turbo", "480P 1:1", "624*624")]
#[case::broad("wanx2.1-t2v-plus", "4:3", "1088*832")]
#[case::full("wan2.5-t2v-preview", "3:4", "1248*1632")]
#[case::tier("wan2.5-t2v-preview", "720p", "1280*720")]
// No 720P here, so the other tier's shape.
#[case::only_two_tiers("wan2.2-t2v-plus", "480P 9:16", "480*832")]
fn sizes_are_written_with_an_asterisk(#[case] model: &str, #[case] frame: &str, #[case] size: &str) {
    assert_eq!(body_of(model, &text("x", frame, 5))["parameters"]["size"], json!(size));
}

#[rstest]
#[case("wanx2.1-t2v-turbo", "1920x1080")]
#[case("wanx2.1-t2v-plus", "480P")]
#[case("wan2.2-t2v-plus", "720P")]
#[case("wan2.6-t2v", "480P")]
#[case("wanx2.1-t2v-turbo", "480P 4:3")]
#[case("wan2.7-t2v", "480P")]
#[case("wan2.7-t2v", "21:9")]
#[case("wan2.7-t2v", "1280x720")]
fn sizes_of_other_models_are_refused(#[case] model: &str, #[case] frame: &str) {
    let message = refused(&aliyun(), model, &text("x", frame, 5));
    assert!(message.starts_with(&format!("size: '{frame}' is not possible with {model}; allowed: ")), "{message}");
}

#[test]
fn a_refusal_names_field_value_model_and_what_is_allowed() {
    assert_eq!(
        refused(&aliyun(), "wanx2.1-t2v-plus", &text("x", "480P", 5)),
        "size: '480P' is not possible with wanx2.1-t2v-plus; allowed: 1280x720, 720x1280, 960x960, 1088x832, 832x1088"
    );
    let mut request = with_frames(GenerationKind::ImageToVideo, &[(PictureRole::FirstFrame, "https://host/a.jpg")]);
    request.seconds = Some(6);
    assert_eq!(
        refused(&aliyun(), "wanx2.1-i2v-turbo", &request),
        "seconds: '6' is not possible with wanx2.1-i2v-turbo; allowed: 3, 4, 5"
    );
}

#[test]
fn picture_sizes_are_free_within_bounds() {
    for (frame, possible) in [
        ("512x512", true),
        ("511x1024", false),
        ("1440x1440", true),
        ("1441x1024", false),
        ("1280x720", true),
        ("1:1", true),
        ("16:9", true),
        ("3:1", false),
    ] {
        let request =
            GenerationRequest { frame: Some(frame.parse().unwrap()), ..GenerationRequest::new(GenerationKind::TextToImage, "x") };
        let result = create(&aliyun(), "wan2.5-t2i-preview", &request, &CreateOptions::default(), NOW);
        assert_eq!(result.is_ok(), possible, "{frame}");
    }
}

#[test]
fn the_family_of_2_1_has_the_regions_name() {
    let request = text("x", "720P", 5);
    for (region, asked, sent) in [
        (Region::Beijing, "wan2.1-t2v-turbo", "wanx2.1-t2v-turbo"),
        (Region::Beijing, "wanx2.1-t2v-turbo", "wanx2.1-t2v-turbo"),
        (Region::Singapore, "wanx2.1-t2v-turbo", "wan2.1-t2v-turbo"),
        (Region::Singapore, "wan2.6-t2v", "wan2.6-t2v"),
        (Region::Virginia, "wan2.6-t2v", "wan2.6-t2v"),
    ] {
        let provider = Aliyun::new(account(&region.base_url(Some("ws-1"))), region, Some("ws-1".to_owned())).unwrap();
        let call = written(&provider, asked, &request);
        assert_eq!(call.json().unwrap()["model"], json!(sent));
        assert!(call.headers.iter().any(|(name, value)| *name == "X-DashScope-WorkSpace" && value.expose() == "ws-1"));
    }
    assert_eq!(Region::Singapore.base_url(Some("ws-1")), "https://ws-1.ap-southeast-1.maas.aliyuncs.com/api/v1");
    assert!(Aliyun::new(account("https://host"), Region::Beijing, Some("a\r\nb".to_owned())).is_err());
}

#[test]
fn links_into_the_providers_store_have_their_header() {
    let request = with_frames(GenerationKind::ImageToVideo, &[(PictureRole::FirstFrame, "oss://bucket/a.png")]);
    let call = written(&aliyun(), "wan2.5-i2v-preview", &request);
    assert!(call.headers.iter().any(|(name, _)| *name == "X-DashScope-OssResourceResolve"));
    let source = PictureSource::Bytes { format: PictureFormat::Png, bytes: vec![1, 2, 3] };
    let mut request = GenerationRequest::new(GenerationKind::ImageToVideo, "");
    request.pictures = vec![Picture { role: PictureRole::FirstFrame, source, size: None }];
    let call = written(&aliyun(), "wan2.5-i2v-preview", &request);
    assert_eq!(call.json().unwrap()["input"], json!({ "img_url": "data:image/png;base64,AQID" }));
    assert!(!call.headers.iter().any(|(name, _)| *name == "X-DashScope-OssResourceResolve"));
}

#[test]
fn creates_ask_for_a_task_and_polls_carry_the_key_alone() {
    let call = written(&aliyun(), "wan2.6-t2v", &text("x", "720P", 5));
    assert!(call.headers.iter().any(|(name, value)| *name == "X-DashScope-Async" && value.expose() == "enable"));
    insta::assert_snapshot!("poll", shown(&aliyun().poll(&task("wan2.6-t2v"), NOW).unwrap()));
    insta::assert_snapshot!("cancel", shown(&aliyun().cancel(&task("wan2.6-t2v"), RUNNING, NOW).unwrap()));
}

#[test]
fn a_created_task_waits() {
    let body =
        json!({ "output": { "task_status": "PENDING", "task_id": "0385dc79-5ff8-4d82-bcb6-xxxxxx" }, "request_id": "4909" });
    let accepted = Created::Accepted { task: "0385dc79-5ff8-4d82-bcb6-xxxxxx".to_owned(), state: Underway::Queued };
    assert_eq!(created(200, &body), Ok(accepted));
}

#[test]
fn an_error_beside_http_200_is_an_error() {
    let body = json!({ "code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "fb53" });
    for status in [200, 401] {
        let failure = created(status, &body).unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (Authentication, "InvalidApiKey"));
    }
    let with_output = json!({ "code": "", "output": { "task_status": "PENDING", "task_id": "7" } });
    assert!(created(200, &with_output).is_ok(), "an empty code is none");
}

#[rstest]
#[case("PENDING", Some(Underway::Queued))]
#[case("SUSPENDED", Some(Underway::Queued))]
#[case("RUNNING", Some(Underway::Running))]
#[case("running", Some(Underway::Running))]
#[case("PAUSED", None)]
fn words_of_tasks_that_have_not_ended(#[case] word: &str, #[case] state: Option<Underway>) {
    let body = json!({ "output": { "task_id": "7", "task_status": word } });
    for before in [Underway::Queued, Underway::Running] {
        let unknown_word = state.is_none().then(|| word.to_owned());
        let expected = Polled::Underway { state: state.unwrap_or(before), progress_percent: None, unknown_word };
        assert_eq!(polled(Known { state: before, polls: 3 }, &body), Ok(expected));
    }
}

#[test]
fn canceled_has_one_l_and_two_are_taken_too() {
    for word in ["CANCELED", "CANCELLED"] {
        assert_eq!(polled(RUNNING, &json!({ "output": { "task_status": word } })), Ok(Polled::Cancelled { is_billed: false }));
    }
}

#[test]
fn a_task_that_nobody_knows_has_failed_unless_it_was_just_made() {
    let body = json!({ "request_id": "1", "output": { "task_id": "7", "task_status": "UNKNOWN" } });
    for polls in 0..2 {
        let known = Known { state: Underway::Queued, polls };
        assert_eq!(polled(known, &body), Ok(Polled::underway(Underway::Queued)));
    }
    for known in [Known { state: Underway::Queued, polls: 2 }, Known { state: Underway::Running, polls: 0 }] {
        let Ok(Polled::Failed(failure)) = polled(known, &body) else { panic!("not failed") };
        assert_eq!((failure.class, failure.code.as_str()), (TaskFailed, "task_expired_or_unknown"));
    }
}

#[test]
fn a_film_comes_with_its_link_length_and_size() {
    let body = json!({
        "request_id": "c1209113",
        "output": { "task_id": "0385", "task_status": "SUCCEEDED", "submit_time": "2025-09-29 14:18:52.331",
            "orig_prompt": "a", "actual_prompt": "a longer one", "video_url": "https://dashscope-result.test/xxx.mp4?Expires=xxx" },
        "usage": { "video_duration": 5, "video_ratio": "832*480", "video_count": 1 },
    });
    let Ok(Polled::Finished(Finished { results, usage, rewritten_prompt })) = polled(RUNNING, &body) else {
        panic!("not finished")
    };
    let [video] = results.as_slice() else { panic!("not one result") };
    let ResultSource::Link(link) = &video.source else { panic!("no link") };
    assert_eq!(link.expose_secret(), "https://dashscope-result.test/xxx.mp4?Expires=xxx");
    assert!(!format!("{video:?}").contains("Expires"));
    assert_eq!((video.kind, video.seconds, video.size), (ResultKind::Video, Some(5.0), Some(PixelSize::new(832, 480))));
    assert_eq!((usage.seconds, rewritten_prompt.as_deref()), (Some(5.0), Some("a longer one")));
    assert_eq!(aliyun().fetch(video, NOW).map(|call| call.url), None, "a link is fetched without a key");
}

#[rstest]
#[case::from_2_6(json!({ "duration": 5.2, "input_video_duration": 1, "output_video_duration": 4.5, "SR": 720, "size": "1280*720" }), Some(4.5))]
#[case::from_2_2(json!({ "duration": 5, "SR": 480, "video_count": 1 }), Some(5.0))]
#[case::from_2_1(json!({ "video_duration": "5", "video_ratio": "standard" }), Some(5.0))]
#[case::none(json!({}), None)]
#[case::nonsense(json!({ "duration": -3, "video_duration": [] }), None)]
fn billed_seconds_are_the_first_that_are_there(#[case] usage: Value, #[case] seconds: Option<f64>) {
    let body = json!({ "output": { "task_status": "SUCCEEDED", "video_url": "https://host/x.mp4" }, "usage": usage });
    let Ok(Polled::Finished(finished)) = polled(RUNNING, &body) else { panic!("not finished") };
    assert_eq!(finished.usage.seconds, seconds);
}

#[test]
fn pictures_that_failed_are_left_out_of_a_task_that_succeeded() {
    let failed = json!({ "code": "DataInspectionFailed", "message": "no" });
    let body = json!({
        "output": { "task_id": "7", "task_status": "SUCCEEDED",
            "results": [{ "orig_prompt": "a", "actual_prompt": "b", "url": "https://host/x.png" }, failed],
            "task_metrics": { "TOTAL": 2, "SUCCEEDED": 1, "FAILED": 1 } },
        "usage": { "image_count": 1 },
    });
    let Ok(Polled::Finished(finished)) = polled(RUNNING, &body) else { panic!("not finished") };
    assert_eq!(finished.results.len(), 1);
    assert_eq!(finished.results[0].kind, ResultKind::Picture);
    assert_eq!((finished.usage.pictures, finished.rewritten_prompt.as_deref()), (Some(1), Some("b")));
    let body = json!({ "output": { "task_status": "SUCCEEDED", "results": [failed] } });
    let Ok(Polled::Failed(failure)) = polled(RUNNING, &body) else { panic!("not failed") };
    assert_eq!(failure.class, Moderation);
}

#[test]
fn success_without_a_result_is_a_failure() {
    for output in [
        json!({ "task_status": "SUCCEEDED" }),
        json!({ "task_status": "SUCCEEDED", "results": [] }),
        json!({ "task_status": "SUCCEEDED", "video_url": "" }),
        json!({ "task_status": "SUCCEEDED", "video_url": "file:///etc/passwd" }),
    ] {
        let Ok(Polled::Failed(failure)) = polled(RUNNING, &json!({ "output": output })) else { panic!("not failed") };
        assert_eq!((failure.class, failure.code.as_str()), (TaskFailed, "no_result"));
    }
}

#[test]
fn a_failed_task_is_an_http_200_with_the_code_inside() {
    for (code, class) in [
        ("InvalidParameter", InvalidRequest),
        ("DataInspectionFailed", Moderation),
        ("InternalError.Algo", TaskFailed),
        ("Throttling", TaskFailed),
        ("Arrearage", Billing),
        ("Whatever", TaskFailed),
    ] {
        let body =
            json!({ "output": { "task_id": "7", "task_status": "FAILED", "code": code, "message": "The size is not match" } });
        let Ok(Polled::Failed(failure)) = polled(RUNNING, &body) else { panic!("not failed") };
        assert_eq!((failure.class, failure.code.as_str()), (class, code));
        assert_eq!(failure.message, "The size is not match");
    }
}

/// Every code of the documents, with its status and its class for a poll.
const CODES: &[(u16, &[&str], FailureClass)] = &[
    (
        400,
        &["InvalidParameter", "InvalidURL", "BadRequest.EmptyInput", "BadRequest.EmptyModel", "BadRequest.EmptyParameters"],
        InvalidRequest,
    ),
    (400, &["DataInspectionFailed", "IPInfringementSuspect", "CustomRoleBlocked", "FaqRuleBlocked"], Moderation),
    (400, &["Arrearage"], Billing),
    (400, &["UnsupportedOperation"], InvalidRequest),
    (401, &["InvalidApiKey"], Authentication),
    (403, &["AccessDenied", "AccessDenied.Unpurchased", "Model.AccessDenied", "Workspace.AccessDenied"], Permission),
    (403, &["AllocationQuota.FreeTierOnly"], Billing),
    (404, &["ModelNotFound", "WorkSpaceNotFound"], InvalidRequest),
    (408, &["RequestTimeOut"], Transient),
    (413, &["BadRequest.TooLarge"], InvalidRequest),
    (415, &["BadRequest.InputDownloadFailed", "BadRequest.UnsupportedFileFormat"], InvalidRequest),
    (429, &["Throttling", "Throttling.RateQuota", "Throttling.BurstRate", "LimitRequests"], RateLimit),
    (429, &["Throttling.AllocationQuota"], Quota),
    (429, &["PrepaidBillOverdue", "PostpaidBillOverdue", "CommodityNotPurchased"], Billing),
    (500, &["InternalError", "InternalError.Algo", "InternalError.Timeout", "SystemError"], Transient),
    (503, &["ModelUnavailable"], Transient),
];

#[test]
fn every_code_has_its_class() {
    for &(status, codes, class) in CODES {
        for code in codes {
            let body = json!({ "code": code, "message": "m", "request_id": "r" }).to_string();
            let answer = answered(status, body.as_bytes());
            let failure = aliyun().read_polled(&task("wan2.6-t2v"), RUNNING, &answer).unwrap_err();
            assert_eq!((failure.class, failure.code.as_str()), (class, *code), "{status}");
            // The same answer to a create: what broke inside may have begun.
            let on_create = if class == Transient && status != 503 { OutcomeUnknown } else { class };
            assert_eq!(aliyun().read_created("wan2.6-t2v", &answer).unwrap_err().class, on_create, "{code}");
        }
    }
    let unknown = json!({ "code": "SomethingNew.Else", "message": "m" }).to_string();
    for (status, class) in [(400, InvalidRequest), (401, Authentication), (403, Permission), (429, RateLimit), (500, Transient)] {
        let answer = answered(status, unknown.as_bytes());
        assert_eq!(aliyun().read_polled(&task("wan2.6-t2v"), RUNNING, &answer).unwrap_err().class, class, "{status}");
    }
}

#[test]
fn an_http_429_that_is_a_bill_is_no_rate_limit() {
    let body = json!({ "code": "PostpaidBillOverdue", "message": "m" });
    let class = created(429, &body).unwrap_err().class;
    assert_eq!(class, Billing);
    assert!(!class.may_create_again(false));
}

#[test]
fn only_what_waits_can_be_cancelled() {
    let read = |status, body: Value| {
        aliyun().read_cancelled(&task("wan2.6-t2v"), RUNNING, &answered(status, body.to_string().as_bytes()))
    };
    assert_eq!(read(200, json!({ "request_id": "r" })), Ok(Cancellation::Cancelled));
    let late = json!({ "code": "UnsupportedOperation", "message": "Failed to cancel the task, please confirm if the task is in PENDING status." });
    assert_eq!(read(400, late), Ok(Cancellation::TooLate));
    assert_eq!(read(401, json!({ "code": "InvalidApiKey", "message": "m" })).unwrap_err().class, Authentication);
}

#[test]
fn what_is_made_is_known_before_it_is_asked_for() {
    let provider = aliyun();
    let model = crate::providers::model(&provider, "wanx2.1-kf2v-plus").unwrap();
    let frames = [(PictureRole::FirstFrame, "https://host/a.png"), (PictureRole::LastFrame, "https://host/b.png")];
    let request = with_frames(GenerationKind::FirstLastFrame, &frames);
    let checked = crate::providers::validate(model, &request).unwrap();
    assert_eq!((checked.seconds, checked.expected_seconds), (None, Some(5)));
    assert_eq!("1280*720".parse(), Ok(Frame::Size(PixelSize::new(1280, 720))));
}
