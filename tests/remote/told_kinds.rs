//! Providers that the operator tells of: one that a file declares, and services that speak OpenAI's dialect.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use framewright::domain::{
    ErrorCode, GenerationKind, JobKind, OfferedName, PictureForm, ProviderEntry, ProviderKind, RemoteRequest, ToldModel,
};
use framewright::execution::RemoteExecution;
use framewright::execution::remote::RemoteExecutor;
use framewright::providers::FailureClass::{
    Authentication, Billing, Duplicate, InvalidRequest, Moderation, OutcomeUnknown, Permission, Quota, RateLimit, TaskFailed,
    Transient,
};
use rstest::{Context, rstest};
use serde_json::{Value, json};

use crate::kind_conformance::{self as every_kind, every_kind, every_kind_with_tasks, for_each_subject};
use crate::providers::{Answer, Cloud, Mock, OpenAiCloud, Recorded, ReelworksCloud, form_fields, name_of_key, picture};
use crate::stage::{Stage, completed, failed, film_of, id};
use crate::subject::{ResultPlace, Subject, WhileRunning};

/// The name of the key that a request carries.
fn bearer(request: &Recorded) -> String {
    request.header("authorization").strip_prefix("Bearer ").and_then(name_of_key).unwrap_or_default().to_owned()
}

pub(crate) fn declared() -> Subject {
    fn configure(entry: &mut ProviderEntry, base: &str) {
        entry.base_url = Some(format!("{base}/v2"));
        entry.declaration = Some(ReelworksCloud::declaration());
    }
    let says = |status, code| ReelworksCloud::error(status, code, "no, {key}");
    let broken = |code: &str| ReelworksCloud::task("broken", &json!({ "error": { "code": code, "message": "no, {key}" } }));
    Subject {
        name: "declared",
        kind: ProviderKind::Declared,
        cloud: |_| Box::new(ReelworksCloud::default()),
        configure,
        request: film_of(ProviderKind::Declared, "reel-1", Some(5)),
        // Five seconds are asked for; the provider bills four.
        cost: (500_000, 400_000),
        polls: 3,
        fetches: 1,
        result: ResultPlace::FreshLinks,
        file_needs_key: false,
        knows_our_id: true,
        key_of: bearer,
        hidden: &["authorization", "idempotency-key"],
        refusals: vec![
            ("a wrong request", says(400, "bad_request"), InvalidRequest),
            ("a wrong key", says(401, "unauthorized"), Authentication),
            ("no credits", says(402, "no_credits"), Billing),
            ("no credits, beside another status", says(400, "no_credits"), Billing),
            ("a model of others", says(403, "forbidden"), Permission),
            ("no such model", says(404, "not_found"), InvalidRequest),
            ("enough for today", says(429, "daily_limit"), Quota),
            ("too many", says(429, "too_many"), RateLimit),
            ("moderation", says(400, "bad_prompt"), Moderation),
            ("moderation, by its status", says(451, "law"), Moderation),
            ("seen before", says(409, "seen_before"), Duplicate),
            ("in trouble", says(500, "internal"), OutcomeUnknown),
            ("turned away", says(503, "busy"), Transient),
            ("an id that leads elsewhere", Answer::Json(202, json!({ "data": { "id": "../x" } })), OutcomeUnknown),
        ],
        too_many: says(429, "too_many"),
        task_failures: vec![
            ("failed", broken("no_memory"), TaskFailed),
            ("moderation", broken("bad_prompt"), Moderation),
            ("too many, of a task", broken("too_many"), TaskFailed),
            ("without a reason", ReelworksCloud::task("broken", &json!({})), TaskFailed),
            ("nothing", ReelworksCloud::task("done", &json!({ "files": [] })), TaskFailed),
        ],
        puzzles: vec![
            says(429, "too_many"),
            says(503, "busy"),
            Answer::Json(200, json!({})),
            ReelworksCloud::task("dreaming", &json!({ "progress": "half" })),
        ],
        lost_sight: Some(says(404, "not_found")),
        cancellations: vec![
            (Answer::Json(200, json!({})), true),
            (Answer::Bytes(204, "text/plain", Vec::new()), true),
            (says(409, "already_running"), false),
            (says(404, "not_found"), false),
            (Answer::Bytes(502, "text/html", b"<html>".to_vec()), false),
        ],
        while_running: WhileRunning::NotAsked,
    }
}

