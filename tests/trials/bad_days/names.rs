//! Names that try to be paths: of users, of projects, of files, of tasks.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{JOB_LIMIT, order};
use crate::support::server::Server;
use crate::support::trial;

/// Names that mean something to a file system, a shell, a URL or a database.
const TRICKS: [&str; 14] = [
    "../anna",
    "..",
    ".",
    "",
    "/etc/passwd",
    "anna/../boris",
    "anna\\boris",
    "anna\0",
    "anna\n",
    ".hidden",
    "-rf",
    "%2e%2e%2fanna",
    "anna'; DROP TABLE jobs; --",
    "аnna", // the first letter is Cyrillic
];

#[test]
fn names_are_never_paths() {
    let _alone = trial::alone();
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(&directory.path().join("inner"), "gpu_pool: {devices: [fake], fake: {step_ms: 1}}\n", &[]);
    server.write("projects/film.yaml", "quotas: {images_per_day: 10}\n");
    server.start();
    let (administrator, anna) = (server.administrator(), server.user("anna"));
    let before = outside(directory.path());
    for trick in TRICKS {
        let key = administrator.post("/api/v1/admin/keys", &json!({"user": trick, "scope": "user"}));
        assert_eq!(key.status, 422, "a key for {trick:?}: {}", key.text());
        let key = administrator.post("/api/v1/admin/keys", &json!({"user": "anna", "scope": "project", "project": trick}));
        assert!(matches!(key.status, 404 | 422), "a key for the project {trick:?}: {}: {}", key.status, key.text());
        let mut body = order("a trick");
        body["project_id"] = trick.into();
        let generate = anna.post("/api/v1/images/generate", &body);
        assert!(matches!(generate.status, 403 | 404 | 422), "in the project {trick:?}: {}: {}", generate.status, generate.text());
        body = order("a trick");
        body["model"] = trick.into();
        let generate = anna.post("/api/v1/images/generate", &body);
        assert!(matches!(generate.status, 403 | 404 | 422), "with the model {trick:?}: {}: {}", generate.status, generate.text());
        let encoded = encoded(trick);
        for path in ["admin/users", "admin/projects", "tasks"] {
            // Nobody of that name, or no such route: but never something else's contents.
            let answer = administrator.get(&format!("/api/v1/{path}/{encoded}"));
            let is_list = trick.is_empty() && answer.status == 200;
            assert!(is_list || (400..500).contains(&answer.status), "{path} of {trick:?}: {}: {}", answer.status, answer.text());
        }
        let usage = administrator.get(&format!("/api/v1/admin/usage?user={encoded}"));
        assert!(matches!(usage.status, 404 | 422), "usage of {trick:?}: {}: {}", usage.status, usage.text());
    }
    // A name that is only unusual is a name.
    let unusual = server.user("Anna.Lena_1-x@example.org");
    let task = unusual.submit(&order("fine"));
    assert!(unusual.ended(&task, JOB_LIMIT).is_completed());
    assert_eq!(outside(directory.path()), before, "nothing was written beside the server's own files");
}

#[test]
fn files_with_tricky_names_are_refused_by_name() {
    let _alone = trial::alone();
    for name in ["users/a b.yaml", "users/..yaml.yaml", "users/-x.yaml", "projects/ä.yaml", "projects/film.yml"] {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Server::new(directory.path(), "gpu_pool: {devices: [fake]}\n", &[]);
        let config = directory.path().join("config").join(name);
        fs::create_dir_all(config.parent().unwrap()).unwrap();
        fs::write(&config, "{}\n").unwrap();
        server.spawn();
        if name.starts_with("users/.") {
            // Hidden files are editors' business.
            server.wait_until_healthy();
            continue;
        }
        let status = trial::wait_for("the server ends", JOB_LIMIT, || server.ended());
        let (_, file) = name.split_once('/').unwrap();
        assert_eq!(status.code(), Some(2), "{name}: {}", server.log());
        assert!(server.log().contains(file), "{name}: {}", server.log());
    }
}

/// A name as it stands in a URL, every byte of it in numbers.
fn encoded(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02X}");
        text
    })
}

/// What lies below a directory, but for what belongs to the server.
fn outside(directory: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path()).collect()
}
