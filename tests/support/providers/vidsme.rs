//! vidsme's own web application: every call is signed anew in its query, errors come beside HTTP 200, a picture is there at the third look.
//!
//! Not documented, and so of this cloud alone: that a user whom it does not know is an HTTP 401, the numbers of its errors and of a task's
//! states, and that a signature is good for five minutes and a nonce for one call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aes::Aes128;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use framewright::domain::Clock;
use parking_lot::Mutex;
use rsa::pkcs8::DecodePrivateKey;
use rsa::{Pkcs1v15Encrypt, PrivateKey};
use serde_json::{Value, json};

use super::credentials::name_of_key;
use super::films::picture;
use super::server::{Answer, Cloud, Recorded, Tasks};

/// How far a signature's time may be from the cloud's, seconds.
const MOST_SKEW_SECONDS: i64 = 5 * 60;

/// The cloud, and the nonces that it has seen.
pub(crate) struct VidsmeCloud {
    clock: Arc<dyn Clock>,
    private_key: PrivateKey,
    nonces: Mutex<BTreeSet<String>>,
}

impl VidsmeCloud {
    /// The application's id.
    pub(crate) const APP_ID: &'static str = "an-app";
    /// The application's salt.
    pub(crate) const SALT: &'static str = "salt-of-the-application";
    /// The application's public key.
    pub(crate) const PUBLIC_KEY: &'static str = include_str!("../../../src/providers/vidsme/test_keys/public_key.pem");
    /// What models are called in calls.
    pub(crate) const WIRE_NAMES: [&'static str; 2] = ["anime", "another(wire)"];

    /// A cloud that has this time.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let pem = include_str!("../../../src/providers/vidsme/test_keys/private_key.pem");
        Self { clock, private_key: PrivateKey::from_pkcs8_pem(pem).unwrap(), nonces: Mutex::default() }
    }

    /// Whether a query is signed: the key of the moment is encrypted for the application, and has encrypted what is signed.
    fn is_signed(&self, query: &BTreeMap<String, String>) -> bool {
        let told = |name: &str| query.get(name).map_or("", String::as_str);
        let decoded = |name: &str| BASE64_STANDARD.decode(told(name)).unwrap_or_default();
        let key = self.private_key.decrypt(Pkcs1v15Encrypt, &decoded("secret_key")).unwrap_or_default();
        let Ok(cipher) = Decryptor::<Aes128>::new_from_slices(&key, &key) else { return false };
        let text = cipher.decrypt_padded_vec::<Pkcs7>(&decoded("sign")).unwrap_or_default();
        let (seconds, nonce) = (told("t").parse().unwrap_or(0), told("nonce"));
        let signed = format!("{}:{}:{seconds}:{nonce}:{}", Self::APP_ID, Self::SALT, told("secret_key"));
        key.iter().all(u8::is_ascii_alphanumeric)
            && text == signed.as_bytes()
            && told("app_id") == Self::APP_ID
            && (self.clock.now().0 / 1000 - seconds).abs() <= MOST_SKEW_SECONDS
            && uuid::Uuid::parse_str(nonce).is_ok_and(|id| id.get_version_num() == 4 && id.hyphenated().to_string() == nonce)
            && self.nonces.lock().insert(nonce.to_owned())
    }
}

/// How it says that something is wrong.
fn wrong(code: u32, message: &str) -> Answer {
    Answer::Json(200, json!({ "code": code, "msg": message }))
}

/// What is wrong with what is to be made.
fn fault(body: &Value) -> Option<&'static str> {
    let sizes = [(512, 512), (768, 512), (512, 768)].map(|(width, height)| [json!(width), json!(height)]);
    [
        (body["prompt"].as_str().is_some_and(|prompt| !prompt.is_empty()), "prompt"),
        (body["model"].as_str().is_some_and(|model| VidsmeCloud::WIRE_NAMES.contains(&model)), "model"),
        (sizes.contains(&[body["width"].clone(), body["height"].clone()]), "size"),
    ]
    .into_iter()
    .find_map(|(right, field)| (!right).then_some(field))
}

impl Cloud for VidsmeCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        Some(match (method, path) {
            ("POST", "/api/texttoimg/v1/task") => "create",
            ("GET", "/api/texttoimg/v1/task") => "poll",
            ("GET", path) if path.starts_with("/pictures/art/") => "file",
            _ => return None,
        })
    }

    fn refusal(&self, request: &Recorded) -> Option<Answer> {
        if request.route == "file" {
            return None;
        }
        let query: BTreeMap<String, String> = request.query().into_iter().collect();
        if !self.is_signed(&query) {
            return Some(wrong(40_001, "sign error"));
        }
        let body = request.json();
        let user = if request.route == "create" { body["user_id"].as_str() } else { query.get("user_id").map(String::as_str) };
        let user = user.unwrap_or_default();
        if name_of_key(user).is_none() {
            return Some(Answer::Json(401, json!({ "code": 401, "msg": format!("there is no user {user}") })));
        }
        let fields = if request.route == "create" { 5 } else { 7 };
        if query.len() != fields {
            return Some(wrong(42_200, "the query is invalid"));
        }
        let fault = if request.route == "create" { fault(&body) } else { None };
        fault.map(|field| wrong(42_200, &format!("{field} is invalid")))
    }

    fn answer(&self, request: &Recorded, tasks: &mut Tasks, _base: &str) -> Answer {
        let fine = |data: Value| Answer::Json(200, json!({ "code": 200, "msg": "success", "data": data }));
        match request.route {
            "create" => fine(json!({ "job_id": tasks.make_id("job-") })),
            "poll" => {
                let id = request.query().into_iter().find_map(|(name, value)| (name == "job_id").then_some(value));
                let id = id.unwrap_or_default();
                if !tasks.has(&id) {
                    return wrong(40_400, "there is no such job");
                }
                fine(match tasks.look(&id) {
                    0 => json!({ "status": 0, "generate_url": "" }),
                    1 => json!({ "status": 1 }),
                    _ => json!({ "status": 2, "generate_url": format!("art/{id}.png") }),
                })
            }
            _ => Answer::Bytes(200, "image/png", picture()),
        }
    }
}
