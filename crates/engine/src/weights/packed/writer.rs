//! Writing a file of packed weights, entry by entry.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{FORMAT_VERSION, HEADER_BYTES, Identity, Index, MAGIC, checksum};
use crate::error::{Error, Result};
use crate::ops::kernels::mapped::MappedPiece;

/// A file under a name of its own, until it is published. Dropped before that, it is removed.
#[derive(Debug)]
pub(crate) struct PackedWriter {
    path: PathBuf,
    file: File,
    most_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the last entry ends.
    end: u64,
    entries: BTreeMap<String, (u64, u64)>,
    /// Why an entry could not be written.
    failure: Option<String>,
}

impl PackedWriter {
    /// A new file at `path`, which nobody else writes to at the same time, of at most `most_bytes`.
    pub(crate) fn create(path: PathBuf, most_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let state = Mutex::new(State { end: HEADER_BYTES, ..State::default() });
        Ok(Self { path, file, most_bytes, state })
    }

    /// Appends an entry.
    pub(crate) fn put(&self, name: String, bytes: &[u8]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let start = state.end.next_multiple_of(MappedPiece::ALIGNMENT as u64);
        let length = bytes.len() as u64;
        let written = if start.saturating_add(length) > self.most_bytes {
            Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("it would take more than the {} bytes allowed", self.most_bytes),
            ))
        } else {
            self.file.write_all_at(bytes, start)
        };
        if let Err(error) = written {
            state.failure = Some(error.to_string());
            return Err(self.error(error.to_string()));
        }
        state.end = start + length;
        if state.entries.insert(name, (start, length)).is_some() {
            return Err(self.error("two layers of one name".to_owned()));
        }
        Ok(())
    }

    /// Why an entry could not be written, if that was so: the model itself may be in order.
    pub(crate) fn failure(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failure.clone()
    }

    /// Writes index and header, makes sure that all is on the disk, and gives the file its name, replacing what has it.
    pub(crate) fn publish(self, target: &Path, identity: &Identity) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let index = Index { identity: identity.clone(), entries: std::mem::take(&mut state.entries) };
        let text = serde_json::to_vec(&index)?;
        let offset = state.end.next_multiple_of(MappedPiece::ALIGNMENT as u64);
        let length = text.len() as u64;
        self.file.write_all_at(&text, offset)?;
        let fields = [FORMAT_VERSION, offset, length, checksum(&text), offset + length];
        let header: Vec<u8> = MAGIC.into_iter().chain(fields.into_iter().flat_map(u64::to_le_bytes)).collect();
        self.file.write_all_at(&header, 0)?;
        self.file.sync_all()?;
        fs::rename(&self.path, target)?;
        // The name, too.
        if let Some(directory) = target.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    fn error(&self, reason: String) -> Error {
        Error::Malformed { path: self.path.clone(), reason }
    }
}

impl Drop for PackedWriter {
    fn drop(&mut self) {
        // Published, it has another name, and there is nothing to remove.
        fs::remove_file(&self.path).unwrap_or_default();
    }
}
