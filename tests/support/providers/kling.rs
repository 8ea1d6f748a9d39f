//! Kling: a call carries a token that the account signed; a task is submitted, processed, and has succeeded at the third look. An id of ours
//! that was there before is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use framewright::domain::Clock;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Sha256;

use super::credentials::{KNOWN_KEYS, secret_of_key};
use super::films::film;
use super::server::{Answer, Cloud, Recorded, Tasks};

/// The models there are.
const MODELS: [&str; 8] = [
    "kling-v1",
    "kling-v1-5",
    "kling-v1-6",
    "kling-v2-master",
    "kling-v2-1",
    "kling-v2-1-master",
    "kling-v2-5-turbo",
    "kling-v2-6",
];

/// The cloud, and the ids of ours that it has seen.
pub(crate) struct KlingCloud {
    clock: Arc<dyn Clock>,
    seen: Mutex<BTreeSet<String>>,
}

impl KlingCloud {
    /// A cloud that has this time.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, seen: Mutex::default() }
    }

    /// The access key of an account.
    pub(crate) fn access_key(name: &str) -> String {
        format!("access-of-{name}")
    }

    /// The name of the account that signed a request. Fails with the code of what is wrong with its token.
    fn signer(&self, request: &Recorded) -> Result<&'static str, i64> {
        let header = request.header("authorization");
        if header.is_empty() {
            return Err(1001);
        }
        let token = header.strip_prefix("Bearer ").ok_or(1002)?;
        let [head, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { return Err(1002) };
        let read = |part: &str| -> Value {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap_or_default()).unwrap_or_default()
        };
        let (told, head_told) = (read(claims), read(head));
        if head_told != json!({ "alg": "HS256", "typ": "JWT" }) {
            return Err(1002);
        }
        let name = KNOWN_KEYS.into_iter().find(|name| told["iss"] == Self::access_key(name)).ok_or(1002)?;
        let mut hash = Hmac::<Sha256>::new_from_slice(secret_of_key(name).as_bytes()).unwrap();
        hash.update(format!("{head}.{claims}").as_bytes());
        hash.verify_slice(&BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap_or_default()).map_err(|_| 1000)?;
        let seconds = self.clock.now().0 / 1000;
        match (told["nbf"].as_i64(), told["exp"].as_i64()) {
            (Some(begins), _) if begins > seconds => Err(1003),
            // One of milliseconds would be good for ever.
            (Some(begins), Some(expires)) if expires > seconds && expires - begins <= 24 * 3600 => Ok(name),
            (Some(_), Some(_)) => Err(1004),
            _ => Err(1002),
        }
    }

    /// The name of the account that a request says it is of; empty where it says none.
    pub(crate) fn account_of(request: &Recorded) -> String {
        let claims = request.header("authorization").split('.').nth(1).unwrap_or_default();
        let told: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap_or_default()).unwrap_or_default();
        told["iss"].as_str().and_then(|key| key.strip_prefix("access-of-")).unwrap_or_default().to_owned()
    }
}

fn wrong(status: u16, code: i64, message: &str) -> Answer {
    Answer::Json(status, json!({ "code": code, "message": message, "request_id": "r" }))
}

/// What is wrong with what is to be made.
fn fault(body: &Value, from_picture: bool) -> Option<&'static str> {
    let known = [
        "model_name",
        "prompt",
        "negative_prompt",
        "image",
        "image_tail",
        "mode",
        "duration",
        "aspect_ratio",
        "sound",
        "callback_url",
        "external_task_id",
    ];
    let one_of =
        |field: &str, allowed: &[&str]| body[field].is_null() || body[field].as_str().is_some_and(|word| allowed.contains(&word));
    let text = |field: &str, most: usize| body[field].as_str().is_some_and(|text| (1..=most).contains(&text.chars().count()));
    let picture = |field: &str| body[field].is_null() || body[field].as_str().is_some_and(|text| !text.starts_with("data:"));
    [
        (body.as_object().is_some_and(|fields| fields.keys().all(|name| known.contains(&name.as_str()))), "unknown field"),
        (body["model_name"].as_str().is_some_and(|model| MODELS.contains(&model)), "model_name"),
        (from_picture || text("prompt", 2500), "prompt"),
        (body["negative_prompt"].is_null() || text("negative_prompt", 2500), "negative_prompt"),
        (one_of("mode", &["std", "pro"]), "mode"),
        (one_of("duration", &["5", "10"]), "duration"),
        (one_of("aspect_ratio", &["16:9", "9:16", "1:1"]), "aspect_ratio"),
        (one_of("sound", &["on", "off"]), "sound"),
        (picture("image") && picture("image_tail"), "image"),
        (from_picture == (body["image"].is_string() || body["image_tail"].is_string()), "image"),
    ]
    .into_iter()
    .find_map(|(right, field)| (!right).then_some(field))
}

impl Cloud for KlingCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        let of_task = |path: &str| path.starts_with("/v1/videos/text2video/") || path.starts_with("/v1/videos/image2video/");
        Some(match (method, path) {
            ("POST", "/v1/videos/text2video" | "/v1/videos/image2video") => "create",
            ("GET", path) if of_task(path) => "poll",
            ("GET", path) if path.starts_with("/files/") => "file",
            _ => return None,
        })
    }

    fn refusal(&self, request: &Recorded) -> Option<Answer> {
        if request.route == "file" {
            return None;
        }
        if let Err(code) = self.signer(request) {
            return Some(wrong(401, code, "Authorization is not valid"));
        }
        if request.route == "create" {
            if request.header("content-type") != "application/json" {
                return Some(wrong(400, 1200, "the body is not JSON"));
            }
            return fault(&request.json(), request.path().ends_with("image2video")).map(|field| wrong(400, 1201, field));
        }
        None
    }

    fn answer(&self, request: &Recorded, tasks: &mut Tasks, base: &str) -> Answer {
        let now = self.clock.now().0;
        let fine = |data: Value| Answer::Json(200, json!({ "code": 0, "message": "SUCCEED", "request_id": "r", "data": data }));
        // A task is found on the route that made it alone.
        let path = request.path().trim_start_matches("/v1/videos/").to_owned();
        match request.route {
            "create" => {
                let ours = request.json()["external_task_id"].as_str().unwrap_or_default().to_owned();
                if !ours.is_empty() && !self.seen.lock().insert(ours.clone()) {
                    return wrong(400, 1201, "external_task_id already exists");
                }
                let made = tasks.make_id(&format!("{path}/Cl6kH2gHPegAAAAAA"));
                let id = made.rsplit('/').next().unwrap();
                fine(json!({ "task_id": id, "task_status": "submitted", "task_info": { "external_task_id": ours },
                    "created_at": now, "updated_at": now }))
            }
            "poll" if !tasks.has(&path) => wrong(404, 1203, "the task does not exist"),
            "poll" => {
                let id = path.rsplit('/').next().unwrap();
                let task = |status: &str, result: Value| {
                    let mut task = json!({ "task_id": id, "task_status": status, "task_status_msg": "",
                        "created_at": now, "updated_at": now });
                    task["task_result"] = result;
                    fine(task)
                };
                match tasks.look(&path) {
                    0 => task("submitted", Value::Null),
                    1 => task("processing", Value::Null),
                    looks => {
                        let url = format!("{base}/files/{id}.mp4?Expires={looks}&Signature=secret");
                        task("succeed", json!({ "videos": [{ "id": "v-1", "url": url, "duration": "5.1" }] }))
                    }
                }
            }
            _ => Answer::Bytes(200, "video/mp4", film()),
        }
    }
}
