//! The `.yaml` files of a directory: which there are, how they look from outside, and what is in them.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::ConfigError;

/// Files that a directory may have.
const MOST_FILES: usize = 10_000;
/// Bytes that a file may have: a policy is a few lines, and lists of models are not long.
const MOST_BYTES: u64 = 64 * 1024;
const EXTENSION: &str = "yaml";

/// A `.yaml` file of a directory.
#[derive(Clone, Debug)]
pub(super) struct TenantFile {
    /// Its name in the directory.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
}

/// How a file looks from outside; another look means that it may have been changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
    /// A file that was put into another's place has another number, even where time and size are the same.
    number: u64,
}

/// The `.yaml` files of a directory, by name. Hidden files, and those that end otherwise, are none of ours, but for `.yml` and
/// `.YAML`, which are refused rather than passed over: a limit that is not read is a limit that does not hold. `None`: there is no such
/// directory.
pub(super) fn files(directory: &Path) -> Result<Option<Vec<TenantFile>>, ConfigError> {
    files_up_to(MOST_FILES, directory)
}

fn files_up_to(most: usize, directory: &Path) -> Result<Option<Vec<TenantFile>>, ConfigError> {
    let unreadable = |source| ConfigError::Unlisted { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let file = TenantFile { path: entry.path(), name };
        if file.name.starts_with('.') {
            continue;
        }
        match file.path.extension().and_then(OsStr::to_str) {
            Some(EXTENSION) => files.push(file),
            Some(other) if other.eq_ignore_ascii_case("yml") || other.eq_ignore_ascii_case(EXTENSION) => {
                return Err(file.refused(format!("rename it: its name must end in .{EXTENSION}")));
            }
            _ => {}
        }
        if files.len() > most {
            return Err(ConfigError::Refused {
                path: directory.to_owned(),
                reason: format!("has more than {most} .{EXTENSION} files"),
            });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Some(files))
}

impl TenantFile {
    /// The name without its ending.
    pub(super) fn stem(&self) -> &str {
        self.name.strip_suffix(".yaml").unwrap_or(&self.name)
    }

    /// A refusal of the whole file.
    pub(super) fn refused(&self, reason: impl Display) -> ConfigError {
        ConfigError::Refused { path: self.path.clone(), reason: reason.to_string() }
    }

    /// How it looks.
    pub(super) fn look(&self) -> Result<Look, String> {
        let metadata = fs::metadata(&self.path).map_err(|error| format!("{}: {error}", self.path.display()))?;
        Ok(Look {
            path: self.path.clone(),
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            number: file_number(&metadata),
        })
    }

    /// Its text. What is not a regular file is not even opened: a pipe would wait for ever.
    pub(super) fn read(&self) -> Result<String, ConfigError> {
        let unreadable = |source: io::Error| self.refused(format!("cannot be read: {source}"));
        if !fs::metadata(&self.path).map_err(unreadable)?.is_file() {
            return Err(self.refused("is not a file"));
        }
        let mut text = String::new();
        // The size may have changed since it was asked for.
        let read =
            File::open(&self.path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text)).map_err(unreadable)?;
        if read as u64 > MOST_BYTES {
            return Err(self.refused(format!("has more than {MOST_BYTES} bytes")));
        }
        Ok(text)
    }
}

#[cfg(unix)]
fn file_number(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn file_number(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_by_name_and_not_without_end() {
        let place = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yaml", "README", ".c.yaml", "c.yaml"] {
            fs::write(place.path().join(name), "").unwrap();
        }
        let names: Vec<String> = files_up_to(3, place.path()).unwrap().unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["a.yaml", "b.yaml", "c.yaml"]);
        let message = files_up_to(2, place.path()).unwrap_err().to_string();
        assert!(message.ends_with(": has more than 2 .yaml files"), "{message}");
        assert!(files(&place.path().join("nowhere")).unwrap().is_none());
    }
}
