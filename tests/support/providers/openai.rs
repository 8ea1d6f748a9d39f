//! A service that speaks OpenAI's dialect: pictures come with the call, a film is done at the third look and is behind its task.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::films::{film, picture};
use super::server::{Answer, Cloud, Recorded, Tasks};

/// The cloud.
pub(crate) struct OpenAiCloud;

impl Cloud for OpenAiCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        Some(match (method, path) {
            ("POST", "/v1/images/generations" | "/v1/videos") => "create",
            ("GET", path) if path.ends_with("/content") => "file",
            ("GET", path) if path.starts_with("/v1/videos/") => "poll",
            ("DELETE", path) if path.starts_with("/v1/videos/") => "cancel",
            _ => return None,
        })
    }

    fn answer(&self, request: &Recorded, tasks: &mut Tasks, _base: &str) -> Answer {
        let id = request.target.rsplit('/').next().unwrap_or_default().to_owned();
        let task = |id: &str, status: &str, progress: u32| json!({ "id": id, "object": "video", "status": status, "progress": progress, "seconds": "4", "size": "1280x720" });
        match request.route {
            "create" if request.target.ends_with("/generations") => {
                let encoded = BASE64_STANDARD.encode(picture());
                Answer::Json(200, json!({ "created": 1, "output_format": "png", "data": [{ "b64_json": encoded }] }))
            }
            "create" => Answer::Json(200, task(&format!("video_{}", tasks.make()), "queued", 0)),
            "poll" => Answer::Json(
                200,
                match tasks.look(&id) {
                    0 => task(&id, "queued", 0),
                    1 => task(&id, "in_progress", 40),
                    _ => task(&id, "completed", 100),
                },
            ),
            "cancel" => Answer::Json(200, json!({ "id": id, "object": "video.deleted", "deleted": true })),
            _ => Answer::Bytes(200, "video/mp4", film()),
        }
    }
}
