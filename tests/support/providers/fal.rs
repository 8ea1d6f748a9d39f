//! fal: a request waits, is in progress, and is completed at the third look; then its results, or the model's error, are one call away.
//! The addresses of a task have the model's owner and app, and not what stands behind them.

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::books::{Books, Customer};
use super::films::{film, picture};
use super::server::{Answer, Cloud, Recorded, Tasks};

/// The models that there are.
const MODELS: [&str; 2] = ["fal-ai/flux/dev", "fal-ai/kling-video/v2/master"];

/// The cloud.
pub(crate) struct FalCloud(Mutex<Books>);

impl Default for FalCloud {
    fn default() -> Self {
        Self::until("COMPLETED")
    }
}

impl FalCloud {
    /// One whose requests get no further than this word.
    pub(crate) fn until(word: &str) -> Self {
        Self(Mutex::new(Books::new(&["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]).until(word)))
    }

    /// How it says that something around a model is wrong.
    pub(crate) fn error(status: u16, detail: &str) -> Answer {
        Answer::Json(status, json!({ "detail": detail }))
    }

    /// How it says that its own machines failed.
    pub(crate) fn runner_error(status: u16, word: &str) -> Answer {
        let body = json!({ "detail": "The runner did not answer", "error_type": word });
        Answer::JsonWith(status, "x-fal-error-type", word.to_owned(), body)
    }

    /// How a model says that something of its input is wrong.
    pub(crate) fn model_error(field: &str, word: &str, message: &str) -> Answer {
        let detail = json!([{ "loc": ["body", field], "msg": message, "type": word, "url": format!("https://docs.fal.ai/errors#{word}") }]);
        Answer::JsonWith(422, "x-fal-retryable", "false".to_owned(), json!({ "detail": detail }))
    }

    fn create(&self, request: &Recorded, key: &str, base: &str) -> Answer {
        let path = request.target.split('?').next().unwrap().trim_start_matches('/');
        if !MODELS.contains(&path) {
            return Self::error(404, &format!("Application \"{path}\" not found"));
        }
        let app = path.split('/').take(2).collect::<Vec<_>>().join("/");
        let asked = json!({ "model": path, "input": request.json() });
        let id = self.0.lock().make(|number| format!("764cabcf-b745-4b3e-ae38-{number:012}"), key, asked);
        Answer::Json(200, addressed(json!({ "status": "IN_QUEUE", "request_id": id, "queue_position": 0 }), base, &app, &id))
    }

    /// What the model made of its input, once the request is completed.
    fn response(&self, id: &str, key: &str, base: &str) -> Answer {
        let Some(seen) = self.0.lock().see(id, key) else { return Self::error(404, "Request not found") };
        if seen.word != "COMPLETED" {
            return Self::error(400, "Request is still in progress");
        }
        let input = &seen.asked["input"];
        match input["prompt"].as_str() {
            None | Some("") => return Self::model_error("prompt", "missing", "Field required"),
            Some(prompt) if prompt.contains("forbidden") => {
                let message = "The content was flagged by a content checker.";
                return Self::model_error("prompt", "content_policy_violation", message);
            }
            Some(_) => {}
        }
        if seen.asked["model"] == MODELS[0] {
            let (size, count) = (&input["image_size"], input["num_images"].as_u64().unwrap_or(1));
            if !(size.is_null() || size["width"].is_u64() && size["height"].is_u64()) {
                return Self::model_error(
                    "image_size",
                    "model_attributes_type",
                    "Input should be an object with width and height",
                );
            }
            let image = |index| json!({ "url": format!("{base}/files/{id}/{index}.png"), "content_type": "image/png", "width": 40, "height": 30 });
            let images: Vec<Value> = (0..count).map(image).collect();
            return Answer::Json(200, json!({ "images": images, "seed": 7, "has_nsfw_concepts": vec![false; images.len()] }));
        }
        let duration = &input["duration"];
        if !duration.is_null() && !["5", "10"].iter().any(|known| duration == known) {
            return Self::model_error("duration", "literal_error", "Input should be '5' or '10'");
        }
        let video = json!({ "url": format!("{base}/files/{id}/film.mp4"), "content_type": "video/mp4", "file_size": 4096 });
        Answer::Json(200, json!({ "video": video }))
    }
}

impl Cloud for FalCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        Some(match (method, path) {
            ("GET", path) if path.starts_with("/files/") => "file",
            ("GET", path) if path.contains("/requests/") && path.ends_with("/status") => "poll",
            ("GET", path) if path.contains("/requests/") => "fetch",
            ("PUT", path) if path.contains("/requests/") && path.ends_with("/cancel") => "cancel",
            ("POST", path) if !path.contains("/requests/") => "create",
            _ => return None,
        })
    }

    fn refusal(&self, request: &Recorded) -> Option<Answer> {
        match (Customer::of(key_of(request)), request.route) {
            (_, "file") => None,
            (Customer::Unknown, _) => Some(Self::error(401, "Authentication is required to access this application")),
            // That there is no money is said in words alone.
            (Customer::Poor, "create") => Some(Self::error(403, "User is locked. Reason: Exhausted balance.")),
            (_, "create") if request.header("content-type") != "application/json" || !request.json().is_object() => {
                Some(Self::error(422, "the body is no JSON object"))
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
        let (front, id) = request.target.split_once("/requests/").unwrap_or_default();
        let (app, id) = (front.trim_start_matches('/'), id.split('/').next().unwrap());
        // A task's addresses are those of its app; others lead nowhere.
        if request.route != "create" && !MODELS.iter().any(|model| model.split('/').take(2).eq(app.split('/'))) {
            return Self::error(404, &format!("Application \"{app}\" not found"));
        }
        match request.route {
            "create" => self.create(request, key, base),
            "poll" => match self.0.lock().look(id, key) {
                None => Self::error(404, "Request not found"),
                Some(seen) => {
                    let body = addressed(json!({ "status": seen.word, "request_id": id }), base, app, id);
                    Answer::Json(if seen.word == "COMPLETED" { 200 } else { 202 }, body)
                }
            },
            "fetch" => self.response(id, key, base),
            _ => match self.0.lock().cancel(id, key, "COMPLETED") {
                None => Answer::Json(404, json!({ "status": "NOT_FOUND" })),
                Some(before) if before.word == "COMPLETED" => Answer::Json(400, json!({ "status": "ALREADY_COMPLETED" })),
                Some(_) => Answer::Json(202, json!({ "status": "CANCELLATION_REQUESTED" })),
            },
        }
    }
}

/// The key that a request carries; empty where it carries none.
fn key_of(request: &Recorded) -> &str {
    request.header("authorization").strip_prefix("Key ").unwrap_or_default()
}

/// An answer with a task's addresses.
fn addressed(mut body: Value, base: &str, app: &str, id: &str) -> Value {
    let response = format!("{base}/{app}/requests/{id}");
    body["status_url"] = json!(format!("{response}/status"));
    body["cancel_url"] = json!(format!("{response}/cancel"));
    body["response_url"] = json!(response);
    body
}
