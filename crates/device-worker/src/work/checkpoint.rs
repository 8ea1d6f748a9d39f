//! The bytes of a checkpoint file: little-endian, with a checksum over all of it at the end.
//!
//! `FWCP`, version, kind, picture (u32), length of the tag (u32), the tag, length of the state (u64), the state, checksum (u64).

use framewright_engine::fingerprint::Fingerprint;

/// Larger files are not read. The largest machine, of a clip of 128 frames of 2048 pixels and what is predicted of it, has 270 megabytes.
pub(super) const MOST_BYTES: u64 = 512 << 20;

const MAGIC: [u8; 4] = *b"FWCP";
const VERSION: u8 = 2;
const MACHINE: u8 = 0;
const FINISHED: u8 = 1;

/// What a checkpoint says of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State<'a> {
    /// A step machine's own bytes.
    Machine(&'a [u8]),
    /// The picture lies beside it, with this checksum; whether it was decoded in tiles.
    Finished { checksum: u64, tiled: bool },
}

pub(super) fn encode(tag: &str, index: u32, state: State<'_>) -> Vec<u8> {
    let stored;
    let (kind, payload): (u8, &[u8]) = match state {
        State::Machine(bytes) => (MACHINE, bytes),
        State::Finished { checksum, tiled } => {
            let [a, b, c, d, e, f, g, h] = checksum.to_le_bytes();
            stored = [a, b, c, d, e, f, g, h, u8::from(tiled)];
            (FINISHED, &stored)
        }
    };
    let mut bytes = Vec::with_capacity(tag.len() + payload.len() + 30);
    bytes.extend(MAGIC);
    bytes.extend([VERSION, kind]);
    bytes.extend(index.to_le_bytes());
    bytes.extend((tag.len() as u32).to_le_bytes());
    bytes.extend(tag.as_bytes());
    bytes.extend((payload.len() as u64).to_le_bytes());
    bytes.extend(payload);
    let sum = checksum(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// The state that was encoded under the same tag and index; `None` for anything else.
pub(super) fn decode<'a>(bytes: &'a [u8], tag: &str, index: u32) -> Option<State<'a>> {
    let (body, sum) = bytes.split_last_chunk::<8>()?;
    if checksum(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    let rest = body.strip_prefix(&MAGIC)?.strip_prefix(&[VERSION])?;
    let (&kind, rest) = rest.split_first()?;
    let rest = rest.strip_prefix(&index.to_le_bytes())?;
    let rest = rest.strip_prefix(&u32::try_from(tag.len()).ok()?.to_le_bytes())?.strip_prefix(tag.as_bytes())?;
    let (length, payload) = rest.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*length) != payload.len() as u64 {
        return None;
    }
    match kind {
        MACHINE => Some(State::Machine(payload)),
        FINISHED => {
            let (sum, [tiled]) = payload.split_first_chunk()? else { return None };
            Some(State::Finished { checksum: u64::from_le_bytes(*sum), tiled: *tiled != 0 })
        }
        _ => None,
    }
}

/// Against damage, not against attacks; who can write here can as well write the picture.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    let mut hash = Fingerprint::default();
    hash.bytes(bytes);
    hash.finish()
}
