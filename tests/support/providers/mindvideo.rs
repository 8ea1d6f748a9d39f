//! MindVideo's own web application: every call is signed anew, errors come beside HTTP 200, a task is at 0, 40 and 100 percent.
//!
//! Not documented, and so of this cloud alone: that a token which it does not know is an HTTP 401, the numbers of its errors, and that a
//! signature is good for five minutes and a nonce for one call.

use std::collections::BTreeSet;
use std::sync::Arc;

use framewright::domain::Clock;
use md5::{Digest, Md5};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::credentials::name_of_key;
use super::films::film;
use super::server::{Answer, Cloud, Recorded, Tasks};

/// How far a signature's time may be from the cloud's, milliseconds.
const MOST_SKEW_MS: i64 = 5 * 60 * 1000;

/// The cloud, and the nonces that it has seen.
pub(crate) struct MindvideoCloud {
    clock: Arc<dyn Clock>,
    nonces: Mutex<BTreeSet<String>>,
}

impl MindvideoCloud {
    /// The application's key.
    pub(crate) const APP_KEY: &'static str = "key-of-the-application";

    /// A cloud that has this time.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, nonces: Mutex::default() }
    }

    /// Whether `i-sign` is compact JSON with its keys in their order, of this time, and signed with the application's key.
    fn is_signed(&self, text: &str) -> bool {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let (Some(nonce), Some(timestamp), Some(sign)) =
            (value["nonce"].as_str(), value["timestamp"].as_i64(), value["sign"].as_str())
        else {
            return false;
        };
        let signed = format!("nonce={nonce}&timestamp={timestamp}&app_key={}", Self::APP_KEY);
        let expected = Md5::digest(signed).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        text == format!(r#"{{"nonce":"{nonce}","timestamp":{timestamp},"sign":"{sign}"}}"#)
            && nonce.len() == 16
            && nonce.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
            && (self.clock.now().0 - timestamp).abs() <= MOST_SKEW_MS
            && sign == expected
            && self.nonces.lock().insert(nonce.to_owned())
    }
}

/// How it says that something is wrong.
fn wrong(code: u32, message: &str) -> Answer {
    Answer::Json(200, json!({ "code": code, "message": message }))
}

/// What is wrong with what is to be made.
fn fault(body: &Value) -> Option<&'static str> {
    let options = &body["options"];
    let sizes = ["720x1280", "1280x720", "1920x1080"];
    [
        (body["type"] == 1, "type"),
        (body["bot_id"] == 153, "bot_id"),
        (options["prompt"].as_str().is_some_and(|prompt| !prompt.is_empty()), "prompt"),
        (options["size"].as_str().is_some_and(|size| sizes.contains(&size)), "size"),
        (options["seconds"] == 15, "seconds"),
        (options["history_images"] == json!([]), "history_images"),
        (body["is_public"].is_boolean(), "is_public"),
        (body["copy_protection"].is_boolean(), "copy_protection"),
    ]
    .into_iter()
    .find_map(|(right, field)| (!right).then_some(field))
}

impl Cloud for MindvideoCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        Some(match (method, path) {
            ("POST", "/api/v2/creations") => "create",
            ("GET", "/api/v2/creations/task_progress") => "poll",
            ("GET", path) if path.starts_with("/files/") => "file",
            _ => return None,
        })
    }

    fn refusal(&self, request: &Recorded) -> Option<Answer> {
        if request.route == "file" {
            return None;
        }
        let token = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        if name_of_key(token).is_none() {
            return Some(Answer::Json(401, json!({ "code": 401, "message": format!("the token {token} is not valid") })));
        }
        if !self.is_signed(request.header("i-sign")) {
            return Some(wrong(40_001, "sign error"));
        }
        let page = "https://www.mindvideo.ai";
        let told =
            [("i-lang", "zh-CN"), ("i-version", "1.0.8"), ("accept", "application/json, text/plain, */*"), ("origin", page)];
        if told.into_iter().any(|(name, value)| request.header(name) != value) || request.header("referer") != format!("{page}/")
        {
            return Some(wrong(40_002, "not the web application"));
        }
        if request.route == "create" {
            return fault(&request.json()).map(|field| wrong(42_200, &format!("{field} is invalid")));
        }
        // Brackets of a query are encoded.
        let encoded = request.target.split_once('?').is_some_and(|(_, query)| query.starts_with("ids%5B%5D="));
        (!encoded).then(|| wrong(42_200, "ids is invalid"))
    }

    fn answer(&self, request: &Recorded, tasks: &mut Tasks, base: &str) -> Answer {
        let fine = |data: Value| Answer::Json(200, json!({ "code": 0, "data": data }));
        match request.route {
            "create" => {
                let id: u64 = tasks.make_id("12345").parse().unwrap();
                fine(json!({ "id": id }))
            }
            "poll" => {
                let id = request.query().remove(0).1;
                if !tasks.has(&id) {
                    return fine(json!([]));
                }
                let task = match tasks.look(&id) {
                    0 => json!({ "task_status": "processing", "task_progress": 0, "task_remark": "", "results": [] }),
                    1 => json!({ "task_status": "processing", "task_progress": 40, "task_remark": "", "results": [] }),
                    looks => json!({ "task_status": "completed", "task_progress": 100, "task_remark": "",
                        "results": [{ "result_url": format!("{base}/files/{id}.mp4?Expires={looks}&Signature=secret") }] }),
                };
                fine(json!([task]))
            }
            _ => Answer::Bytes(200, "video/mp4", film()),
        }
    }
}
