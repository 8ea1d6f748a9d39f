//! Notices that a file was changed.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::ConfigError;

/// How a file is read and understood.
type Load<T> = Box<dyn Fn() -> Result<T, ConfigError> + Send>;
/// Which other files settings are read from.
type Others<T> = fn(&T) -> Vec<PathBuf>;

/// A file of settings, and those that it names, to be looked at every second or two.
pub struct WatchedFile<T> {
    /// None: there is nothing to look at.
    file: Option<PathBuf>,
    load: Load<T>,
    others_of: Others<T>,
    /// The files that it names.
    others: Vec<PathBuf>,
    /// How they all looked when they were last read, the file itself first.
    read: Vec<Look>,
    /// How they looked the last time, if that was not how they were last read.
    pending: Option<Vec<Look>>,
    /// Whether it could not be taken, and why.
    broken: Option<String>,
}

/// How the file looks from outside; none: it is not there.
type Look = Option<(u64, Option<SystemTime>, u64)>;

/// What a change of the file means.
#[derive(Debug)]
pub enum FileChange<T> {
    /// New settings, to be put in force.
    Settings(T),
    /// The file is broken, or broken otherwise than before: the old settings stay in force. To be logged, once.
    Broken(ConfigError),
}

impl<T> fmt::Debug for WatchedFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedFile").field("file", &self.file).field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl<T> WatchedFile<T> {
    /// Reads the file for the first time; a broken one is an error. Blocking.
    pub fn open(
        file: Option<PathBuf>,
        load: impl Fn() -> Result<T, ConfigError> + Send + 'static,
        others_of: Others<T>,
    ) -> Result<(Self, T), ConfigError> {
        // Looked at before it is read: what changes in between is read again.
        let before = file.as_deref().map(look);
        let settings = load()?;
        let others = others_of(&settings);
        let read = before.into_iter().chain(others.iter().map(|path| look(path))).collect();
        Ok((Self { file, load: Box::new(load), others_of, others, read, pending: None, broken: None }, settings))
    }

    /// What changed since the last call. A change is taken when the file looks the same on two calls in a row, so that one that is being
    /// written is not taken half. A file that is gone leaves the old settings in force. Blocking, for a short time.
    pub fn changed(&mut self) -> Option<FileChange<T>> {
        let file = self.file.clone()?;
        let now = self.looks(&file);
        if now == self.read && self.broken.is_none() {
            self.pending = None;
            return None;
        }
        if now != self.read && self.pending.as_ref() != Some(&now) {
            self.pending = Some(now);
            return None;
        }
        let is_there = now.first().is_some_and(Option::is_some);
        let was_there = self.read.first().is_some_and(Option::is_some);
        self.read = now;
        self.pending = None;
        let loaded = if !is_there && (was_there || self.broken.is_some()) {
            Err(ConfigError::Refused {
                path: file.clone(),
                reason: "is not there any more; what it said stays in force".to_owned(),
            })
        } else {
            (self.load)()
        };
        match loaded {
            Ok(settings) => {
                self.broken = None;
                self.others = (self.others_of)(&settings);
                self.read.truncate(1);
                self.read.extend(self.others.iter().map(|path| look(path)));
                Some(FileChange::Settings(settings))
            }
            Err(error) => {
                let reason = error.to_string();
                let is_known = self.broken.as_ref() == Some(&reason);
                self.broken = Some(reason);
                (!is_known).then_some(FileChange::Broken(error))
            }
        }
    }

    /// How all files look.
    fn looks(&self, file: &Path) -> Vec<Look> {
        [file].into_iter().chain(self.others.iter().map(PathBuf::as_path)).map(look).collect()
    }
}

fn look(file: &Path) -> Look {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.len(), metadata.modified().ok(), number(&metadata)))
}

#[cfg(unix)]
fn number(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn number(_: &fs::Metadata) -> u64 {
    0
}