/// What both of a service's subjects share: how it is reached, and what it may say to a create.
fn openai() -> Subject {
    fn configure(entry: &mut ProviderEntry, base: &str) {
        let model = |name: &str, kinds: &[GenerationKind], response_format| OfferedName {
            id: name.parse().unwrap(),
            name: name.to_owned(),
            told: ToldModel { kinds: kinds.to_vec(), response_format, ..ToldModel::default() },
        };
        entry.base_url = Some(format!("{base}/v1"));
        entry.models = vec![
            model("house-pictures", &[GenerationKind::TextToImage], Some(PictureForm::Base64)),
            model("linked-pictures", &[GenerationKind::TextToImage], Some(PictureForm::Url)),
            model("sora-2", &[GenerationKind::TextToVideo, GenerationKind::ImageToVideo], None),
        ];
    }
    let says = |status, kind, code: Option<&str>| OpenAiCloud::error(status, kind, code, "no, {key}");
    Subject {
        name: "openai",
        kind: ProviderKind::Openai,
        cloud: |_| Box::new(OpenAiCloud::default()),
        configure,
        request: film_of(ProviderKind::Openai, "sora-2", Some(4)),
        cost: (400_000, 400_000),
        polls: 3,
        fetches: 0,
        result: ResultPlace::OneLink,
        file_needs_key: true,
        knows_our_id: false,
        key_of: bearer,
        hidden: &["authorization"],
        refusals: vec![
            ("a wrong request", says(400, "invalid_request_error", None), InvalidRequest),
            ("moderation", says(400, "image_generation_user_error", Some("moderation_blocked")), Moderation),
            ("a policy", says(400, "invalid_request_error", Some("content_policy_violation")), Moderation),
            ("a wrong key", says(401, "invalid_request_error", Some("invalid_api_key")), Authentication),
            ("a model of others", says(403, "permission_error", None), Permission),
            ("no such model", says(404, "invalid_request_error", Some("model_not_found")), InvalidRequest),
            ("no money", says(429, "insufficient_quota", Some("insufficient_quota")), Billing),
            ("a limit of money", says(400, "billing_limit_user_error", Some("billing_hard_limit_reached")), Billing),
            ("too many", says(429, "requests", Some("rate_limit_exceeded")), RateLimit),
            ("in trouble", says(500, "server_error", None), OutcomeUnknown),
            ("turned away", says(503, "server_error", None), Transient),
            ("a text for an error", Answer::Json(400, json!({ "error": "no, {key}" })), InvalidRequest),
            ("an id that leads elsewhere", Answer::Json(200, json!({ "id": "../x", "status": "queued" })), OutcomeUnknown),
        ],
        too_many: says(429, "requests", Some("rate_limit_exceeded")),
        task_failures: Vec::new(),
        puzzles: Vec::new(),
        lost_sight: None,
        cancellations: Vec::new(),
        while_running: WhileRunning::AsBefore,
    }
}

pub(crate) fn openai_films() -> Subject {
    let says = |status, code: Option<&str>| OpenAiCloud::error(status, "invalid_request_error", code, "no, {key}");
    let failed = |code: &str| OpenAiCloud::task("video_1", "failed", 40, &json!({ "code": code, "message": "no, {key}" }));
    let mut subject = Subject {
        name: "openai_films",
        task_failures: vec![
            ("failed", failed("video_generation_failed"), TaskFailed),
            ("in trouble", failed("server_error"), TaskFailed),
            ("moderation", failed("moderation_blocked"), Moderation),
            ("without a reason", OpenAiCloud::task("video_1", "failed", 0, &Value::Null), TaskFailed),
        ],
        puzzles: vec![
            says(429, Some("rate_limit_exceeded")),
            says(503, None),
            Answer::Json(200, json!({})),
            OpenAiCloud::task("video_1", "dreaming", 300, &Value::Null),
        ],
        lost_sight: Some(says(404, None)),
        cancellations: vec![
            (Answer::Usual, true),
            (Answer::Bytes(204, "text/plain", Vec::new()), true),
            (Answer::Json(200, json!({ "id": "video_1", "object": "video.deleted", "deleted": false })), false),
            (says(404, None), false),
            (Answer::Bytes(502, "text/html", b"<html>".to_vec()), false),
        ],
        ..openai()
    };
    let failed_at_once =
        OpenAiCloud::task("video_1", "failed", 0, &json!({ "code": "moderation_blocked", "message": "no, {key}" }));
    subject.refusals.push(("failed at once", failed_at_once, Moderation));
    subject
}

