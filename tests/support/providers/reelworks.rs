//! The service of films that `docs/adding-a-provider.md` declares: a task waits, is rendered, and has a file at the third look. Links to
//! files are fresh with every call. A create with an id that it has seen makes no second task.

use std::collections::BTreeMap;
use std::path::Path;

use framewright::domain::DeclarationFile;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::books::{Books, Customer};
use super::films::film;
use super::server::{Answer, Cloud, Recorded, Tasks};

/// The model's own name.
const MODEL: &str = "reel-1.4-turbo";
/// What may stand in a create, by where it stands.
const FIELDS: [(&str, &[&str]); 3] = [
    ("", &["model", "input", "parameters", "callback"]),
    ("/input", &["prompt", "negative_prompt", "image"]),
    ("/parameters", &["size", "duration", "seed", "watermark"]),
];

struct Inside {
    books: Books,
    /// Tasks by the id of whoever created them.
    created: BTreeMap<String, String>,
    links: usize,
}

/// The cloud.
pub(crate) struct ReelworksCloud {
    inside: Mutex<Inside>,
    takes_any_key: bool,
}

impl Default for ReelworksCloud {
    fn default() -> Self {
        Self::until("done")
    }
}

impl ReelworksCloud {
    /// How it is declared.
    pub(crate) fn declaration() -> DeclarationFile {
        let document = include_str!("../../../docs/adding-a-provider.md");
        let text = document.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        DeclarationFile { path: Path::new("reelworks.yaml").to_owned(), text: text.into() }
    }

    /// One whose tasks get no further than this word.
    pub(crate) fn until(word: &str) -> Self {
        let books = Books::new(&["waiting", "rendering", "done"]).until(word);
        Self { inside: Mutex::new(Inside { books, created: BTreeMap::new(), links: 0 }), takes_any_key: false }
    }

    /// One that asks nobody for his key.
    pub(crate) fn taking_any_key() -> Self {
        Self { takes_any_key: true, ..Self::default() }
    }

    /// How it says that something is wrong.
    pub(crate) fn error(status: u16, code: &str, words: &str) -> Answer {
        Answer::Json(status, json!({ "error": { "code": code, "message": words } }))
    }

    /// A task, with what is told of it beside its state.
    pub(crate) fn task(state: &str, told: &Value) -> Answer {
        let mut data = json!({ "state": state });
        data.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
        Answer::Json(200, json!({ "data": data }))
    }
}

/// The key that a request carries; empty where it carries none.
fn key_of(request: &Recorded) -> &str {
    request.header("authorization").strip_prefix("Bearer ").unwrap_or_default()
}

/// What is wrong with a create.
fn issue(request: &Recorded) -> Option<String> {
    if request.header("idempotency-key").is_empty() {
        return Some("the header Idempotency-Key is missing".to_owned());
    }
    let body = request.json();
    for (place, known) in FIELDS {
        let fields = body.pointer(place).and_then(Value::as_object);
        let Some(fields) = fields else { return Some(format!("{place}: is missing")) };
        if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            return Some(format!("{place}/{name}: is not known"));
        }
    }
    let parameters = &body["parameters"];
    let sizes = ["1280*720", "720*1280", "1920*1080", "1080*1920"];
    let is_right = [
        ("model", body["model"] == MODEL),
        ("prompt", body["input"]["prompt"].as_str().is_some_and(|prompt| (1..=1500).contains(&prompt.chars().count()))),
        ("size", parameters["size"].as_str().is_some_and(|size| sizes.contains(&size))),
        ("duration", parameters["duration"].as_u64().is_some_and(|seconds| (3..=10).contains(&seconds))),
        ("seed", parameters["seed"].is_null() || parameters["seed"].is_u64()),
        ("watermark", parameters["watermark"].is_boolean()),
    ];
    is_right.into_iter().find_map(|(name, is_right)| (!is_right).then(|| format!("{name}: is missing or wrong")))
}

impl Inside {
    fn create(&mut self, request: &Recorded, key: &str) -> Answer {
        let Self { books, created, .. } = self;
        let our_id = request.header("idempotency-key").to_owned();
        let id = created.entry(our_id).or_insert_with(|| books.make(|number| format!("film-{number}"), key, request.json()));
        Answer::Json(202, json!({ "data": { "id": id } }))
    }

    fn look(&mut self, id: &str, key: &str) -> Option<Answer> {
        Some(match self.books.look(id, key)?.word {
            "rendering" => ReelworksCloud::task("rendering", &json!({ "progress": 0.5 })),
            "done" => {
                let files = json!([{ "id": format!("{id}.mp4"), "duration": 0.5, "width": 64, "height": 48 }]);
                let data = json!({ "state": "done", "prompt": "a ship, in the rain", "files": files });
                Answer::Json(200, json!({ "data": data, "usage": { "seconds": 4 } }))
            }
            other => ReelworksCloud::task(other, &json!({})),
        })
    }

    fn link(&mut self, file: &str, key: &str, base: &str) -> Option<Answer> {
        let seen = self.books.see(file.strip_suffix(".mp4")?, key)?;
        (seen.word == "done").then(|| {
            self.links += 1;
            Answer::Json(200, json!({ "data": { "url": format!("{base}/stored/{file}?signature=secret-{}", self.links) } }))
        })
    }

    fn cancel(&mut self, id: &str, key: &str) -> Option<Answer> {
        let is_waiting = self.books.see(id, key)?.word == "waiting";
        if !is_waiting {
            return Some(ReelworksCloud::error(409, "already_running", "The film is being rendered."));
        }
        self.books.cancel(id, key, "stopped")?;
        Some(Answer::Json(200, json!({})))
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

    fn refusal(&self, request: &Recorded) -> Option<Answer> {
        match (Customer::of(key_of(request)), request.route) {
            (_, "file") => None,
            (Customer::Unknown, _) if !self.takes_any_key => Some(Self::error(401, "unauthorized", "The key is not known.")),
            (Customer::Poor, "create") => Some(Self::error(402, "no_credits", "There are no credits left.")),
            _ if request.header("x-reelworks-version") != "2026-01" => {
                Some(Self::error(400, "bad_version", "The header X-Reelworks-Version must be 2026-01."))
            }
            (_, "create") => issue(request).map(|issue| Self::error(400, "bad_request", &issue)),
            _ => None,
        }
    }

    fn answer(&self, request: &Recorded, _tasks: &mut Tasks, base: &str) -> Answer {
        let (key, id) = (key_of(request), request.path().rsplit('/').next().unwrap_or_default());
        let mut inside = self.inside.lock();
        let found = match request.route {
            "create" => return inside.create(request, key),
            "file" => return Answer::Bytes(200, "video/mp4", film()),
            "poll" => inside.look(id, key),
            "fetch" => inside.link(id, key, base),
            _ => inside.cancel(id, key),
        };
        found.unwrap_or_else(|| Self::error(404, "not_found", "There is no such thing."))
    }
}
