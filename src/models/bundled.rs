//! The demo models that are inside the binary.

use std::io;
use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;

use crate::domain::Sha256Digest;

/// The demo models' names: pictures, clips.
pub const DEMO_MODELS: [&str; 2] = ["demo-sdxl", "demo-svd"];

/// Their files. In debug builds they are read from the source tree; a build without the folder has no demo models.
#[derive(RustEmbed)]
#[folder = "models"]
#[include = "demo-sdxl/*"]
#[include = "demo-svd/*"]
#[allow_missing = true]
struct DemoFiles;

/// Writes the demo models below `models_directory`, once for each content, and gives the directory that they lie in
/// (`.bundled/<hash>`, to be put on the search path). `None` in a build without it.
///
/// The directory appears whole or not at all: files go to a temporary name first, and a rename publishes them.
pub fn unpack(models_directory: &Path) -> io::Result<Option<PathBuf>> {
    let mut names: Vec<String> = DemoFiles::iter().map(Into::into).collect();
    names.sort();
    let files: Vec<_> = names.into_iter().filter_map(|name| DemoFiles::get(&name).map(|file| (name, file))).collect();
    if !files.iter().any(|(name, _)| name.ends_with("/model_index.json")) {
        return Ok(None);
    }
    let listing: Vec<String> =
        files.iter().map(|(name, file)| format!("{} {name}", Sha256Digest(file.metadata.sha256_hash()))).collect();
    let digest = Sha256Digest::of(listing.join("\n").as_bytes()).short(16);
    let bundled = models_directory.join(".bundled");
    let home = bundled.join(&digest);
    if home.is_dir() {
        return Ok(Some(home));
    }
    let temporary = bundled.join(format!(".{digest}.{}", std::process::id()));
    for (name, file) in &files {
        let path = temporary.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, &file.data)?;
    }
    match std::fs::rename(&temporary, &home) {
        Ok(()) => {}
        // Another process was faster; its files are the same.
        Err(_) if home.is_dir() => std::fs::remove_dir_all(&temporary)?,
        Err(error) => return Err(error),
    }
    Ok(Some(home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_unpacked_once_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let Some(home) = unpack(directory.path()).unwrap() else { return };
        let index = home.join(DEMO_MODELS[0]).join("model_index.json");
        assert!(index.is_file());
        assert_eq!(home.parent().unwrap().read_dir().unwrap().count(), 1, "no temporary directory stays");
        std::fs::write(&index, "touched").unwrap();
        assert_eq!(unpack(directory.path()).unwrap(), Some(home));
        assert_eq!(std::fs::read(&index).unwrap(), b"touched", "not written again");
    }
}