/// Pictures that come with the call.
pub(crate) fn openai_pictures() -> Subject {
    let request = RemoteRequest {
        output: JobKind::Image,
        frame: Some("512x512".parse().unwrap()),
        ..film_of(ProviderKind::Openai, "house-pictures", None)
    };
    let mut subject = Subject {
        name: "openai_pictures",
        request,
        cost: (20_000, 20_000),
        polls: 0,
        result: ResultPlace::Inside,
        file_needs_key: false,
        ..openai()
    };
    let no_picture = Answer::Json(200, json!({ "created": 1, "data": [{ "b64_json": "no base64!" }] }));
    subject.refusals.push(("no picture", no_picture, OutcomeUnknown));
    subject
}

/// Pictures behind links that come with the call.
pub(crate) fn openai_links() -> Subject {
    let request = RemoteRequest { provider_model: "linked-pictures".to_owned(), ..openai_pictures().request };
    Subject { name: "openai_links", request, result: ResultPlace::OneLink, ..openai_pictures() }
}

every_kind!([declared, openai_films, openai_pictures, openai_links]);
every_kind_with_tasks!([declared, openai_films]);

for_each_subject!(an_account_without_money_gives_way_to_the_next_one, [declared, openai_films, openai_pictures]);

/// A service in one's own house takes any key, and none that is known.
#[rstest]
#[case::declared(declared(), Box::new(ReelworksCloud::taking_any_key()))]
#[case::films(openai_films(), Box::new(OpenAiCloud::taking_any_key()))]
#[tokio::test]
async fn a_service_that_needs_no_key_takes_any(#[case] subject: Subject, #[case] cloud: Box<dyn Cloud>) {
    let (stage, mock) = (Stage::new().await, Mock::start_boxed(cloud).await);
    let (_, cost) = completed(stage.run(&subject.settings(&mock, &[("none", None)]), &subject.request).await);
    assert_eq!((cost, mock.recorded("create").len()), (subject.cost.1, 1));
}

/// How far the task was, whether the provider is asked to cancel it, and what it costs all the same.
#[rstest]
#[case::declared_waits(declared(), Box::new(ReelworksCloud::until("waiting")), 1, 1, 0)]
// Its file says that only what waits can be cancelled: it is not asked.
#[case::declared_runs(declared(), Box::new(ReelworksCloud::until("rendering")), 2, 0, 500_000)]
#[case::openai_waits(openai_films(), Box::new(OpenAiCloud::until("queued")), 1, 1, 0)]
#[case::openai_runs(openai_films(), Box::new(OpenAiCloud::until("in_progress")), 2, 1, 0)]
#[tokio::test]
async fn a_task_is_cancelled_as_far_as_it_is(
    #[case] subject: Subject,
    #[case] cloud: Box<dyn Cloud>,
    #[case] looks: usize,
    #[case] cancels: usize,
    #[case] cost: i64,
) {
    every_kind::cancelled_after(&subject, cloud, looks, cancels, cost).await;
}

/// Somebody else cancelled it: there, or at another client.
#[rstest]
#[case::declared(declared(), ReelworksCloud::task("stopped", &json!({})))]
#[case::openai(openai_films(), OpenAiCloud::task("video_1", "failed", 0, &json!({ "code": "cancelled", "message": "no" })))]
#[tokio::test]
async fn a_task_that_was_cancelled_elsewhere_has_failed_and_is_free(#[case] subject: Subject, #[case] answer: Answer) {
    let (stage, mock) = subject.start().await;
    mock.script("poll", [Answer::Usual, answer]);
    let (code, message, cost) = failed(stage.run(&subject.settings(&mock, &[("a", None)]), &subject.request).await);
    assert_eq!((code, cost, mock.recorded("create").len()), (ErrorCode::ProviderFailed, 0, 1), "{message}");
}

#[rstest]
#[case::declared_first_frame(declared(), "reel-1", 5)]
#[case::openai_first_frame(openai_films(), "sora-2", 8)]
#[tokio::test]
async fn a_film_begins_with_a_picture(
    #[context] context: Context,
    #[case] subject: Subject,
    #[case] model: &str,
    #[case] seconds: u32,
) {
    let create = every_kind::create_with_a_first_frame(&subject, model, seconds).await;
    let mut body = form_fields(&create).map_or_else(|| create.json(), |fields| json!(fields));
    if let Some(picture) = body.pointer_mut("/input/image") {
        assert!(picture.as_str().is_some_and(|link| link.starts_with("data:image/png;base64,")), "{picture}");
        *picture = json!("(the picture)");
    }
    insta::assert_json_snapshot!(context.description.unwrap(), body);
}

