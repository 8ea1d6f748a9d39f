//! The service of films that `docs/adding-a-provider.md` declares: a task waits, is rendered, and has a file at the third look.

use std::path::Path;

use framewright::domain::DeclarationFile;
use serde_json::json;

use super::films::film;
use super::server::{Answer, Cloud, Recorded, Tasks};

/// The cloud.
pub(crate) struct ReelworksCloud;

impl ReelworksCloud {
    /// How it is declared.
    pub(crate) fn declaration() -> DeclarationFile {
        let document = include_str!("../../../docs/adding-a-provider.md");
        let text = document.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        DeclarationFile { path: Path::new("reelworks.yaml").to_owned(), text: text.into() }
    }
}

impl Cloud for ReelworksCloud {
    fn route(&self, method: &str, path: &str) -> Option<&'static str> {
        Some(match (method, path) {
            ("POST", "/v2/films") => "create",
            ("GET", path) if path.starts_with("/v2/films/") => "poll",
            ("GET", path) if path.starts_with("/v2/files/") => "fetch",
            ("DELETE", path) if path.starts_with("/v2/films/") => "cancel",
            ("GET", path) if path.starts_with("/stored/") => "file",
            _ => return None,
        })
    }

    fn answer(&self, request: &Recorded, tasks: &mut Tasks, base: &str) -> Answer {
        let id = request.target.rsplit('/').next().unwrap_or_default().to_owned();
        match request.route {
            "create" => Answer::Json(202, json!({ "data": { "id": format!("film-{}", tasks.make()) } })),
            "poll" => Answer::Json(
                200,
                match tasks.look(&id) {
                    0 => json!({ "data": { "state": "waiting" } }),
                    1 => json!({ "data": { "state": "rendering", "progress": 0.5 } }),
                    _ => json!({
                        "data": {
                            "state": "done",
                            "prompt": "a ship, in the rain",
                            "files": [{ "id": format!("{id}.mp4"), "duration": 0.5, "width": 64, "height": 48 }],
                        },
                        "usage": { "seconds": 4 },
                    }),
                },
            ),
            "fetch" => Answer::Json(200, json!({ "data": { "url": format!("{base}/stored/{id}?signature=secret") } })),
            "cancel" => Answer::Json(200, json!({})),
            _ => Answer::Bytes(200, "video/mp4", film()),
        }
    }
}
