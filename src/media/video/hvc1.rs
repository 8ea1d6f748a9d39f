//! The tag that Apple's players want on H.265.
//!
//! FFmpeg tags it `hev1`, which says that parameter sets may stand among the frames; the wrapper has no safe way to say otherwise. Ours stand
//! in the file's head alone, since every MP4 encoder is opened with a global header: that is what `hvc1` means (ISO/IEC 14496-15, 8.4.1).

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes of a box's head: its length and its type.
const HEAD: u64 = 8;
/// Bytes of a video's sample entry before the boxes in it (ISO/IEC 14496-12, 12.1.3): the head, 8 of every entry, 70 of every video.
const SAMPLE_ENTRY: u64 = 86;
/// Bytes of a decoder configuration before its arrays (ISO/IEC 14496-15, 8.3.3.1.2): the head and 22; then the number of arrays.
const CONFIGURATION: u64 = HEAD + 22;

/// A box: where it begins, and how long it is, bytes.
#[derive(Clone, Copy)]
struct Extent {
    start: u64,
    length: u64,
}

/// Tags the film of a finished MP4 file `hvc1`. A file that has no H.265 in it stays as it is.
pub(super) fn tag(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut inside = Extent { start: 0, length: file.metadata()?.len() };
    let mut skipped = 0;
    for name in [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"] {
        let Some(found) = find(&mut file, inside, skipped, *name)? else { return Ok(()) };
        inside = found;
        skipped = HEAD;
    }
    // A table of entries has its version and their number first.
    let Some(entry) = find(&mut file, inside, HEAD + 8, *b"hev1")? else { return Ok(()) };
    let Some(configuration) = find(&mut file, entry, SAMPLE_ENTRY, *b"hvcC")? else { return Ok(()) };
    file.seek(SeekFrom::Start(configuration.start + CONFIGURATION))?;
    let mut bytes = vec![0; configuration.length.saturating_sub(CONFIGURATION) as usize];
    file.read_exact(&mut bytes)?;
    mark_complete(&mut bytes);
    file.seek(SeekFrom::Start(configuration.start + CONFIGURATION))?;
    file.write_all(&bytes)?;
    file.seek(SeekFrom::Start(entry.start + 4))?;
    file.write_all(b"hvc1")
}

/// The box of a type among those that follow `skipped` bytes of another.
fn find(file: &mut (impl Read + Seek), within: Extent, skipped: u64, name: [u8; 4]) -> io::Result<Option<Extent>> {
    let end = within.start + within.length;
    let mut start = within.start + skipped;
    while start + HEAD <= end {
        file.seek(SeekFrom::Start(start))?;
        let mut head = [0; HEAD as usize];
        file.read_exact(&mut head)?;
        let [a, b, c, d, found @ ..] = head;
        let length = match u32::from_be_bytes([a, b, c, d]) {
            // The length stands behind the head.
            1 => {
                let mut long = [0; 8];
                file.read_exact(&mut long)?;
                u64::from_be_bytes(long)
            }
            length => u64::from(length),
        };
        if length < HEAD {
            return Ok(None);
        }
        if found == name {
            return Ok(Some(Extent { start, length }));
        }
        start = start.saturating_add(length);
    }
    Ok(None)
}

/// Says of each array of parameter sets that there are no others: the first bit of its head. An array is that head, the number of its
/// units, and each unit's length and bytes.
fn mark_complete(configuration: &mut [u8]) {
    let Some(arrays) = configuration.first().copied() else { return };
    let mut at = 1;
    for _ in 0..arrays {
        let Some([head, high, low]) = configuration.get_mut(at..at + 3) else { return };
        *head |= 0x80;
        let units = u16::from_be_bytes([*high, *low]);
        at += 3;
        for _ in 0..units {
            let Some([high, low]) = configuration.get(at..at + 2) else { return };
            at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_marked_and_nothing_else() {
        let mut bytes = [2, 0x20, 0, 1, 0, 2, 0x20, 0x21, 0x21, 0, 2, 0, 1, 7, 0, 1, 8, 99];
        mark_complete(&mut bytes);
        assert_eq!(bytes, [2, 0xA0, 0, 1, 0, 2, 0x20, 0x21, 0xA1, 0, 2, 0, 1, 7, 0, 1, 8, 99]);
        for length in 0..bytes.len() {
            mark_complete(&mut bytes[..length]);
        }
    }

    #[test]
    fn a_file_without_h265_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("film.mp4");
        for bytes in
            [Vec::new(), b"\0\0\0\x08moov".to_vec(), b"\0\0\0\x04moov\0\0\0\0".to_vec(), b"\0\0\0\x10moov\0\0\0\x08trak".to_vec()]
        {
            std::fs::write(&path, &bytes).unwrap();
            tag(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }
}
