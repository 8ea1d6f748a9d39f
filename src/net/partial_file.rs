//! A file that gets its name once it is whole.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

/// What is added to a file's name until it is whole; the storage knows it, and removes what was left.
const UNFINISHED: &str = ".partial";

/// A file under construction. Dropped before it is kept, it is removed.
#[derive(Debug)]
pub(super) struct PartialFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    length_bytes: u64,
    is_kept: bool,
}

impl PartialFile {
    /// Begins a file under a name that no other try has.
    pub(super) async fn create(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}{UNFINISHED}", Uuid::now_v7().simple()));
        let temporary = PathBuf::from(temporary);
        // The thread that opens the file makes its guard too: a caller that goes meanwhile leaves no file.
        let create = tokio::task::spawn_blocking(move || {
            let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
            Ok(Self { file: File::from_std(file), temporary, path, length_bytes: 0, is_kept: false })
        });
        create.await?
    }

    /// Adds bytes at the end.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        self.length_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Brings the file to the disk, under its name; its length in bytes.
    pub(super) async fn keep(mut self) -> io::Result<u64> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        fs::rename(&self.temporary, &self.path).await?;
        self.is_kept = true;
        // The new name survives a power loss with its directory.
        let directory = self.path.parent().filter(|directory| !directory.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new("."))).await?.sync_all().await?;
        Ok(self.length_bytes)
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed is left to the storage.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}
