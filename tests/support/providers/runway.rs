//! Runway: a task is throttled, pending, running, and has succeeded at the fourth look; its links are fresh with every look.

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::books::{Books, Customer};
use super::films::film;
use super::server::{Answer, Cloud, Recorded, Tasks};

/// What may stand in a create.
const FIELDS: [&str; 7] = ["model", "promptText", "promptImage", "ratio", "duration", "seed", "audio"];

/// The sizes of films, which are called ratios.
const OWN_RATIOS: &[&str] = &["1280:720", "720:1280", "1104:832", "832:1104", "960:960", "1584:672"];
/// Those of other makers' models. Of prompts alone, its own make the first two.
const WIDE_OR_TALL: &[&str] = &["1280:720", "720:1280", "1920:1080", "1080:1920"];
/// The lengths of its own models, seconds.
const TWO_TO_TEN: &[u64] = &[2, 3, 4, 5, 6, 7, 8, 9, 10];

/// The cloud.
pub(crate) struct RunwayCloud(Mutex<Books>);

impl Default for RunwayCloud {
    fn default() -> Self {
        Self::until("SUCCEEDED")
    }
}

impl RunwayCloud {
    /// One whose tasks get no further than this word.
    pub(crate) fn until(word: &str) -> Self {
        Self(Mutex::new(Books::new(&["THROTTLED", "PENDING", "RUNNING", "SUCCEEDED"]).until(word)))
    }

    /// How it says that something is wrong.
    pub(crate) fn error(status: u16, error: &str) -> Answer {
        Answer::Json(status, json!({ "error": error }))
    }

    /// A task that failed.
    pub(crate) fn failure(code: &str, words: &str) -> Answer {
        Answer::Json(
            200,
            json!({ "id": "17f20503-6c24-4c16-946b-000000000001", "status": "FAILED", "failure": words, "failureCode": code }),
        )
    }

    fn create(&self, request: &Recorded, key: &str) -> Answer {
        let body = request.json();
        let issues = issues(&body, request.target == "/v1/text_to_video");
        if !issues.is_empty() {
            return Answer::Json(400, json!({ "error": "Validation of body failed", "issues": issues }));
        }
        let id = self.0.lock().make(|number| format!("17f20503-6c24-4c16-946b-{number:012}"), key, body);
        Answer::Json(200, json!({ "id": id }))
    }
}

/// The key that a request carries; empty where it carries none.
fn key_of(request: &Recorded) -> &str {
    request.header("authorization").strip_prefix("Bearer ").unwrap_or_default()
}

