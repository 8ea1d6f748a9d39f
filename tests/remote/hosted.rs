//! Services that run models behind one interface: Replicate, fal, Runway and Stability. How each is reached, what is asked of it, what it
//! says when something is wrong, and what that means.

use framewright::domain::{
    GenerationKind, InputNames, JobKind, OfferedName, ProviderEntry, ProviderKind, Ratio, RemoteRequest, ToldModel,
};
use framewright::providers::FailureClass::{
    Authentication, Billing, InvalidRequest, Moderation, OutcomeUnknown, Permission, RateLimit, TaskFailed, Transient,
};
use serde_json::{Value, json};

use crate::providers::{Answer, FalCloud, Recorded, ReplicateCloud, RunwayCloud, StabilityCloud, VERSION, name_of_key};
use crate::stage::film_of;
use crate::subject::{ResultPlace, Subject, WhileRunning};

/// A service, by its kind.
pub(crate) fn subject(kind: ProviderKind) -> Subject {
    match kind {
        ProviderKind::Replicate => replicate(),
        ProviderKind::Fal => fal(),
        ProviderKind::Runway => runway(),
        ProviderKind::Stability => stability(),
        other => panic!("{other:?} is no hosted service"),
    }
}

/// The name of the key that a request carries behind a word.
fn key_behind(request: &Recorded, word: &str) -> String {
    request.header("authorization").strip_prefix(word).and_then(name_of_key).unwrap_or_default().to_owned()
}

/// A page where an answer should be.
pub(crate) fn page(status: u16) -> Answer {
    Answer::Bytes(status, "text/html", b"<html>Bad Gateway</html>".to_vec())
}

pub(crate) fn replicate() -> Subject {
    fn configure(entry: &mut ProviderEntry, base: &str) {
        entry.base_url = Some(format!("{base}/v1"));
        let seed = InputNames { seed: Some("seed".to_owned()), ..InputNames::default() };
        let picture =
            InputNames { ratio: Some("aspect_ratio".to_owned()), count: Some("num_outputs".to_owned()), ..seed.clone() };
        let ratios = vec![Ratio::new(1, 1), Ratio::new(16, 9)];
        let fixed = [("output_format".to_owned(), json!("png"))].into();
        let film = InputNames { seconds: Some("duration".to_owned()), first_frame: Some("image".to_owned()), ..seed };
        entry.models = vec![
            told("flux", "black-forest-labs/flux-schnell", ToldModel { ratios, fixed, ..pictures_by(picture) }),
            told("reel", "owner/film", films_by(film.clone())),
            told("old-reel", &format!("owner/old:{VERSION}"), films_by(film)),
        ];
    }
    let says = |status| ReplicateCloud::error(status, "title", "no, {key}");
    let cancelled = |word: &str, started: Value| Answer::Json(200, json!({ "id": "x", "status": word, "started_at": started }));
    let ended = |status: u16, told: Value| Answer::Json(status, told);
    let began = json!("2026-01-02T03:04:05.779176Z");
    Subject {
        name: "replicate",
        kind: ProviderKind::Replicate,
        cloud: |_| Box::new(ReplicateCloud::default()),
        configure,
        request: request(ProviderKind::Replicate, "owner/film", Some(5)),
        cost: (500_000, 500_000),
        polls: 3,
        fetches: 0,
        result: ResultPlace::OneLink,
        file_needs_key: false,
        knows_our_id: false,
        key_of: |request| key_behind(request, "Bearer "),
        hidden: &["authorization"],
        refusals: vec![
            ("a wrong request", says(400), InvalidRequest),
            ("a wrong token", says(401), Authentication),
            ("no credit", says(402), Billing),
            ("a model of others", says(403), Permission),
            ("no such model", says(404), InvalidRequest),
            ("a wrong input", says(422), InvalidRequest),
            ("too many", ReplicateCloud::throttled(600), RateLimit),
            ("in trouble", says(500), OutcomeUnknown),
            ("turned away", says(503), Transient),
            ("too slow", says(504), OutcomeUnknown),
            ("an id that leads elsewhere", ended(201, json!({ "id": "../x", "status": "starting" })), OutcomeUnknown),
            ("failed at once", ended(201, json!({ "id": "x", "status": "failed", "error": "no" })), TaskFailed),
        ],
        too_many: Answer::Json(429, json!({ "detail": "Request was throttled. Expected available in 1 second." })),
        task_failures: vec![
            ("failed", ended(200, json!({ "id": "x", "status": "failed", "error": "out of memory" })), TaskFailed),
            ("failed without a word", ended(200, json!({ "id": "x", "status": "failed", "error": null })), TaskFailed),
            // What it made is removed after an hour.
            (
                "removed",
                ended(200, json!({ "id": "x", "status": "succeeded", "output": null, "data_removed": true })),
                TaskFailed,
            ),
        ],
        puzzles: vec![
            says(429),
            says(503),
            page(200),
            Answer::Json(200, json!({})),
            Answer::Json(200, json!({ "id": "x", "status": "dreaming" })),
        ],
        lost_sight: Some(says(404)),
        cancellations: vec![
            (cancelled("canceled", Value::Null), true),
            // What began is billed.
            (cancelled("canceled", began.clone()), false),
            (cancelled("succeeded", began), false),
            (cancelled("failed", Value::Null), false),
            (says(404), false),
            (says(500), false),
        ],
        while_running: WhileRunning::AsBefore,
    }
}

