//! A service that speaks OpenAI's dialect: pictures come with the call, a film is done at the third look and is behind its task, for the
//! account that made it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::books::{Books, Customer};
use super::films::{film, picture};
use super::form::fields;
use super::server::{Answer, Cloud, Recorded, Tasks};

/// The fields of a create of pictures.
const PICTURE_FIELDS: [&str; 7] = ["model", "prompt", "n", "size", "quality", "style", "response_format"];
/// The fields of a create of a film. In a form, what is in an object has its name in brackets.
const FILM_FIELDS: [&str; 6] = ["model", "prompt", "seconds", "size", "input_reference", "input_reference[image_url]"];
/// The lengths of films, which are texts.
const SECONDS: [&str; 3] = ["4", "8", "12"];

/// The cloud.
pub(crate) struct OpenAiCloud {
    tasks: Mutex<Books>,
    takes_any_key: bool,
}

impl Default for OpenAiCloud {
    fn default() -> Self {
        Self::until("completed")
    }
}

impl OpenAiCloud {
    /// One whose films get no further than this word.
    pub(crate) fn until(word: &str) -> Self {
        Self { tasks: Mutex::new(Books::new(&["queued", "in_progress", "completed"]).until(word)), takes_any_key: false }
    }

    /// One that asks nobody for his key, like a service in one's own house.
    pub(crate) fn taking_any_key() -> Self {
        Self { takes_any_key: true, ..Self::default() }
    }

    /// How it says that something is wrong: all four fields are there.
    pub(crate) fn error(status: u16, kind: &str, code: Option<&str>, words: &str) -> Answer {
        Answer::Json(status, json!({ "error": { "message": words, "type": kind, "param": null, "code": code } }))
    }

    /// A film's task: all fields are there.
    pub(crate) fn task(id: &str, status: &str, progress: u32, error: &Value) -> Answer {
        Answer::Json(
            200,
            json!({
                "id": id, "object": "video", "model": "sora-2", "status": status, "progress": progress, "created_at": 1_712_697_600,
                "completed_at": null, "expires_at": null, "prompt": "a ship", "size": "1280x720", "seconds": "4",
                "remixed_from_video_id": null, "error": error,
            }),
        )
    }

    /// The answer of a create of pictures: in it, or behind links.
    fn pictures(request: &Recorded, base: &str) -> Answer {
        let body = request.json();
        let is_inside = body["response_format"] != "url";
        let one = |number: u64| {
            if is_inside {
                json!({ "b64_json": BASE64_STANDARD.encode(picture()) })
            } else {
                json!({ "url": format!("{base}/made/{number}.png?signature=secret") })
            }
        };
        let made: Vec<Value> = (0..body["n"].as_u64().unwrap_or(1)).map(one).collect();
        Answer::Json(200, json!({ "created": 1, "output_format": "png", "data": made }))
    }
}

/// The key that a request carries; empty where it carries none.
fn key_of(request: &Recorded) -> &str {
    request.header("authorization").strip_prefix("Bearer ").unwrap_or_default()
}

/// The task's id in a path.
fn task_of(request: &Recorded) -> &str {
    request.path().trim_end_matches("/content").rsplit('/').next().unwrap_or_default()
}

fn asks_for_pictures(request: &Recorded) -> bool {
    request.path().ends_with("/images/generations")
}

