//! MiniMax, the first generation: HTTP 200 whatever happens; a task is prepared, processed, and has a file at the third look.

use serde_json::{Value, json};

use super::films::film;
use super::server::{Answer, Cloud, Recorded, Tasks};

/// The cloud.
pub(crate) struct MinimaxCloud;

/// How it says that nothing is wrong.
fn fine() -> Value {
    json!({ "status_code": 0, "status_msg": "success" })
}

impl Cloud for MinimaxCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        Some(match (method, path) {
            ("POST", "/v1/video_generation") => "create",
            ("GET", "/v1/query/video_generation") => "poll",
            ("GET", "/v1/files/retrieve") => "fetch",
            ("GET", path) if path.starts_with("/files/") => "file",
            _ => return None,
        })
    }

    fn answer(&self, request: &Recorded, tasks: &mut Tasks, base: &str) -> Answer {
        let argument = request.target.rsplit('=').next().unwrap_or_default().to_owned();
        match request.route {
            "create" => Answer::Json(200, json!({ "task_id": format!("10691611221{}", tasks.make()), "base_resp": fine() })),
            "poll" => Answer::Json(
                200,
                match tasks.look(&argument) {
                    0 => json!({ "task_id": argument, "status": "Preparing", "base_resp": fine() }),
                    1 => json!({ "task_id": argument, "status": "Processing", "base_resp": fine() }),
                    _ => json!({ "task_id": argument, "status": "Success", "file_id": format!("17{argument}"),
                        "video_width": 64, "video_height": 48, "base_resp": fine() }),
                },
            ),
            "fetch" => {
                let looks = tasks.look(&format!("file {argument}"));
                let link = format!("{base}/files/{argument}/{looks}?Signature=secret");
                Answer::Json(200, json!({ "file": { "file_id": argument, "download_url": link }, "base_resp": fine() }))
            }
            _ => Answer::Bytes(200, "video/mp4", film()),
        }
    }
}