pub(crate) fn fal() -> Subject {
    fn configure(entry: &mut ProviderEntry, base: &str) {
        entry.base_url = Some(base.to_owned());
        let seed = InputNames { seed: Some("seed".to_owned()), ..InputNames::default() };
        let picture =
            InputNames { size_object: Some("image_size".to_owned()), count: Some("num_images".to_owned()), ..seed.clone() };
        let film = InputNames { seconds_text: Some("duration".to_owned()), first_frame: Some("image_url".to_owned()), ..seed };
        entry.models = vec![
            told("flux", "fal-ai/flux/dev", pictures_by(picture)),
            told("reel", "fal-ai/kling-video/v2/master", films_by(film)),
        ];
    }
    let says = |status| FalCloud::error(status, "no, {key}");
    let completed = |told: Value| {
        let mut body = json!({ "status": "COMPLETED" });
        body.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
        Answer::Json(200, body)
    };
    let elsewhere = "https://queue.fal.run.evil.example/fal-ai/kling-video/requests/x";
    let leading_elsewhere =
        json!({ "request_id": "x", "status_url": elsewhere, "response_url": elsewhere, "cancel_url": elsewhere });
    Subject {
        name: "fal",
        kind: ProviderKind::Fal,
        cloud: |_| Box::new(FalCloud::default()),
        configure,
        request: request(ProviderKind::Fal, "fal-ai/kling-video/v2/master", Some(5)),
        cost: (500_000, 500_000),
        polls: 3,
        fetches: 1,
        result: ResultPlace::OneLink,
        file_needs_key: false,
        knows_our_id: false,
        key_of: |request| key_behind(request, "Key "),
        hidden: &["authorization"],
        refusals: vec![
            ("a wrong request", says(400), InvalidRequest),
            ("a wrong key", says(401), Authentication),
            ("an application of others", says(403), Permission),
            ("an empty account", FalCloud::error(403, "User is locked. Reason: Exhausted balance. {key}"), Billing),
            ("no such application", says(404), InvalidRequest),
            ("a wrong input", FalCloud::model_error("prompt", "missing", "Field required, {key}"), InvalidRequest),
            ("moderation", FalCloud::model_error("prompt", "content_policy_violation", "no, {key}"), Moderation),
            ("too many", says(429), RateLimit),
            ("in trouble", says(500), OutcomeUnknown),
            ("turned away", says(503), Transient),
            ("too slow", FalCloud::runner_error(504, "request_timeout"), OutcomeUnknown),
            ("addresses that lead elsewhere", Answer::Json(200, leading_elsewhere), OutcomeUnknown),
        ],
        too_many: says(429),
        task_failures: vec![
            ("timed out", completed(json!({ "error": "timed out", "error_type": "request_timeout" })), TaskFailed),
            ("failed", completed(json!({ "error": "the runner died" })), TaskFailed),
            ("moderation", completed(json!({ "error": "no", "error_type": "content_policy_violation" })), Moderation),
        ],
        puzzles: vec![
            says(429),
            says(503),
            FalCloud::runner_error(504, "request_timeout"),
            page(200),
            Answer::Json(202, json!({})),
            Answer::Json(202, json!({ "status": "DREAMING" })),
        ],
        lost_sight: Some(says(404)),
        cancellations: vec![
            (Answer::Json(202, json!({ "status": "CANCELLATION_REQUESTED" })), true),
            (Answer::Json(200, json!({ "status": "OK" })), true),
            (Answer::Json(400, json!({ "status": "ALREADY_COMPLETED" })), false),
            (Answer::Json(404, json!({ "status": "NOT_FOUND" })), false),
            (page(502), false),
        ],
        while_running: WhileRunning::Billed,
    }
}

