//! The demo model that is inside the binary.

use std::io;
use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;

use crate::domain::Sha256Digest;

/// The demo model's name.
pub const DEMO_MODEL: &str = "demo-sdxl";

/// Its files. In debug builds they are read from the source tree; a build without the folder has no demo model.
#[derive(RustEmbed)]
#[folder = "models/demo-sdxl"]
#[allow_missing = true]
struct DemoFiles;

/// Writes the demo model below `models_directory`, once for each content, and gives the directory that it lies in
/// (`.bundled/<hash>`, to be put on the search path). `None` in a build without it.
///
/// The directory appears whole or not at all: files go to a temporary name first, and a rename publishes them.
pub fn unpack(models_directory: &Path) -> io::Result<Option<PathBuf>> {
    let mut names: Vec<String> = DemoFiles::iter().map(Into::into).collect();
    names.sort();
    let files: Vec<_> = names.into_iter().filter_map(|name| DemoFiles::get(&name).map(|file| (name, file))).collect();
    if !files.iter().any(|(name, _)| name == "model_index.json") {
        return Ok(None);
    }
    let listing: Vec<String> =
        files.iter().map(|(name, file)| format!("{} {name}", Sha256Digest(file.metadata.sha256_hash()))).collect();
    let home = models_directory.join(".bundled").join(Sha256Digest::of(listing.join("\n").as_bytes()).short(16));
    let target = home.join(DEMO_MODEL);
    if target.is_dir() {
        return Ok(Some(home));
    }
    std::fs::create_dir_all(&home)?;
    let temporary = home.join(format!(".{DEMO_MODEL}.{}", std::process::id()));
    for (name, file) in &files {
        let path = temporary.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, &file.data)?;
    }
    match std::fs::rename(&temporary, &target) {
        Ok(()) => {}
        // Another process was faster; its files are the same.
        Err(_) if target.is_dir() => std::fs::remove_dir_all(&temporary)?,
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
        let index = home.join(DEMO_MODEL).join("model_index.json");
        assert!(index.is_file());
        assert_eq!(home.read_dir().unwrap().count(), 1, "no temporary directory stays");
        std::fs::write(&index, "touched").unwrap();
        assert_eq!(unpack(directory.path()).unwrap(), Some(home));
        assert_eq!(std::fs::read(&index).unwrap(), b"touched", "not written again");
    }
}
