//! Tiny checkpoints of Stable Video Diffusion.

#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::fs;
use std::path::Path;

use framewright_engine::weights::RandomWeights;
use tempfile::TempDir;

use crate::support;

/// `svd_checkpoints/NAME` as a user would have it on disk: the committed configuration, weights by formula.
pub(crate) fn checkpoint(name: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let source = support::fixtures().join("svd_checkpoints").join(name);
    copy_json(&source, directory.path());
    let golden = support::json(source.join("golden.json"));
    for (component, salt) in golden["salts"].as_object().unwrap() {
        let weights = RandomWeights::salted(salt.as_str().unwrap());
        let path = directory.path().join(component).join(format!("{}.safetensors", support::stem(component)));
        let tensors = support::manifest(&source.join(component).join("tensors.tsv"));
        support::write_weights(&path, &tensors, &weights, golden["stored"] == "f16");
    }
    directory
}

/// Every JSON file under `from`, but for what only tests read.
fn copy_json(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_json(&path, &target);
        } else if path.extension().is_some_and(|ending| ending == "json") && !path.ends_with("golden.json") {
            fs::copy(&path, target).unwrap();
        }
    }
}