pub(crate) fn runway() -> Subject {
    fn configure(entry: &mut ProviderEntry, base: &str) {
        entry.base_url = Some(format!("{base}/v1"));
    }
    let says = |status| RunwayCloud::error(status, "no, {key}");
    Subject {
        name: "runway",
        kind: ProviderKind::Runway,
        cloud: |_| Box::new(RunwayCloud::default()),
        configure,
        request: request(ProviderKind::Runway, "gen4.5", Some(5)),
        cost: (500_000, 500_000),
        polls: 4,
        fetches: 0,
        result: ResultPlace::FreshLinks,
        file_needs_key: false,
        knows_our_id: false,
        key_of: |request| key_behind(request, "Bearer "),
        hidden: &["authorization"],
        refusals: vec![
            ("a wrong request", says(400), InvalidRequest),
            ("no credits", RunwayCloud::error(400, "You do not have enough credits to run this task. {key}"), Billing),
            ("a wrong key", says(401), Authentication),
            ("a model of others", says(403), Permission),
            ("nothing there", says(404), InvalidRequest),
            ("another method", says(405), InvalidRequest),
            ("too many", says(429), RateLimit),
            ("in trouble", says(500), OutcomeUnknown),
            ("shedding load", says(502), OutcomeUnknown),
            ("turned away", says(503), Transient),
            ("overloaded", says(504), OutcomeUnknown),
            ("an id that leads elsewhere", Answer::Json(200, json!({ "id": "../x" })), OutcomeUnknown),
        ],
        too_many: says(429),
        task_failures: vec![
            ("of the prompt", RunwayCloud::failure("SAFETY.INPUT.TEXT", "no"), Moderation),
            ("of the film", RunwayCloud::failure("SAFETY.OUTPUT.VIDEO", "no"), Moderation),
            ("before it began", RunwayCloud::failure("INPUT_PREPROCESSING.SAFETY.TEXT", "no"), Moderation),
            ("while the input was read", RunwayCloud::failure("INPUT_PREPROCESSING.INTERNAL", "no"), TaskFailed),
            ("of a picture", RunwayCloud::failure("ASSET.INVALID", "no"), InvalidRequest),
            ("of bad quality", RunwayCloud::failure("INTERNAL.BAD_OUTPUT.CODE01", "no"), TaskFailed),
            ("inside", RunwayCloud::failure("INTERNAL", "no"), TaskFailed),
            ("without a code", Answer::Json(200, json!({ "id": "x", "status": "FAILED", "failure": "an error" })), TaskFailed),
            ("nothing", Answer::Json(200, json!({ "id": "x", "status": "SUCCEEDED", "output": [] })), TaskFailed),
        ],
        puzzles: vec![
            says(429),
            says(503),
            says(504),
            page(200),
            Answer::Json(200, json!({})),
            Answer::Json(200, json!({ "id": "x", "status": "DREAMING" })),
        ],
        lost_sight: Some(says(404)),
        cancellations: vec![
            (Answer::Bytes(204, "text/plain", Vec::new()), true),
            (says(404), false),
            (says(401), false),
            (page(502), false),
        ],
        while_running: WhileRunning::AsBefore,
    }
}

