//! Parameters that lie in a mapped file instead of in memory of their own.
//!
//! A map is shared and read-only: every process that maps the same file sees the same pages of the system's cache, so the weights of a
//! model are in memory once, however many processes compute with it, and the system can drop and read them again as it likes.
//!
//! Hazard: a file that is changed or truncated under a map changes the weights, or ends the process with SIGBUS. Nothing can guard
//! against that from within; it is ruled out by how the files are kept (`weights::packed`): in a directory that only this user can
//! write to, written once under another name, never opened for writing again, and only ever replaced or removed by name, which leaves
//! the mapped pages as they are.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

use memmap2::Mmap;

use super::memory::{AlignedMemory, Plain};

/// A file, mapped read-only.
pub(crate) struct MappedFile(Mmap);

impl MappedFile {
    /// Maps the whole of `file`, whose contents must not change from now on (see the module).
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: by the rules that the module states, nobody writes to or truncates the file.
        let map = unsafe { Mmap::map(file) }?;
        // Fewer address look-ups, on file systems that have huge pages; elsewhere it is refused, and nothing is lost.
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::HugePage).unwrap_or_default();
        Ok(Self(map))
    }

    /// Bytes of the map.
    pub(crate) fn length(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MappedFile({} bytes)", self.length())
    }
}

/// A piece of a mapped file, aligned for every type that kernels read. Keeps the map alive.
#[derive(Clone, Debug)]
pub(crate) struct MappedPiece {
    file: Arc<MappedFile>,
    start: usize,
    bytes: usize,
}

impl MappedPiece {
    /// Every piece starts at a multiple of this: a cache line.
    pub(crate) const ALIGNMENT: usize = 64;

    /// `bytes` bytes from `start` on; `None` outside of the file or where no piece may start.
    pub(crate) fn of(file: &Arc<MappedFile>, start: usize, bytes: usize) -> Option<Self> {
        let fits = start.is_multiple_of(Self::ALIGNMENT) && start.checked_add(bytes)? <= file.length();
        fits.then(|| Self { file: Arc::clone(file), start, bytes })
    }

    /// The first `length` values.
    pub(crate) fn values<T: Plain>(&self, length: usize) -> &[T] {
        let bytes = &self.file.0[self.start..self.start + self.bytes];
        // SAFETY: any bits are a `T`.
        let (before, values, _) = unsafe { bytes.align_to::<T>() };
        assert!(before.is_empty(), "maps begin at a page and pieces at a cache line");
        &values[..length]
    }
}

/// Memory that a layer reads for as long as it lives.
#[derive(Debug)]
pub(crate) enum Parameters {
    /// Of this process.
    Owned(AlignedMemory),
    /// Of a file.
    Mapped(MappedPiece),
}

impl Parameters {
    /// The first `length` values.
    pub(crate) fn values<T: Plain>(&self, length: usize) -> &[T] {
        match self {
            Self::Owned(memory) => memory.values(length),
            Self::Mapped(piece) => piece.values(length),
        }
    }
}

/// f32 values that a layer reads for as long as it lives: biases, the affine parts of norms, embedding tables.
#[derive(Debug)]
pub(crate) enum Floats {
    /// Of this process.
    Owned(Vec<f32>),
    /// The whole of a piece of a file.
    Mapped(MappedPiece),
}

impl Default for Floats {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}

impl Deref for Floats {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match self {
            Self::Owned(values) => values,
            Self::Mapped(piece) => piece.values(piece.bytes / size_of::<f32>()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn pieces_stay_within_their_file_and_outlive_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let values: Vec<f32> = (0..100_u8).map(f32::from).collect();
        File::create(&path).unwrap().write_all(super::super::memory::as_bytes(&values)).unwrap();
        let file = Arc::new(MappedFile::new(&File::open(&path).unwrap()).unwrap());
        assert_eq!(file.length(), 400);
        let piece = |start, bytes| MappedPiece::of(&file, start, bytes);
        for (start, bytes) in [(4, 8), (448, 0), (384, 17), (0, 401), (64, usize::MAX), (usize::MAX & !63, 64)] {
            assert!(piece(start, bytes).is_none(), "{bytes} from {start}");
        }
        let floats = Floats::Mapped(piece(64, 336).unwrap());
        let shorter = Parameters::Mapped(piece(384, 16).unwrap());
        drop(file);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(*floats, values[16..]);
        assert_eq!(*shorter.values::<f32>(3), values[96..99]);
    }

    #[test]
    #[should_panic(expected = "range end index 5")]
    fn more_values_than_a_piece_has_are_never_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        File::create(&path).unwrap().write_all(&[0; 64]).unwrap();
        let file = Arc::new(MappedFile::new(&File::open(&path).unwrap()).unwrap());
        MappedPiece::of(&file, 0, 16).unwrap().values::<f32>(5);
    }
}
