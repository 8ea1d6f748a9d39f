//! Holds what the design says of the sources and no compiler checks: who may use whom, how long a file may be, what may stand where.
//!
//! When one of these fails, either the code took a short cut or the design has changed; then change the table here, `ARCHITECTURE.md`
//! and the code together.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a file may have at most.
const MOST_LINES: usize = 800;
/// Lines a file should have at most; longer ones are listed, not refused.
const TARGET_LINES: usize = 500;

/// Module → modules of this crate that it may use. `app` and `cli` may use all; nobody may use them, nor `api`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("config", &["routes", "domain"]),
    ("telemetry", &["domain"]),
    ("database", &["domain"]),
    ("tenants", &["database", "domain"]),
    ("ledger", &["database", "domain"]),
    ("storage", &["domain"]),
    ("media", &["domain"]),
    ("net", &["domain"]),
    ("quota", &["domain"]),
    ("routes", &["domain"]),
    ("providers", &["net", "domain"]),
    ("models", &["net", "domain"]),
    ("jobs", &["database", "ledger", "quota", "net", "storage", "domain"]),
    ("webhooks", &["jobs", "database", "net", "domain"]),
    ("execution", &["providers", "models", "media", "storage", "net", "ledger", "domain"]),
    ("scheduler", &["jobs", "execution", "models", "quota", "media", "storage", "domain"]),
    (
        "api",
        &[
            "jobs",
            "scheduler",
            "execution::ExecutorHealth",
            "execution::remote",
            "ledger",
            "providers",
            "routes",
            "quota",
            "tenants",
            "models",
            "storage",
            "media",
            "net",
            "webhooks",
            "telemetry",
            "domain",
        ],
    ),
    ("app", &["*"]),
    ("cli", &["*"]),
];

/// Modules that may use the engine: the others speak of pictures and models in words of their own.
const MAY_USE_ENGINE: &[&str] = &["app", "cli", "execution", "models", "scheduler"];

/// Names that say nothing about what a file answers for.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "manager", "common", "misc"];

/// What may stand only in some places: a text, and the beginnings of paths where it is allowed.
const ONLY_IN: &[(&str, &[&str])] = &[
    // Workers are handed a part of it, which nobody reads here.
    ("std::env::var", &["src/config/", "src/execution/process/child.rs"]),
    ("env::vars", &["src/config/", "src/execution/process/child.rs"]),
    ("dotenvy::", &["src/config/"]),
    ("serde_saphyr::", &["src/config/yaml.rs"]),
    ("reqwest::", &["src/net/", "src/cli/generate/remote.rs", "src/cli/server_client.rs", "src/cli/jobs.rs"]),
    ("unsafe {", &["crates/engine/src/ops/kernels/"]),
    ("unsafe fn", &["crates/engine/src/ops/kernels/"]),
    ("unsafe impl", &["crates/engine/src/ops/kernels/"]),
    ("#[allow(", &[]),
    ("tokio::spawn(", &[]),
];

/// What the device worker must not know of: it is a device and no server.
const FOREIGN_TO_WORKER: &[&str] =
    &["tokio", "axum", "sqlx", "reqwest", "hyper", "tower", "serde_saphyr", "clap", "async_trait", "framewright"];

/// What the engine must not know of.
const FOREIGN_TO_ENGINE: &[&str] =
    &["tokio", "axum", "sqlx", "reqwest", "hyper", "tower", "serde_saphyr", "tracing", "clap", "async_trait", "framewright"];

struct Source {
    /// Relative to the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// The lines that are neither comments nor tests. `#[cfg(test)]` begins the tests at a file's end.
    fn code(&self) -> String {
        let lines = self.text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
        lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
            || self.path.contains("/tests/")
            || self.path.contains("/conformance/")
            || self.path.ends_with("/conformance.rs")
    }

    fn module(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        rest.split_once('/').map(|(module, _)| module)
    }
}

/// Where the product's code lies.
const CODE: &[&str] = &["src", "crates/engine/src", "crates/device-worker/src"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directories: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = directories.iter().map(|directory| root().join(directory)).collect();
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                found.push(Source { path: relative, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty());
    found
}

/// Modules named after `crate::` in a text, with what follows them: `jobs::store::database::Database`.
fn uses_of(code: &str) -> BTreeSet<String> {
    let mut uses = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|character| character.is_alphanumeric() || character == '_' || character == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            // use crate::{a::b, c}: the first name of each branch.
            let mut depth = 0;
            let mut branch = String::new();
            for character in group.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        uses.insert(std::mem::take(&mut branch).trim().to_owned());
                        continue;
                    }
                    _ => {}
                }
                branch.push(character);
            }
            uses.insert(branch.trim().to_owned());
        } else {
            let path: String =
                rest.chars().take_while(|character| character.is_alphanumeric() || matches!(character, '_' | ':')).collect();
            uses.insert(path);
        }
    }
    uses.remove("");
    uses
}

