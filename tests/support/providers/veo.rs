//! Veo behind the Gemini API: an operation says nothing, then that it is not done, and has a film at the third look. Films are for whoever
//! has the key.

use serde_json::{Value, json};

use super::credentials::name_of_key;
use super::films::film;
use super::server::{Answer, Cloud, Recorded, Tasks};

/// The models there are.
const MODELS: [&str; 2] = ["veo-3.1-generate-preview", "veo-3.1-fast-generate-preview"];

/// The cloud.
pub(crate) struct VeoCloud;

/// An error in Google's words.
pub(crate) fn veo_error(status: u16, word: &str, message: &str) -> Answer {
    Answer::Json(status, json!({ "error": { "code": status, "message": message, "status": word } }))
}

fn invalid(message: &str) -> Answer {
    veo_error(400, "INVALID_ARGUMENT", message)
}

/// What is wrong with what is to be made.
fn fault(body: &Value) -> Option<&'static str> {
    let only = |value: &Value, known: &[&str]| {
        value.as_object().is_some_and(|fields| fields.keys().all(|key| known.contains(&key.as_str())))
    };
    let one_of = |value: &Value, allowed: &[Value]| value.is_null() || allowed.contains(value);
    let picture = |value: &Value| {
        value.is_null()
            || only(value, &["bytesBase64Encoded", "mimeType"])
                && value["bytesBase64Encoded"].as_str().is_some_and(|bytes| !bytes.starts_with("data:") && !bytes.is_empty())
                && value["mimeType"].as_str().is_some_and(|media_type| media_type.starts_with("image/"))
    };
    let Some([instance]) = body["instances"].as_array().map(Vec::as_slice) else {
        return Some("instances: exactly one is taken");
    };
    let parameters = &body["parameters"];
    let lengths: &[Value] = if parameters["resolution"] == "1080p" { &[json!(8)] } else { &[json!(4), json!(6), json!(8)] };
    [
        (only(body, &["instances", "parameters"]), "unknown name beside instances and parameters"),
        (only(instance, &["prompt", "image", "lastFrame"]), "unknown name in instances"),
        (instance["prompt"].is_string() || instance["image"].is_object(), "prompt: is missing"),
        (picture(&instance["image"]) && picture(&instance["lastFrame"]), "image: is none"),
        (instance["lastFrame"].is_null() || instance["image"].is_object(), "lastFrame: needs an image"),
        (only(parameters, &["aspectRatio", "durationSeconds", "resolution", "negativePrompt"]), "unknown name in parameters"),
        (one_of(&parameters["aspectRatio"], &[json!("16:9"), json!("9:16")]), "aspectRatio: 16:9 or 9:16"),
        (one_of(&parameters["resolution"], &[json!("720p"), json!("1080p")]), "resolution: 720p or 1080p"),
        (one_of(&parameters["durationSeconds"], lengths), "durationSeconds: 4, 6 or 8, and 8 at 1080p"),
    ]
    .into_iter()
    .find_map(|(right, words)| (!right).then_some(words))
}

impl Cloud for VeoCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        Some(match (method, path) {
            ("POST", path) if path.starts_with("/v1beta/models/") && path.ends_with(":predictLongRunning") => "create",
            ("GET", path) if path.starts_with("/v1beta/models/") && path.contains("/operations/") => "poll",
            ("GET", path) if path.starts_with("/v1beta/files/") && path.ends_with(":download") => "file",
            _ => return None,
        })
    }

    fn refusal(&self, request: &Recorded) -> Option<Answer> {
        let key = request.header("x-goog-api-key");
        if key.is_empty() {
            return Some(veo_error(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers."));
        }
        if name_of_key(key).is_none() {
            let error = json!({ "code": 400, "message": format!("API key not valid: {key}"), "status": "INVALID_ARGUMENT",
                "details": [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID" }] });
            return Some(Answer::Json(400, json!({ "error": error })));
        }
        match request.route {
            "create" => {
                let model = request.path().trim_start_matches("/v1beta/models/").trim_end_matches(":predictLongRunning");
                if !MODELS.contains(&model) {
                    return Some(veo_error(404, "NOT_FOUND", "models: is not found for API version v1beta"));
                }
                if request.header("content-type") != "application/json" {
                    return Some(invalid("the body is not JSON"));
                }
                fault(&request.json()).map(invalid)
            }
            "file" if !request.query().contains(&("alt".to_owned(), "media".to_owned())) => Some(invalid("alt: media")),
            _ => None,
        }
    }

    fn answer(&self, request: &Recorded, tasks: &mut Tasks, base: &str) -> Answer {
        let name = request.path().trim_start_matches("/v1beta/").to_owned();
        match request.route {
            "create" => {
                let model = name.trim_end_matches(":predictLongRunning");
                Answer::Json(200, json!({ "name": tasks.make_id(&format!("{model}/operations/op")) }))
            }
            "poll" if !tasks.has(&name) => veo_error(404, "NOT_FOUND", "Operation not found."),
            "poll" => Answer::Json(
                200,
                match tasks.look(&name) {
                    0 => json!({ "name": name }),
                    1 => json!({ "name": name, "done": false }),
                    looks => {
                        let uri = format!("{base}/v1beta/files/film{looks}:download?alt=media");
                        let type_name = "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningResponse";
                        let samples = json!({ "generatedSamples": [{ "video": { "uri": uri } }] });
                        json!({ "name": name, "done": true, "response": { "@type": type_name, "generateVideoResponse": samples } })
                    }
                },
            ),
            _ => Answer::Bytes(200, "video/mp4", film()),
        }
    }
}
