//! Stability: a picture comes with the call, as base64 beside the reason why it was finished.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::books::Customer;
use super::films::picture;
use super::form::fields;
use super::server::{Answer, Cloud, Recorded, Tasks};

/// The shapes that there are.
const RATIOS: [&str; 9] = ["16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21"];
/// The models that share a route.
const NAMED: [&str; 3] = ["sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium"];

/// The cloud.
pub(crate) struct StabilityCloud;

impl StabilityCloud {
    /// How it says that something is wrong.
    pub(crate) fn error(status: u16, name: &str, words: &str) -> Answer {
        Answer::Json(status, json!({ "id": "a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6", "name": name, "errors": [words] }))
    }

    /// A picture, and why it was finished.
    pub(crate) fn finished(reason: &str) -> Answer {
        let body = json!({ "image": BASE64_STANDARD.encode(picture()), "finish_reason": reason, "seed": 343_940_597 });
        Answer::JsonWith(200, "content-type", "application/json; type=image/png".to_owned(), body)
    }
}

/// What is wrong with a create.
fn issue(request: &Recorded) -> Option<String> {
    if !matches!(request.header("accept"), "application/json" | "image/*" | "*/*" | "") {
        return Some("accept: must be 'image/*' or 'application/json'".to_owned());
    }
    let Some(fields) = fields(request) else {
        return Some("content-type: must be 'multipart/form-data', with fields".to_owned());
    };
    let of = |name: &str| fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    let is_sd3 = request.target.ends_with("/sd3");
    let allowed = |name: &str| {
        let usual = matches!(name, "prompt" | "negative_prompt" | "aspect_ratio" | "seed" | "output_format");
        usual || (is_sd3 && matches!(name, "model" | "mode"))
    };
    if let Some((name, _)) = fields.iter().find(|(name, _)| !allowed(name)) {
        return Some(format!("{name}: is not allowed"));
    }
    if !of("prompt").is_some_and(|prompt| (1..=10_000).contains(&prompt.chars().count())) {
        return Some("prompt: is required, with 1 to 10000 characters".to_owned());
    }
    let listed = |name: &str, known: &[&str]| {
        of(name).is_some_and(|value| !known.contains(&value)).then(|| format!("{name}: is none of {}", known.join(", ")))
    };
    let turbo = of("model") == Some("sd3.5-large-turbo") && of("negative_prompt").is_some();
    let seed = of("seed").is_some_and(|seed| !seed.parse().is_ok_and(|seed: u64| seed <= 4_294_967_294));
    listed("aspect_ratio", &RATIOS)
        .or_else(|| listed("output_format", &["jpeg", "png", "webp"]))
        .or_else(|| listed("model", &NAMED))
        .or_else(|| turbo.then(|| "negative_prompt: is not supported by sd3.5-large-turbo".to_owned()))
        .or_else(|| seed.then(|| "seed: must be from 0 to 4294967294".to_owned()))
}

impl Cloud for StabilityCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        let model = path.strip_prefix("/v2beta/stable-image/generate/")?;
        (method == "POST" && ["core", "ultra", "sd3"].contains(&model)).then_some("create")
    }

    fn refusal(&self, request: &Recorded) -> Option<Answer> {
        let key = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        match Customer::of(key) {
            Customer::Unknown => Some(Self::error(401, "unauthorized", "missing or invalid authorization header")),
            Customer::Poor => Some(Self::error(402, "payment_required", "You lack sufficient credits to make this request.")),
            Customer::Known => issue(request).map(|issue| Self::error(400, "bad_request", &issue)),
        }
    }

    fn answer(&self, request: &Recorded, _tasks: &mut Tasks, _base: &str) -> Answer {
        let fields = fields(request).unwrap();
        let prompt = fields.iter().find(|(name, _)| name == "prompt").map_or("", |(_, value)| value);
        if prompt.contains("forbidden") {
            return Self::error(403, "content_moderation", "Your request was flagged by our content moderation system.");
        }
        // Who does not ask for JSON gets the picture itself.
        if request.header("accept") != "application/json" {
            return Answer::Bytes(200, "image/png", picture());
        }
        // What it made and would not show comes with 200 all the same.
        Self::finished(if prompt.contains("indecent") { "CONTENT_FILTERED" } else { "SUCCESS" })
    }
}
