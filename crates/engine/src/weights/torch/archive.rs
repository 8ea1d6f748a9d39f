//! A zip archive whose members are stored as they are, as `torch.save` writes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// The end-of-directory record without its comment, and the longest comment.
const END_BYTES: usize = 22;
const MOST_COMMENT_BYTES: usize = u16::MAX as usize;
/// The record that says where the 64-bit one lies, and that one.
const LOCATOR_BYTES: usize = 20;
const WIDE_END_BYTES: usize = 56;
/// An entry of the directory, and the header before a member, both without name and extras.
const ENTRY_BYTES: usize = 46;
const HEADER_BYTES: usize = 30;
/// A name of 60 bytes makes 110 of an entry; the largest models have a few thousand tensors.
const MOST_DIRECTORY_BYTES: u64 = 16 << 20;
/// Stands where the number is in the 64-bit extra.
const IN_EXTRA: u64 = 0xffff_ffff;
/// The extra with 64-bit numbers.
const WIDE_EXTRA: u16 = 1;

/// The members of an archive: name → bytes of the file.
#[derive(Debug)]
pub(super) struct Archive {
    members: BTreeMap<String, Range<u64>>,
}

/// Why an archive is none that can be read: a system's error, or words about the file.
#[derive(Debug)]
pub(super) enum Refusal {
    Unreadable(io::Error),
    Broken(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

fn broken<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Broken(reason.into()))
}

/// Little-endian numbers of a record that is long enough for all of them.
struct Record<'a>(&'a [u8]);

impl Record<'_> {
    fn bytes<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.0.get(offset..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
    }
    fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.bytes(offset))
    }
    fn u32(&self, offset: usize) -> u64 {
        u64::from(u32::from_le_bytes(self.bytes(offset)))
    }
    fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.bytes(offset))
    }
}

impl Archive {
    /// Reads the directory of `file`, which has `length` bytes. Every member lies within the file.
    pub(super) fn read(file: &File, length: u64) -> Result<Self, Refusal> {
        let (start, bytes) = directory(file, length)?;
        let mut members = BTreeMap::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let record = Record(rest);
            if rest.len() < ENTRY_BYTES || !rest.starts_with(b"PK\x01\x02") {
                return broken("its directory is damaged");
            }
            let name_bytes = usize::from(record.u16(28));
            let extra_bytes = usize::from(record.u16(30));
            let entry_bytes = ENTRY_BYTES + name_bytes + extra_bytes + usize::from(record.u16(32));
            if entry_bytes > rest.len() {
                return broken("its directory is cut off");
            }
            let Ok(name) = std::str::from_utf8(&rest[ENTRY_BYTES..ENTRY_BYTES + name_bytes]) else {
                return broken("a name in its directory is not UTF-8");
            };
            if record.u16(8) & 1 != 0 || record.u16(10) != 0 {
                return broken("its members are compressed or encrypted, which torch.save never does");
            }
            let extra = &rest[ENTRY_BYTES + name_bytes..][..extra_bytes];
            let [length, stored, header] = widened([record.u32(24), record.u32(20), record.u32(42)], extra);
            if length != stored {
                return broken("a member says two lengths of itself");
            }
            let first = member_start(file, header, start)?;
            let end = first.checked_add(length).filter(|end| *end <= start);
            let Some(end) = end else { return broken("a member is longer than the file") };
            if members.insert(name.to_owned(), first..end).is_some() {
                return broken("two members have one name");
            }
            rest = &rest[entry_bytes..];
        }
        Ok(Self { members })
    }

    /// Where the member called `name` lies.
    pub(super) fn member(&self, name: &str) -> Option<Range<u64>> {
        self.members.get(name).cloned()
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }
}

/// Start and bytes of the directory.
fn directory(file: &File, length: u64) -> Result<(u64, Vec<u8>), Refusal> {
    let tail_bytes = length.min((LOCATOR_BYTES + END_BYTES + MOST_COMMENT_BYTES) as u64);
    let tail_start = length - tail_bytes;
    let mut tail = vec![0; tail_bytes as usize];
    file.read_exact_at(&mut tail, tail_start)?;
    let ends = |at: &usize| {
        let record = &tail[*at..];
        record.starts_with(b"PK\x05\x06") && END_BYTES + usize::from(Record(record).u16(20)) == record.len()
    };
    let Some(end) = (0..=tail.len().saturating_sub(END_BYTES)).rev().filter(|at| tail.len() - at >= END_BYTES).find(ends) else {
        return broken("no zip archive ends here: cut off, or no file of torch.save");
    };
    let record = Record(&tail[end..]);
    let (mut bytes, mut start) = (record.u32(12), record.u32(16));
    let locator = end.checked_sub(LOCATOR_BYTES).map(|at| &tail[at..end]).filter(|record| record.starts_with(b"PK\x06\x07"));
    if let Some(locator) = locator {
        let at = Record(locator).u64(8);
        if at.checked_add(WIDE_END_BYTES as u64).is_none_or(|end| end > length) {
            return broken("its 64-bit directory lies outside of the file");
        }
        let mut wide = [0; WIDE_END_BYTES];
        file.read_exact_at(&mut wide, at)?;
        if !wide.starts_with(b"PK\x06\x06") {
            return broken("its 64-bit directory is damaged");
        }
        (bytes, start) = (Record(&wide).u64(40), Record(&wide).u64(48));
    }
    if bytes > MOST_DIRECTORY_BYTES || start.checked_add(bytes).is_none_or(|end| end > length) {
        return broken(format!("its directory claims {bytes} bytes from {start} on, the file has {length}"));
    }
    let mut directory = vec![0; bytes as usize];
    file.read_exact_at(&mut directory, start)?;
    Ok((start, directory))
}

/// The numbers of an entry, from the 64-bit extra where they did not fit.
fn widened(mut numbers: [u64; 3], mut extra: &[u8]) -> [u64; 3] {
    while extra.len() >= 4 {
        let (kind, length) = (Record(extra).u16(0), usize::from(Record(extra).u16(2)));
        let Some(body) = extra.get(4..4 + length) else { break };
        if kind == WIDE_EXTRA {
            let mut wide = body.as_chunks::<8>().0.iter();
            for number in numbers.iter_mut().filter(|number| **number == IN_EXTRA) {
                *number = wide.next().map_or(IN_EXTRA, |bytes| u64::from_le_bytes(*bytes));
            }
        }
        extra = &extra[4 + length..];
    }
    numbers
}

/// Where the bytes of the member begin whose header is at `header`, before the directory at `directory`.
fn member_start(file: &File, header: u64, directory: u64) -> Result<u64, Refusal> {
    if header.checked_add(HEADER_BYTES as u64).is_none_or(|end| end > directory) {
        return broken("a member lies outside of the file");
    }
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact_at(&mut bytes, header)?;
    if !bytes.starts_with(b"PK\x03\x04") {
        return broken("a member is not where its directory says");
    }
    let record = Record(&bytes);
    Ok(header + HEADER_BYTES as u64 + u64::from(record.u16(26)) + u64::from(record.u16(28)))
}