#[tokio::test]
async fn what_comes_otherwise_than_asked_is_said() {
    let subject = openai_pictures();
    let (stage, mock) = subject.start().await;
    mock.always("create", Answer::Json(200, json!({ "data": [{ "b64_json": BASE64_STANDARD.encode(picture()) }] })));
    let settings = subject.settings(&mock, &[("a", None)]);
    let request = RemoteRequest { count: 2, ..subject.request.clone() };
    let (result, _) = completed(stage.run(&settings, &request).await);
    let warnings = ["2 pictures were asked for; openai gave 1", "512x512 was asked for; openai gave 40x30"];
    assert_eq!(result.manifest["warnings"], json!(warnings));
    let request = RemoteRequest { count: 1, frame: Some("40x30".parse().unwrap()), ..request };
    let (result, _) = completed(stage.run(&settings, &request).await);
    assert_eq!(result.manifest["warnings"], json!([]));
}

#[tokio::test]
async fn a_declaration_that_leads_nowhere_says_where() {
    let subject = declared();
    let (stage, mock) = subject.start().await;
    let mut settings = subject.settings(&mock, &[("a", None)]);
    mock.always("create", Answer::Json(201, json!({ "job": { "ref": "7" } })));
    let (_, message, _) = failed(stage.run(&settings, &subject.request).await);
    assert!(message.contains("HTTP 201: the answer has no task's id at /data/id"), "{message}");

    mock.always("create", Answer::Usual);
    mock.always("poll", Answer::Json(200, json!({ "job": { "phase": "done" } })));
    settings.providers.get_mut(&id(ProviderKind::Declared)).unwrap().deadline_seconds = Some(5);
    let executor = stage.executor(&settings);
    let overdue = async {
        mock.wait_for("poll", 2).await;
        stage.clock.advance_seconds(5);
    };
    let (ending, ()) = tokio::join!(executor.run(Stage::work(&subject.request)), overdue);
    let (code, message, _) = failed(ending);
    assert_eq!(code, ErrorCode::TimedOut);
    assert!(message.contains("did not end within 5 s") && message.contains("no status at /data/state"), "{message}");
}

/// A picture in an answer of 3 MiB.
fn large_answer() -> Answer {
    let picture = json!({ "b64_json": BASE64_STANDARD.encode(picture()) });
    Answer::Json(200, json!({ "created": 1, "data": [picture], "padding": " ".repeat(3 << 20) }))
}

#[tokio::test]
async fn large_answers_take_turns_and_all_arrive() {
    let subject = openai_pictures();
    let (stage, mock) = subject.start().await;
    mock.always("create", large_answer());
    let executor = stage.executor(&subject.settings(&mock, &[("a", None), ("b", None)]));
    // More than there are places, and again: each place is given back.
    for round in 1..=2 {
        let runs = (0..6).map(|_| executor.run(Stage::work(&subject.request)));
        every_kind::in_time(async {
            futures_util::future::join_all(runs).await.into_iter().for_each(|ending| drop(completed(ending)));
        })
        .await;
        assert_eq!(mock.recorded("create").len(), 6 * round);
    }
}

#[tokio::test]
async fn a_declared_provider_speaks_for_itself() {
    let subject = declared();
    let (stage, mock) = subject.start().await;
    let settings = subject.settings(&mock, &[("a", None)]);
    let (result, _) = completed(stage.run(&settings, &subject.request).await);
    assert_eq!(result.manifest["rewritten_prompt"], "a ship, in the rain");
    assert_eq!(mock.recorded("create")[0].header("idempotency-key"), stage.calls().await[0].call.our_id);

    let error = json!({ "code": "bad_prompt", "message": "no ships" });
    mock.always("poll", ReelworksCloud::task("broken", &json!({ "error": error })));
    let (_, message, _) = failed(stage.run(&settings, &subject.request).await);
    assert!(message.contains("no ships"), "{message}");
}

#[tokio::test]
async fn a_broken_declaration_leaves_the_providers_as_they_were() {
    let subject = declared();
    let (stage, mock) = subject.start().await;
    let mut settings = subject.settings(&mock, &[("a", None)]);
    let executor: RemoteExecutor = stage.executor(&settings);
    let offered = |executor: &RemoteExecutor| executor.describe().iter().map(|model| model.id.to_string()).collect::<Vec<_>>();
    assert_eq!(offered(&executor), ["reel-1"]);
    let entry = settings.providers.get_mut(&id(ProviderKind::Declared)).unwrap();
    let file = entry.declaration.as_mut().unwrap();
    file.text = file.text.replace("task: /data/id", "tusk: /data/id").into();
    let message = executor.replace(&settings).unwrap_err().to_string();
    assert!(message.starts_with("providers.declared: declaration: reelworks.yaml:"), "{message}");
    assert!(message.contains("tusk") && !message.contains('\n'), "{message}");
    assert_eq!(offered(&executor), ["reel-1"]);
}
