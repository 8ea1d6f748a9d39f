//! A file of packed weights, mapped.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{FORMAT_VERSION, HEADER_BYTES, Identity, Index, MAGIC, MOST_INDEX_BYTES, checksum};
use crate::error::{Error, Result, shortened};
use crate::ops::kernels::mapped::{MappedFile, MappedPiece};

/// Packed weights by name, in a file whose index was checked.
#[derive(Debug)]
pub(crate) struct PackedFile {
    path: PathBuf,
    map: Arc<MappedFile>,
    entries: BTreeMap<String, (u64, u64)>,
    damaged: AtomicBool,
}

impl PackedFile {
    /// Maps the file at `path`; `None` when there is none, when it was packed from something else, or when it is not as it should be.
    pub(crate) fn open(path: &Path, identity: &Identity) -> Option<Self> {
        let (file, length_bytes, index) = read_index(path)?;
        if index.identity != *identity {
            return None;
        }
        let map = MappedFile::new(&file).ok().filter(|map| map.length() as u64 == length_bytes)?;
        Some(Self { path: path.to_owned(), map: Arc::new(map), entries: index.entries, damaged: AtomicBool::new(false) })
    }

    /// The entry `name`, which must have `bytes` bytes.
    pub(crate) fn piece(&self, name: &str, bytes: usize) -> Result<MappedPiece> {
        let piece = self
            .entries
            .get(name)
            .filter(|(_, length)| *length == bytes as u64)
            .and_then(|(offset, _)| MappedPiece::of(&self.map, usize::try_from(*offset).ok()?, bytes));
        piece.ok_or_else(|| {
            self.damaged.store(true, Ordering::Relaxed);
            Error::Malformed { path: self.path.clone(), reason: format!("no {bytes} bytes of {}", shortened(name)) }
        })
    }

    /// Whether something was asked for in vain: the index says less than the model's layers need.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Bytes of the file.
    pub(crate) fn length_bytes(&self) -> u64 {
        self.map.length() as u64
    }
}

/// What a file says that it was packed from; `None` when it is not a file of packed weights, or not a whole one.
pub(super) fn read_identity(path: &Path) -> Option<Identity> {
    Some(read_index(path)?.2.identity)
}

/// Opens a file and reads its index. Nothing that the file says of itself is believed before it was compared with its length.
fn read_index(path: &Path) -> Option<(File, u64, Index)> {
    // Asked first, because opening a pipe would wait for its other end.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let file = File::open(path).ok()?;
    let length_bytes = file.metadata().ok()?.len();
    let mut header = [0; HEADER_BYTES as usize];
    file.read_exact_at(&mut header, 0).ok()?;
    let (magic, fields) = header.split_first_chunk()?;
    let (fields, _) = fields.as_chunks();
    let field = |index: usize| fields.get(index).copied().map(u64::from_le_bytes);
    let (offset, index_bytes) = (field(1)?, field(2)?);
    let whole = *magic == MAGIC
        && field(0)? == FORMAT_VERSION
        && field(4)? == length_bytes
        && offset >= HEADER_BYTES
        && index_bytes <= MOST_INDEX_BYTES
        && offset.checked_add(index_bytes)? == length_bytes;
    if !whole {
        return None;
    }
    let mut text = vec![0; index_bytes as usize];
    file.read_exact_at(&mut text, offset).ok()?;
    if checksum(&text) != field(3)? {
        return None;
    }
    let index: Index = serde_json::from_slice(&text).ok()?;
    let lies_within =
        |(start, length): &(u64, u64)| *start >= HEADER_BYTES && start.checked_add(*length).is_some_and(|end| end <= offset);
    index.entries.values().all(lies_within).then_some((file, length_bytes, index))
}
