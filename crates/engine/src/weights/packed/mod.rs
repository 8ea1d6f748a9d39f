//! Packed weights in files that all processes of a machine map and share.
//!
//! The CPU kernels want weights in an order of their own. Packing takes a while, and memory in every process that does it. So a model
//! is packed once into a file of the cache's directory, and from then on mapped: loading is nearly free, the pages are in memory once
//! however many processes compute with the model, and the system's page cache is what keeps recently used models warm.
//!
//! - `identity`: what a file was packed from, and for which kernels; another identity is another file;
//! - `writer`, `file`: the format, written and read;
//! - `cache`: the directory; packing once under a lock; what upkeep wants to know.
//!
//! Invariants:
//! - a file appears whole under its name or not at all: it is written under another name, synced, and renamed;
//! - a file is never written to or truncated once it has its name, only replaced or removed by name: other processes have it mapped;
//! - what a file says of itself is checked before it is believed; a file that is not right is packed again;
//! - that a file cannot be written is no reason not to load the model.

mod cache;
mod file;
mod identity;
mod writer;

pub use cache::{PackedCache, PackedListing, PackedUse};
pub(crate) use file::PackedFile;
pub(crate) use identity::Identity;
pub(crate) use writer::PackedWriter;

/// What stands beside a source of tensors while a model is built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Packed<'a> {
    /// Layers take their weights from this file, and nothing from the source.
    Mapped(&'a PackedFile),
    /// Layers pack what the source gives into this file, and keep nothing: they are as if declared.
    Writing(&'a PackedWriter),
}

/// The first bytes of every file.
const MAGIC: [u8; 8] = *b"FWPACKED";
/// Version of the format of files (of the order of weights within: `packing_format`).
const FORMAT_VERSION: u64 = 1;
/// Bytes of the header: magic, then version, offset and length of the index, its checksum, and length of the file, each 8 bytes
/// little-endian; zeros up to the first entry.
const HEADER_BYTES: u64 = 64;
/// Far more than the index of any model: SDXL's has 300 KB.
const MOST_INDEX_BYTES: u64 = 64 << 20;

/// The index: JSON at the end of a file.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Index {
    identity: Identity,
    /// Name → first byte and length in bytes.
    entries: std::collections::BTreeMap<String, (u64, u64)>,
}

/// The checksum of an index.
fn checksum(index: &[u8]) -> u64 {
    let mut hash = crate::fingerprint::Fingerprint::default();
    hash.bytes(index);
    hash.finish()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