/// What is wrong with a create, with the field's name.
fn issues(body: &Value, is_from_text: bool) -> Vec<Value> {
    let mut issues = Vec::new();
    let mut wrong = |field: &str, message: &str| issues.push(json!({ "path": [field], "message": message }));
    let Some(fields) = body.as_object() else {
        wrong("", "Expected object");
        return issues;
    };
    for name in fields.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        wrong(name, "Unrecognized key");
    }
    let model = body["model"].as_str().unwrap_or_default();
    let (models, ratios, durations): (&[&str], &[&str], &[u64]) = match model {
        "gen4.5" if is_from_text => (&["text_to_video"], &WIDE_OR_TALL[..2], TWO_TO_TEN),
        "gen4_turbo" | "gen4.5" => (&["image_to_video"], OWN_RATIOS, TWO_TO_TEN),
        "veo3.1" | "veo3.1_fast" => (&["text_to_video", "image_to_video"], WIDE_OR_TALL, &[4, 6, 8]),
        "veo3" => (&["text_to_video", "image_to_video"], WIDE_OR_TALL, &[8]),
        _ => (&[], &[], &[]),
    };
    if !models.contains(&if is_from_text { "text_to_video" } else { "image_to_video" }) {
        wrong("model", "Invalid discriminator value");
        return issues;
    }
    if !body["ratio"].as_str().is_some_and(|ratio| ratios.contains(&ratio)) {
        wrong("ratio", "Invalid option");
    }
    if !body["duration"].as_u64().is_some_and(|seconds| durations.contains(&seconds)) {
        wrong("duration", "Invalid option");
    }
    let prompt = &body["promptText"];
    let is_right = prompt.as_str().is_some_and(|text| (1..=1000).contains(&text.encode_utf16().count()));
    if !is_right && (is_from_text || !prompt.is_null()) {
        wrong("promptText", "Must be 1 to 1000 UTF-16 code units");
    }
    let is_address =
        |value: &Value| value.as_str().is_some_and(|text| text.starts_with("https://") || text.starts_with("data:image/"));
    let has_picture = match &body["promptImage"] {
        Value::Array(pictures) => {
            !pictures.is_empty()
                && pictures.iter().all(|one| is_address(&one["uri"]) && (one["position"] == "first" || one["position"] == "last"))
        }
        Value::Null => false,
        one => is_address(one),
    };
    if has_picture == is_from_text {
        wrong("promptImage", "Must be an https or data URI where a film begins with a picture");
    }
    if !body["seed"].is_null() && body["seed"].as_u64().is_none_or(|seed| seed > 4_294_967_295) {
        wrong("seed", "Must be an integer from 0 to 4294967295");
    }
    if !(body["audio"].is_null() || body["audio"].is_boolean() && model.starts_with("veo3.1")) {
        wrong("audio", "Unrecognized key");
    }
    issues
}

impl Cloud for RunwayCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        Some(match (method, path) {
            ("POST", "/v1/text_to_video" | "/v1/image_to_video") => "create",
            ("GET", path) if path.starts_with("/v1/tasks/") => "poll",
            ("DELETE", path) if path.starts_with("/v1/tasks/") => "cancel",
            ("GET", path) if path.starts_with("/files/") => "file",
            _ => return None,
        })
    }

    fn refusal(&self, request: &Recorded) -> Option<Answer> {
        match (Customer::of(key_of(request)), request.route) {
            (_, "file") => None,
            (Customer::Unknown, _) => Some(Self::error(401, "The API key is not valid.")),
            // That there is no money is said in words alone.
            (Customer::Poor, "create") => Some(Self::error(400, "You do not have enough credits to run this task.")),
            _ if request.header("x-runway-version") != "2024-11-06" => {
                Some(Self::error(400, "The X-Runway-Version header must be a version of the API that there is."))
            }
            (_, "create") if request.header("content-type") != "application/json" => {
                Some(Self::error(400, "The body is no JSON."))
            }
            _ => None,
        }
    }

    fn answer(&self, request: &Recorded, _tasks: &mut Tasks, base: &str) -> Answer {
        if request.route == "file" {
            return Answer::Bytes(200, "video/mp4", film());
        }
        let key = key_of(request);
        let id = request.target.rsplit('/').next().unwrap();
        match request.route {
            "create" => self.create(request, key),
            "poll" => match self.0.lock().look(id, key) {
                None => Self::error(404, "Task not found."),
                Some(seen) => {
                    let mut task = json!({ "id": id, "status": seen.word, "createdAt": "2026-01-02T03:04:05.000Z" });
                    match seen.word {
                        "RUNNING" => task["progress"] = json!(0.4),
                        "SUCCEEDED" => task["output"] = json!([format!("{base}/files/{id}.mp4?_jwt=secret-{}", seen.looks)]),
                        _ => {}
                    }
                    Answer::Json(200, task)
                }
            },
            _ => {
                let mut books = self.0.lock();
                match books.cancel(id, key, "CANCELLED") {
                    None => return Self::error(404, "Task not found."),
                    // Of a task that has ended, the films are removed.
                    Some(before) if before.word == "SUCCEEDED" => books.remove(id),
                    Some(_) => {}
                }
                Answer::Bytes(204, "text/plain", Vec::new())
            }
        }
    }
}