/// What is wrong with a create.
fn issue(request: &Recorded) -> Option<String> {
    let is_picture = asks_for_pictures(request);
    let named: Vec<(String, Value)> = if is_picture {
        if request.header("content-type") != "application/json" {
            return Some("you must send JSON".to_owned());
        }
        request.json().as_object()?.clone().into_iter().collect()
    } else {
        let Some(fields) = fields(request) else { return Some("you must send a form".to_owned()) };
        fields.into_iter().map(|(name, value)| (name, Value::from(value))).collect()
    };
    let known: &[&str] = if is_picture { &PICTURE_FIELDS } else { &FILM_FIELDS };
    if let Some((name, _)) = named.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        return Some(format!("Unknown parameter: '{name}'."));
    }
    let of = |name: &str| named.iter().find(|(other, _)| other == name).map(|(_, value)| value);
    let has_text = |name: &str| of(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if let Some(missing) = ["model", "prompt"].into_iter().find(|name| !has_text(name)) {
        return Some(format!("Missing required parameter: '{missing}'."));
    }
    let is_size = |text: &str| {
        text.split_once('x').is_some_and(|(width, height)| width.parse::<u32>().is_ok() && height.parse::<u32>().is_ok())
    };
    let is_wrong = |name: &str, is_right: &dyn Fn(&Value) -> bool| of(name).is_some_and(|value| !is_right(value));
    let wrong = [
        ("size", is_wrong("size", &|size| size.as_str().is_some_and(is_size))),
        ("n", is_wrong("n", &|n| n.as_u64().is_some_and(|n| (1..=10).contains(&n)))),
        ("response_format", is_wrong("response_format", &|format| format == "url" || format == "b64_json")),
        ("seconds", is_wrong("seconds", &|seconds| seconds.as_str().is_some_and(|text| SECONDS.contains(&text)))),
    ];
    wrong.into_iter().find_map(|(name, is_wrong)| is_wrong.then(|| format!("Invalid value: '{name}'.")))
}

impl Cloud for OpenAiCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        Some(match (method, path) {
            ("POST", "/v1/images/generations" | "/v1/videos") => "create",
            ("GET", path) if path.ends_with("/content") || path.starts_with("/made/") => "file",
            ("GET", path) if path.starts_with("/v1/videos/") => "poll",
            ("DELETE", path) if path.starts_with("/v1/videos/") => "cancel",
            _ => return None,
        })
    }

    fn refusal(&self, request: &Recorded) -> Option<Answer> {
        if request.path().starts_with("/made/") {
            return None;
        }
        let wrong = |status, code, words: &str| Some(Self::error(status, "invalid_request_error", code, words));
        match Customer::of(key_of(request)) {
            Customer::Unknown if !self.takes_any_key => {
                wrong(401, Some("invalid_api_key"), "Incorrect API key provided. You can find your API key in your account.")
            }
            Customer::Poor => Some(Self::error(
                429,
                "insufficient_quota",
                Some("insufficient_quota"),
                "You exceeded your current quota, please check your plan and billing details.",
            )),
            _ if request.route == "create" => issue(request).and_then(|issue| wrong(400, None, &issue)),
            _ => None,
        }
    }

    fn answer(&self, request: &Recorded, _tasks: &mut Tasks, base: &str) -> Answer {
        let (key, id) = (key_of(request), task_of(request));
        let none = || Self::error(404, "invalid_request_error", None, &format!("Video with id '{id}' not found."));
        let mut tasks = self.tasks.lock();
        match request.route {
            "create" if asks_for_pictures(request) => Self::pictures(request, base),
            "create" => {
                let id = tasks.make(|number| format!("video_{number}"), key, Value::Null);
                Self::task(&id, "queued", 0, &Value::Null)
            }
            "poll" => tasks.look(id, key).map_or_else(none, |seen| {
                let progress = match seen.word {
                    "queued" => 0,
                    "in_progress" => 40,
                    _ => 100,
                };
                Self::task(id, seen.word, progress, &Value::Null)
            }),
            "cancel" => tasks.see(id, key).map_or_else(none, |_| {
                tasks.remove(id);
                Answer::Json(200, json!({ "id": id, "object": "video.deleted", "deleted": true }))
            }),
            _ if request.path().starts_with("/made/") => Answer::Bytes(200, "image/png", picture()),
            _ => match tasks.see(id, key) {
                Some(seen) if seen.word == "completed" => Answer::Bytes(200, "video/mp4", film()),
                Some(_) => Self::error(400, "invalid_request_error", None, "Task is not completed yet."),
                None => none(),
            },
        }
    }
}
