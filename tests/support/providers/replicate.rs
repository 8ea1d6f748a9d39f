//! Replicate: a prediction starts, is processed, and has succeeded at the third look. Its output is a link for films, several for pictures.

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::books::{Books, Customer, Seen};
use super::films::{film, picture};
use super::server::{Answer, Cloud, Recorded, Tasks};

/// What may stand at the top of a create.
const FIELDS: [&str; 5] = ["input", "version", "stream", "webhook", "webhook_events_filter"];
/// The models that there are.
const MODELS: [&str; 2] = ["black-forest-labs/flux-schnell", "owner/film"];
/// The version that there is.
pub(crate) const VERSION: &str = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa";

/// The cloud.
pub(crate) struct ReplicateCloud(Mutex<Books>);

impl Default for ReplicateCloud {
    fn default() -> Self {
        Self::until("succeeded")
    }
}

impl ReplicateCloud {
    /// One whose predictions get no further than this word.
    pub(crate) fn until(word: &str) -> Self {
        Self(Mutex::new(Books::new(&["starting", "processing", "succeeded"]).until(word)))
    }

    /// How it says that something is wrong.
    pub(crate) fn error(status: u16, title: &str, detail: &str) -> Answer {
        Answer::Json(status, json!({ "title": title, "detail": detail, "status": status }))
    }

    /// How it says that there were too many calls.
    pub(crate) fn throttled(seconds: u32) -> Answer {
        let detail = format!("Request was throttled. Your rate limit resets in ~{seconds}s.");
        Answer::Json(429, json!({ "detail": detail, "status": 429, "retry_after": seconds }))
    }

    fn create(&self, request: &Recorded, key: &str) -> Answer {
        let body = request.json();
        let model = request.target.strip_prefix("/v1/models/").and_then(|rest| rest.strip_suffix("/predictions"));
        if model.is_some_and(|model| !MODELS.contains(&model)) {
            return not_found();
        }
        let mut wrong = Vec::new();
        if let Some(fields) = body.as_object() {
            let unknown = fields.keys().filter(|name| !FIELDS.contains(&name.as_str()));
            wrong.extend(unknown.map(|name| format!("- Additional property {name} is not allowed")));
        }
        if !body["input"].is_object() {
            wrong.push("- input is required".to_owned());
        } else if body["input"]["prompt"].as_str().is_none_or(str::is_empty) {
            wrong.push("- input: prompt is required".to_owned());
        }
        match (model, body["version"].as_str()) {
            (Some(_), Some(_)) => wrong.push("- Additional property version is not allowed".to_owned()),
            (Some(_), None) | (None, Some(VERSION)) => {}
            (None, Some(_)) => wrong.push("- Invalid version or not permitted".to_owned()),
            (None, None) => wrong.push("- version is required".to_owned()),
        }
        if model == Some(MODELS[0]) {
            let ratio = &body["input"]["aspect_ratio"];
            if !ratio.is_null() && !["1:1", "16:9"].iter().any(|known| ratio == known) {
                wrong.push("- input.aspect_ratio: must be one of the following: \"1:1\", \"16:9\"".to_owned());
            }
            let count = &body["input"]["num_outputs"];
            if !count.is_null() && !count.as_u64().is_some_and(|count| (1..=4).contains(&count)) {
                wrong.push("- input.num_outputs: must be an integer from 1 to 4".to_owned());
            }
        }
        if !wrong.is_empty() {
            return Self::error(422, "Input validation failed", &wrong.join("\n"));
        }
        let asked = json!({ "input": body["input"], "pictures": model == Some(MODELS[0]) });
        let mut books = self.0.lock();
        let id = books.make(|number| format!("gm3qorzdhgbfurvjtvhg6dck{number}"), key, asked);
        let seen = books.see(&id, key).unwrap();
        Answer::Json(201, prediction(&id, &seen, ""))
    }
}

impl Cloud for ReplicateCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        Some(match (method, path) {
            ("POST", "/v1/predictions") => "create",
            ("POST", path) if path.starts_with("/v1/models/") && path.ends_with("/predictions") => "create",
            ("POST", path) if path.starts_with("/v1/predictions/") && path.ends_with("/cancel") => "cancel",
            ("GET", path) if path.starts_with("/v1/predictions/") => "poll",
            ("GET", path) if path.starts_with("/files/") => "file",
            _ => return None,
        })
    }

    fn refusal(&self, request: &Recorded) -> Option<Answer> {
        match (Customer::of(key_of(request)), request.route) {
            (_, "file") => None,
            (Customer::Unknown, _) => Some(Self::error(401, "Unauthenticated", "You did not pass a valid authentication token")),
            (Customer::Poor, "create") => {
                Some(Self::error(402, "Insufficient credit", "You have insufficient credit to run this model."))
            }
            (_, "create") if request.header("content-type") != "application/json" => {
                Some(Self::error(400, "Bad request", "The request's body is no JSON."))
            }
            _ => None,
        }
    }

    fn answer(&self, request: &Recorded, _tasks: &mut Tasks, base: &str) -> Answer {
        if request.route == "file" {
            let is_film = request.target.rsplit('/').next().is_some_and(|name| name.contains("mp4"));
            let (media_type, bytes) = if is_film { ("video/mp4", film()) } else { ("image/png", picture()) };
            return Answer::Bytes(200, media_type, bytes);
        }
        let key = key_of(request);
        let id = request.target.split('/').nth(3).unwrap_or_default();
        match request.route {
            "create" => self.create(request, key),
            "poll" => match self.0.lock().look(id, key) {
                Some(seen) => Answer::Json(200, prediction(id, &seen, base)),
                None => not_found(),
            },
            _ => {
                let mut books = self.0.lock();
                let Some(before) = books.cancel(id, key, "canceled") else { return not_found() };
                let mut after = prediction(id, &books.see(id, key).unwrap(), base);
                // What had not begun takes no time, and what had is billed.
                after["started_at"] = prediction(id, &before, base)["started_at"].take();
                Answer::Json(200, after)
            }
        }
    }
}

/// The key that a request carries; empty where it carries none.
fn key_of(request: &Recorded) -> &str {
    request.header("authorization").strip_prefix("Bearer ").unwrap_or_default()
}

fn not_found() -> Answer {
    ReplicateCloud::error(404, "Not found", "The requested resource could not be found.")
}

fn prediction(id: &str, seen: &Seen, base: &str) -> Value {
    let output = match (seen.word, seen.asked["pictures"] == true) {
        ("succeeded", true) => {
            let count = seen.asked["input"]["num_outputs"].as_u64().unwrap_or(1);
            (0..count).map(|index| format!("{base}/files/{id}/out-{index}.png")).collect()
        }
        ("succeeded", false) => json!(format!("{base}/files/{id}/out.mp4")),
        _ => Value::Null,
    };
    let started = matches!(seen.word, "processing" | "succeeded").then_some("2026-01-02T03:04:05.779176Z");
    let ended = matches!(seen.word, "succeeded" | "canceled").then_some("2026-01-02T03:04:06.791859Z");
    json!({
        "id": id, "status": seen.word, "input": seen.asked["input"], "output": output, "error": null, "logs": "",
        "created_at": "2026-01-02T03:04:05.765994Z", "started_at": started, "completed_at": ended, "data_removed": false,
        "metrics": ended.map(|_| json!({ "predict_time": 1.25 })),
        "urls": { "get": format!("https://api.replicate.com/v1/predictions/{id}"),
            "cancel": format!("https://api.replicate.com/v1/predictions/{id}/cancel") },
    })
}