pub(crate) fn stability() -> Subject {
    fn configure(entry: &mut ProviderEntry, base: &str) {
        entry.base_url = Some(base.to_owned());
    }
    let says = |status, name: &str| StabilityCloud::error(status, name, "no, {key}");
    Subject {
        name: "stability",
        kind: ProviderKind::Stability,
        cloud: |_| Box::new(StabilityCloud),
        configure,
        request: pictures(ProviderKind::Stability),
        cost: (20_000, 20_000),
        polls: 0,
        fetches: 0,
        result: ResultPlace::Inside,
        file_needs_key: false,
        knows_our_id: false,
        key_of: |request| key_behind(request, "Bearer "),
        hidden: &["authorization"],
        refusals: vec![
            ("a wrong request", says(400, "bad_request"), InvalidRequest),
            ("a wrong key", says(401, "unauthorized"), Authentication),
            ("no credits", says(402, "payment_required"), Billing),
            ("moderation", says(403, "content_moderation"), Moderation),
            ("forbidden", says(403, "forbidden"), Permission),
            ("nothing there", says(404, "not_found"), InvalidRequest),
            ("too large", says(413, "payload_too_large"), InvalidRequest),
            ("not in English", says(422, "invalid_language"), InvalidRequest),
            ("too many", says(429, "rate_limit_exceeded"), RateLimit),
            ("in trouble", says(500, "internal_error"), OutcomeUnknown),
            ("turned away", says(503, "unavailable"), Transient),
            ("filtered, beside 200", StabilityCloud::finished("CONTENT_FILTERED"), Moderation),
            ("not finished, beside 200", StabilityCloud::finished("ERROR"), TaskFailed),
            ("no picture", Answer::Json(200, json!({ "image": "no base64!", "finish_reason": "SUCCESS" })), OutcomeUnknown),
        ],
        too_many: says(429, "rate_limit_exceeded"),
        task_failures: Vec::new(),
        puzzles: Vec::new(),
        lost_sight: None,
        cancellations: Vec::new(),
        while_running: WhileRunning::AsBefore,
    }
}

fn told(id: &str, name: &str, told: ToldModel) -> OfferedName {
    OfferedName { id: id.parse().unwrap(), name: name.to_owned(), told }
}

fn pictures_by(inputs: InputNames) -> ToldModel {
    ToldModel { kinds: vec![GenerationKind::TextToImage], inputs, ..ToldModel::default() }
}

fn films_by(inputs: InputNames) -> ToldModel {
    let kinds = vec![GenerationKind::TextToVideo, GenerationKind::ImageToVideo];
    ToldModel { kinds, inputs, seconds: vec![5, 10], ..ToldModel::default() }
}

/// A request for a model, by the service's name of it.
fn request(kind: ProviderKind, name: &str, seconds: Option<u32>) -> RemoteRequest {
    RemoteRequest { provider_model: name.to_owned(), seed: Some(7), ..film_of(kind, "model", seconds) }
}

/// A request for a film of a version, which Replicate has.
pub(crate) fn version() -> RemoteRequest {
    request(ProviderKind::Replicate, &format!("owner/old:{VERSION}"), Some(10))
}

/// A request for pictures: two, but for Stability, which makes one with a call.
pub(crate) fn pictures(kind: ProviderKind) -> RemoteRequest {
    let (name, frame, count) = match kind {
        ProviderKind::Replicate => ("black-forest-labs/flux-schnell", "16:9", 2),
        ProviderKind::Fal => ("fal-ai/flux/dev", "512x512", 2),
        ProviderKind::Stability => ("stable-image-core", "16:9", 1),
        other => panic!("{other:?} makes no pictures"),
    };
    RemoteRequest { output: JobKind::Image, frame: Some(frame.parse().unwrap()), count, ..request(kind, name, None) }
}
