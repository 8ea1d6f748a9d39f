//! Kinds of providers that sign their calls, or have keys in a header of their own: MindVideo, vidsme, Kling and Veo.

use framewright::domain::{JobKind, OfferedName, ProviderEntry, ProviderKind, RemoteRequest, ToldModel};
use framewright::providers::FailureClass::{
    Authentication, Billing, InvalidRequest, Moderation, OutcomeUnknown, Permission, RateLimit, TaskFailed, Transient, Upstream,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::kind_conformance::{every_kind, every_kind_with_tasks};
use crate::providers::{Answer, KlingCloud, MindvideoCloud, VeoCloud, VidsmeCloud, name_of_key};
use crate::stage::film_of;
use crate::subject::{ResultPlace, Subject, WhileRunning};

/// The name of the key in a header, behind a word.
fn key_behind(value: &str, word: &str) -> String {
    value.strip_prefix(word).and_then(name_of_key).unwrap_or_default().to_owned()
}

pub(crate) fn mindvideo() -> Subject {
    fn configure(entry: &mut ProviderEntry, base: &str) {
        entry.base_url = Some(format!("{base}/api/v2"));
        entry.secrets.insert("app_key", SecretString::from(MindvideoCloud::APP_KEY));
    }
    let says = |status, code: i64| Answer::Json(status, json!({ "code": code, "message": "no, {key}" }));
    let looked = |task: Value| Answer::Json(200, json!({ "code": 0, "data": task }));
    let page =
        |status| Answer::Bytes(status, "text/html; charset=UTF-8", b"<!DOCTYPE html><title>Just a moment...</title>".to_vec());
    Subject {
        name: "mindvideo",
        kind: ProviderKind::Mindvideo,
        cloud: |clock| Box::new(MindvideoCloud::new(clock)),
        configure,
        request: film_of(ProviderKind::Mindvideo, "sora-2-free", Some(15)),
        cost: (1_500_000, 1_500_000),
        polls: 3,
        fetches: 0,
        result: ResultPlace::FreshLinks,
        file_needs_key: false,
        knows_our_id: false,
        key_of: |request| key_behind(request.header("authorization"), "Bearer "),
        hidden: &["authorization", "i-sign"],
        refusals: vec![
            ("a code beside 200", says(200, 1), InvalidRequest),
            ("a token that is not valid", says(401, 401), Authentication),
            ("no credits", says(402, 402), Billing),
            ("forbidden", says(403, 403), Permission),
            ("too many", says(429, 429), RateLimit),
            ("in trouble", says(500, 500), OutcomeUnknown),
            ("turned away", says(503, 503), Transient),
            ("a defence against programs", page(403), Upstream),
            ("another one", page(503), OutcomeUnknown),
        ],
        too_many: says(429, 429),
        task_failures: vec![(
            "failed",
            looked(json!([{ "task_status": "failed", "task_progress": 40, "task_remark": "its words, {key}", "results": [] }])),
            TaskFailed,
        )],
        puzzles: vec![
            says(200, 1),
            says(429, 1),
            page(403),
            page(503),
            looked(json!([])),
            looked(json!([{ "task_status": "dreaming", "task_progress": null, "results": null }])),
            looked(
                json!([{ "task_status": "processing", "task_progress": 99, "results": [{ "result_url": "https://host/half.mp4" }] }]),
            ),
        ],
        lost_sight: Some(says(401, 401)),
        cancellations: Vec::new(),
        while_running: WhileRunning::AsBefore,
    }
}

pub(crate) fn vidsme() -> Subject {
    fn configure(entry: &mut ProviderEntry, base: &str) {
        entry.base_url = Some(format!("{base}/api/texttoimg/v1"));
        entry.settings.insert("app_id", VidsmeCloud::APP_ID.to_owned());
        entry.settings.insert("public_key", VidsmeCloud::PUBLIC_KEY.to_owned());
        entry.settings.insert("pictures_url", format!("{base}/pictures/"));
        entry.secrets.insert("salt", SecretString::from(VidsmeCloud::SALT));
        let named = |name: &str, wire_name: Option<&str>| OfferedName {
            id: name.parse().unwrap(),
            name: name.to_owned(),
            told: ToldModel { wire_name: wire_name.map(str::to_owned), ..ToldModel::default() },
        };
        entry.models = vec![named("anime", None), named("another", Some(VidsmeCloud::WIRE_NAMES[1]))];
    }
    let says = |status, code: i64| Answer::Json(status, json!({ "code": code, "msg": "no, {key}" }));
    let page = |status| Answer::Bytes(status, "text/html", b"<html><body>Attention Required!</body></html>".to_vec());
    Subject {
        name: "vidsme",
        kind: ProviderKind::Vidsme,
        cloud: |clock| Box::new(VidsmeCloud::new(clock)),
        configure,
        request: RemoteRequest { output: JobKind::Image, ..film_of(ProviderKind::Vidsme, "another", None) },
        cost: (20_000, 20_000),
        polls: 3,
        fetches: 0,
        result: ResultPlace::OneLink,
        file_needs_key: false,
        knows_our_id: false,
        key_of: |request| {
            let query = request.query().into_iter().find_map(|(name, value)| (name == "user_id").then_some(value));
            let user = query.or_else(|| request.json()["user_id"].as_str().map(str::to_owned));
            key_behind(&user.unwrap_or_default(), "")
        },
        hidden: &["user_id", "nonce", "secret_key", "sign"],
        refusals: vec![
            ("a code beside 200", says(200, 1), InvalidRequest),
            ("a user who is not known", says(401, 401), Authentication),
            ("no credits", says(402, 402), Billing),
            ("forbidden", says(403, 403), Permission),
            ("too many", says(429, 429), RateLimit),
            ("in trouble", says(502, 502), OutcomeUnknown),
            ("turned away", says(503, 503), Transient),
            ("a defence against programs", page(403), Upstream),
        ],
        too_many: says(429, 429),
        // How a task fails is not known: it is one that never ends.
        task_failures: Vec::new(),
        puzzles: vec![
            says(200, 500),
            page(403),
            Answer::Json(200, json!({ "code": 200, "data": null })),
            Answer::Json(200, json!({ "code": 200, "data": { "status": "dreaming", "generate_url": null } })),
        ],
        lost_sight: Some(says(401, 401)),
        cancellations: Vec::new(),
        while_running: WhileRunning::AsBefore,
    }
}

pub(crate) fn kling() -> Subject {
    fn configure(entry: &mut ProviderEntry, base: &str) {
        entry.base_url = Some(base.to_owned());
        for key in &mut entry.keys {
            key.secret =
                SecretString::from(format!("{}.{}", KlingCloud::access_key(key.id.as_str()), key.secret.expose_secret()));
        }
    }
    let says = |status, code: i64| Answer::Json(status, json!({ "code": code, "message": "no, {key}", "request_id": "r" }));
    let task = |data: Value| Answer::Json(200, json!({ "code": 0, "message": "SUCCEED", "request_id": "r", "data": data }));
    Subject {
        name: "kling",
        kind: ProviderKind::Kling,
        cloud: |clock| Box::new(KlingCloud::new(clock)),
        configure,
        request: film_of(ProviderKind::Kling, "kling-v1-6", Some(10)),
        cost: (1_000_000, 1_000_000),
        polls: 3,
        fetches: 0,
        result: ResultPlace::FreshLinks,
        file_needs_key: false,
        knows_our_id: true,
        key_of: KlingCloud::account_of,
        hidden: &["authorization", "external_task_id"],
        refusals: vec![
            ("a wrong signature", says(401, 1000), Authentication),
            ("an expired token", says(401, 1004), Authentication),
            ("an account that is not in order", says(429, 1100), Authentication),
            ("an empty account", says(429, 1101), Billing),
            ("a used up package", says(429, 1102), Billing),
            ("not bought", says(403, 1103), Permission),
            ("invalid", says(400, 1201), InvalidRequest),
            ("no such model", says(404, 1203), InvalidRequest),
            ("the platform's rules", says(400, 1300), Moderation),
            ("moderation", says(400, 1301), Moderation),
            ("moderation beside 200", says(200, 1301), Moderation),
            ("too fast", says(429, 1302), RateLimit),
            ("too many tasks", says(429, 1303), RateLimit),
            ("not from this address", says(429, 1304), Authentication),
            ("in trouble", says(500, 5000), OutcomeUnknown),
            ("turned away", says(503, 5001), Transient),
            ("too slow", says(504, 5002), OutcomeUnknown),
            (
                "failed at once",
                task(json!({ "task_id": "1", "task_status": "failed", "task_status_msg": "no, {key}" })),
                TaskFailed,
            ),
        ],
        too_many: says(429, 1303),
        task_failures: vec![
            ("failed", task(json!({ "task_id": "1", "task_status": "failed", "task_status_msg": "no, {key}" })), TaskFailed),
            ("nothing", task(json!({ "task_id": "1", "task_status": "succeed", "task_result": { "videos": [] } })), TaskFailed),
        ],
        puzzles: vec![
            says(429, 1302),
            says(503, 5001),
            task(json!({ "task_id": "1", "task_status": "dreaming" })),
            task(json!({})),
        ],
        lost_sight: Some(says(404, 1203)),
        cancellations: Vec::new(),
        while_running: WhileRunning::AsBefore,
    }
}

pub(crate) fn veo() -> Subject {
    fn configure(entry: &mut ProviderEntry, base: &str) {
        entry.base_url = Some(format!("{base}/v1beta"));
    }
    let says =
        |status: u16, word| Answer::Json(status, json!({ "error": { "code": status, "message": "no, {key}", "status": word } }));
    let done = |outcome: Value| {
        let mut body = json!({ "name": "models/veo-3.1-generate-preview/operations/op1", "done": true });
        body.as_object_mut().unwrap().extend(outcome.as_object().unwrap().clone());
        Answer::Json(200, body)
    };
    let failed = |code: i64| done(json!({ "error": { "code": code, "message": "no" } }));
    let filtered = json!({ "raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["a face"] });
    Subject {
        name: "veo",
        kind: ProviderKind::Veo,
        cloud: |_| Box::new(VeoCloud),
        configure,
        request: film_of(ProviderKind::Veo, "veo-3.1-generate-preview", Some(8)),
        cost: (800_000, 800_000),
        polls: 3,
        fetches: 0,
        result: ResultPlace::FreshLinks,
        file_needs_key: true,
        knows_our_id: false,
        key_of: |request| key_behind(request.header("x-goog-api-key"), ""),
        hidden: &["x-goog-api-key"],
        refusals: vec![
            ("invalid", says(400, "INVALID_ARGUMENT"), InvalidRequest),
            ("no billing here", says(400, "FAILED_PRECONDITION"), Permission),
            ("no key", says(401, "UNAUTHENTICATED"), Authentication),
            ("another's", says(403, "PERMISSION_DENIED"), Permission),
            ("no such model", says(404, "NOT_FOUND"), InvalidRequest),
            ("too many", says(429, "RESOURCE_EXHAUSTED"), RateLimit),
            ("in trouble", says(500, "INTERNAL"), OutcomeUnknown),
            ("turned away", says(503, "UNAVAILABLE"), Transient),
            ("too slow", says(504, "DEADLINE_EXCEEDED"), OutcomeUnknown),
            ("a name that leads elsewhere", Answer::Json(200, json!({ "name": "models/../operations/1" })), OutcomeUnknown),
        ],
        too_many: says(429, "RESOURCE_EXHAUSTED"),
        task_failures: vec![
            ("invalid after all", failed(3), InvalidRequest),
            ("failed", failed(13), TaskFailed),
            ("filtered", done(json!({ "response": { "generateVideoResponse": filtered } })), Moderation),
            ("nothing", done(json!({ "response": { "generateVideoResponse": {} } })), TaskFailed),
        ],
        puzzles: vec![
            says(429, "RESOURCE_EXHAUSTED"),
            says(503, "UNAVAILABLE"),
            Answer::Json(200, json!({ "done": "soon" })),
            Answer::Json(200, json!({ "name": "models/veo-3.1-generate-preview/operations/op1", "done": false, "metadata": {} })),
        ],
        lost_sight: Some(says(404, "NOT_FOUND")),
        cancellations: Vec::new(),
        while_running: WhileRunning::AsBefore,
    }
}

every_kind!([mindvideo, vidsme, kling, veo]);
every_kind_with_tasks!([mindvideo, vidsme, kling, veo]);
