//! A file that gets its name once it is whole.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

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
    /// Begins a file, over what an earlier try may have left.
    pub(super) async fn create(path: &Path) -> io::Result<Self> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(UNFINISHED);
        let temporary = PathBuf::from(temporary);
        let file = File::create(&temporary).await?;
        Ok(Self { file, temporary, path: path.to_owned(), length_bytes: 0, is_kept: false })
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
            // What cannot be removed is overwritten by the next try.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}
