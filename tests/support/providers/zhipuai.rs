//! Zhipu: a task is processed, and has succeeded at the second look. A repeated id of ours is refused.

use parking_lot::Mutex;
use serde_json::json;

use super::films::{film, picture};
use super::server::{Answer, Cloud, Recorded, Tasks};

/// The cloud, and the ids of ours that it has seen.
#[derive(Default)]
pub(crate) struct ZhipuaiCloud(Mutex<Vec<String>>);

impl Cloud for ZhipuaiCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        Some(match (method, path) {
            ("POST", path) if path.ends_with("/generations") => "create",
            ("GET", path) if path.contains("/async-result/") => "poll",
            ("GET", path) if path.starts_with("/files/") => "file",
            _ => return None,
        })
    }

    fn answer(&self, request: &Recorded, tasks: &mut Tasks, base: &str) -> Answer {
        match request.route {
            "create" if request.target.contains("/images/") => {
                let data = json!([{ "url": format!("{base}/files/picture.png?sign=secret") }]);
                Answer::Json(200, json!({ "created": 1, "data": data, "content_filter": [{ "role": "assistant", "level": 3 }] }))
            }
            "create" => {
                let body = request.json();
                let ours = body["request_id"].as_str().unwrap_or_default().to_owned();
                let mut seen = self.0.lock();
                if !ours.is_empty() && seen.contains(&ours) {
                    return Answer::Json(400, json!({ "error": { "code": "1231", "message": "repeated request_id" } }));
                }
                seen.push(ours.clone());
                let id = format!("88689022{}", tasks.make());
                Answer::Json(200, json!({ "model": body["model"], "id": id, "request_id": ours, "task_status": "PROCESSING" }))
            }
            "poll" => {
                let id = request.target.rsplit('/').next().unwrap().to_owned();
                if tasks.look(&id) == 0 {
                    return Answer::Json(200, json!({ "id": id, "task_status": "PROCESSING" }));
                }
                let results =
                    json!([{ "url": format!("{base}/files/{id}.mp4"), "cover_image_url": format!("{base}/files/c.png") }]);
                Answer::Json(200, json!({ "id": id, "task_status": "SUCCESS", "video_result": results }))
            }
            _ if request.target.contains("picture") => Answer::Bytes(200, "image/png", picture()),
            _ => Answer::Bytes(200, "video/mp4", film()),
        }
    }
}
