//! A task as the server shows it.

use serde_json::Value;

/// What trials look at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) user: String,
    pub(crate) project: Option<String>,
    pub(crate) created: String,
    pub(crate) finished: Option<String>,
    /// Class and message of a failure.
    pub(crate) error: Option<(String, String)>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) manifest: Value,
}

/// One picture of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// Relative to the storage directory.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl Task {
    pub(crate) fn of(document: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let required = |name: &str| text(&document[name]).unwrap_or_else(|| panic!("no {name} in {document}"));
        let outputs = document["result"]["outputs"].as_array().map_or(&[][..], Vec::as_slice);
        Self {
            id: required("task_id"),
            status: required("status"),
            user: required("user_id"),
            project: text(&document["project_id"]),
            created: required("created_at"),
            finished: text(&document["finished_at"]),
            error: text(&document["error"]["code"]).zip(text(&document["error"]["message"])),
            outputs: outputs.iter().map(Output::of).collect(),
            manifest: document["result"]["manifest"].clone(),
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }

    pub(crate) fn is_completed(&self) -> bool {
        self.status == "completed"
    }

    /// Class of its failure; empty when it did not fail.
    pub(crate) fn error_code(&self) -> &str {
        self.error.as_ref().map_or("", |(code, _)| code)
    }

    /// A whole number of the manifest, wherever it stands in it.
    pub(crate) fn fact(&self, name: &str) -> u64 {
        find(&self.manifest, name).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {name} in {}", self.manifest))
    }
}

impl Output {
    fn of(document: &Value) -> Self {
        Self {
            path: document["local_path"].as_str().expect("a picture has a path").to_owned(),
            bytes: document["bytes"].as_u64().expect("a picture has a length"),
            sha256: document["sha256"].as_str().expect("a picture has a hash").to_owned(),
        }
    }
}

fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let map = value.as_object()?;
    map.get(name).or_else(|| map.values().find_map(|inner| find(inner, name)))
}
