//! DashScope: a task waits, runs, and has succeeded at the third look.

use serde_json::json;

use super::films::{film, picture};
use super::server::{Answer, Cloud, Recorded, Tasks};

/// The cloud.
pub(crate) struct AliyunCloud;

impl Cloud for AliyunCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        Some(match (method, path) {
            ("POST", path) if path.ends_with("-synthesis") => "create",
            ("POST", path) if path.ends_with("/cancel") => "cancel",
            ("GET", path) if path.starts_with("/api/v1/tasks/") => "poll",
            ("GET", path) if path.starts_with("/files/") => "file",
            _ => return None,
        })
    }

    fn answer(&self, request: &Recorded, tasks: &mut Tasks, base: &str) -> Answer {
        match request.route {
            "create" => {
                let kind = if request.target.contains("text2image") { "picture" } else { "film" };
                let id = format!("0385dc79-5ff8-4d82-{kind}-{:012}", tasks.make());
                Answer::Json(200, json!({ "output": { "task_status": "PENDING", "task_id": id }, "request_id": "r-1" }))
            }
            "poll" => {
                let id = request.target.rsplit('/').next().unwrap().to_owned();
                let output = match tasks.look(&id) {
                    0 => json!({ "task_id": id, "task_status": "PENDING" }),
                    1 => json!({ "task_id": id, "task_status": "RUNNING" }),
                    looks => return Answer::Json(200, succeeded(&id, looks, base)),
                };
                Answer::Json(200, json!({ "request_id": "r-2", "output": output }))
            }
            "cancel" => Answer::Json(200, json!({ "request_id": "r-3" })),
            _ if request.target.contains("picture") => Answer::Bytes(200, "image/png", picture()),
            _ => Answer::Bytes(200, "video/mp4", film()),
        }
    }
}

/// A task that has succeeded; its links are fresh with every look.
fn succeeded(id: &str, looks: u32, base: &str) -> serde_json::Value {
    let link = format!("{base}/files/{id}?Expires={looks}&Signature=secret");
    if id.contains("picture") {
        let results = json!([
            { "orig_prompt": "a", "actual_prompt": "a red kite", "url": link },
            { "code": "InternalError.Timeout", "message": "one of them failed" },
        ]);
        return json!({ "request_id": "r-2", "usage": { "image_count": 1 },
            "output": { "task_id": id, "task_status": "SUCCEEDED", "results": results } });
    }
    json!({ "request_id": "r-2", "usage": { "video_duration": 5, "video_ratio": "832*480", "video_count": 1 },
        "output": { "task_id": id, "task_status": "SUCCEEDED", "video_url": link, "actual_prompt": "a ship, rewritten" } })
}