fn allows(allowed: &[&str], used: &str) -> bool {
    allowed
        .iter()
        .any(|entry| *entry == "*" || used == *entry || used.strip_prefix(entry).is_some_and(|rest| rest.starts_with("::")))
}

fn report(what: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{what}:\n  {}\n", violations.join("\n  "));
}

#[test]
fn modules_use_only_what_the_design_allows() {
    let modules: BTreeSet<&str> = MAY_USE.iter().map(|(module, _)| *module).collect();
    let mut violations = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !source.is_test()) {
        let Some(module) = source.module() else { continue };
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            violations.push(format!("{}: the module '{module}' is not in the table", source.path));
            continue;
        };
        let code = source.code();
        for used in uses_of(&code) {
            let first = used.split("::").next().unwrap_or_default();
            if first != module && modules.contains(first) && !allows(allowed, &used) {
                violations.push(format!("{}: '{module}' may not use '{used}'", source.path));
            }
        }
        if code.contains("framewright_engine") && !MAY_USE_ENGINE.contains(&module) {
            violations.push(format!("{}: '{module}' may not use the engine", source.path));
        }
    }
    report("dependency direction", &violations);
}

/// Where a package depends on what it must not know, in its manifest or its sources.
fn foreign_uses(package: &str, foreign: &[&str]) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
    let sources = sources(&[&format!("{package}/src")]);
    let mut violations = Vec::new();
    for foreign in foreign {
        if manifest.lines().any(|line| line.split(['=', '.', ' ']).next() == Some(foreign)) {
            violations.push(format!("{package}/Cargo.toml depends on {foreign}"));
        }
        let used = format!("{foreign}::");
        // `framewright_engine::` and the like are other names.
        let uses = |source: &&Source| {
            let code = source.code();
            code.match_indices(&used)
                .any(|(at, _)| !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'))
        };
        violations.extend(sources.iter().filter(uses).map(|source| format!("{}: uses {foreign}", source.path)));
    }
    violations
}

#[test]
fn the_engine_knows_nothing_of_servers() {
    report("the engine", &foreign_uses("crates/engine", FOREIGN_TO_ENGINE));
}

#[test]
fn a_device_worker_is_no_server() {
    report("the device worker", &foreign_uses("crates/device-worker", FOREIGN_TO_WORKER));
}

#[test]
fn some_things_stand_only_in_their_place() {
    let mut violations = Vec::new();
    for source in sources(CODE).iter().filter(|source| !source.is_test()) {
        let code = source.code();
        for (text, places) in ONLY_IN {
            if code.contains(text) && !places.iter().any(|place| source.path.starts_with(place)) {
                let where_to = if places.is_empty() { "nowhere".to_owned() } else { places.join(", ") };
                violations.push(format!("{}: '{text}' belongs in {where_to}", source.path));
            }
        }
    }
    report("misplaced", &violations);
}

#[test]
fn files_are_short_and_named_after_what_they_hold() {
    let mut violations = Vec::new();
    for source in sources(&["src", "crates", "tests"]) {
        let lines = source.text.lines().count();
        if lines > MOST_LINES {
            violations.push(format!("{}: {lines} lines; at most {MOST_LINES}", source.path));
        } else if lines > TARGET_LINES {
            println!("{}: {lines} lines; the target is {TARGET_LINES}", source.path);
        }
        let parts = source.path.trim_end_matches(".rs").split('/');
        if let Some(name) = parts.into_iter().find(|part| EMPTY_NAMES.contains(part)) {
            violations.push(format!("{}: '{name}' says nothing", source.path));
        }
    }
    report("files", &violations);
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut violations = Vec::new();
    for source in sources(CODE).iter().filter(|source| !source.is_test()) {
        let first = source.text.lines().next().unwrap_or_default();
        if !first.starts_with("//!") || first.len() < 12 {
            violations.push(format!("{}: begins without a //! line", source.path));
        }
    }
    report("documentation", &violations);
}

#[test]
fn the_repository_has_its_documents() {
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "migrations/README.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        ".env.example",
        "deny.toml",
    ];
    let missing: Vec<String> = documents
        .into_iter()
        .filter(|name| fs::metadata(root().join(name)).map_or(0, |metadata| metadata.len()) < 200)
        .map(ToOwned::to_owned)
        .collect();
    report("missing or empty", &missing);
}

#[test]
fn uses_are_found_in_every_form() {
    let code = "use crate::domain::Job;\nuse crate::{api::error, jobs::{self, store::X}, media};\nlet x = crate::net::fetch();\npub(crate) fn f() {}";
    let uses: Vec<String> = uses_of(code).into_iter().map(|used| used.split("::").next().unwrap().to_owned()).collect();
    assert_eq!(uses, ["api", "domain", "jobs", "media", "net"]);
    assert!(allows(&["jobs::store::database"], "jobs::store::database::Database"));
    assert!(!allows(&["jobs::store::database"], "jobs::service"));
    assert!(!allows(&["net"], "network"));
}
