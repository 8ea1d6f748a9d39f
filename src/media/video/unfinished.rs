//! A file that appears under its name only when it is whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A file being written beside its place. Dropped before [`Unfinished::publish`], it vanishes.
#[derive(Debug)]
pub(super) struct Unfinished {
    destination: PathBuf,
    path: PathBuf,
    published: bool,
}

impl Unfinished {
    /// A name beside the destination: the same with `.partial` behind it.
    pub(super) fn new(destination: &Path) -> Self {
        let mut name = OsString::from(destination);
        name.push(".partial");
        Self { destination: destination.to_owned(), path: PathBuf::from(name), published: false }
    }

    /// Where it shall be.
    pub(super) fn destination(&self) -> &Path {
        &self.destination
    }

    /// Where to write.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the file to disk and puts it in its place.
    pub(super) fn publish(mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        fs::rename(&self.path, &self.destination)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.published {
            // It may never have been made.
            let _ = fs::remove_file(&self.path);
        }
    }
}
