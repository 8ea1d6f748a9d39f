//! One safetensors file: a header that is checked before anything is believed, and tensors read piece by piece.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Result, shortened};
use crate::fingerprint::Fingerprint;

/// Bytes of the length field that a file starts with.
const LENGTH_FIELD: u64 = 8;
/// The format's own limit on the header.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Bytes read at a time. What a read needs beyond the tensor itself is this much.
const PIECE_BYTES: usize = 4 << 20;
/// Values converted by one task.
const TASK_VALUES: usize = 1 << 14;

/// An open file and where its tensors lie.
#[derive(Debug)]
pub(super) struct SafetensorsFile {
    path: PathBuf,
    file: File,
    length_bytes: u64,
    data_start: u64,
    tensors: BTreeMap<String, Located>,
}

/// A tensor within a file.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) shape: Vec<usize>,
    dtype: Dtype,
    offset_bytes: u64,
}

impl Located {
    /// One of three equal parts of the first dimension; `None` where it cannot be cut.
    pub(super) fn third(&self, index: usize) -> Option<Self> {
        let (rows, rest) = self.shape.split_first()?;
        if !rows.is_multiple_of(3) || index >= 3 {
            return None;
        }
        let shape: Vec<usize> = std::iter::once(rows / 3).chain(rest.iter().copied()).collect();
        let bytes = (shape.iter().product::<usize>() * self.dtype.bitsize() / 8) as u64;
        Some(Self { offset_bytes: self.offset_bytes + index as u64 * bytes, dtype: self.dtype, shape })
    }
}

impl SafetensorsFile {
    /// Opens `path` and checks its header: within the file, no name twice, every tensor as long as its shape says, all of them side by
    /// side from the header's end to the file's.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let broken = |reason: String| Error::Malformed { path: path.to_owned(), reason };
        let unreadable = |source| Error::File { path: path.to_owned(), source };
        // Asked first, because opening a pipe would wait for its other end.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(broken("not a file".to_owned()));
        }
        let file = File::open(path).map_err(unreadable)?;
        let length_bytes = file.metadata().map_err(unreadable)?.len();
        if length_bytes < LENGTH_FIELD {
            return Err(broken(format!("{length_bytes} bytes are too few for a safetensors file")));
        }
        let mut field = [0; LENGTH_FIELD as usize];
        file.read_exact_at(&mut field, 0).map_err(unreadable)?;
        let header_bytes = u64::from_le_bytes(field);
        if header_bytes > MAX_HEADER_BYTES || header_bytes > length_bytes - LENGTH_FIELD {
            return Err(broken(format!(
                "it is no safetensors file, or a damaged one: its header claims {header_bytes} bytes of {length_bytes}"
            )));
        }
        let mut text = vec![0; header_bytes as usize];
        file.read_exact_at(&mut text, LENGTH_FIELD).map_err(unreadable)?;
        let header: Header = serde_json::from_slice(&text).map_err(|error| broken(format!("broken header: {error}")))?;

        let mut entries = header.entries;
        entries.sort_by_key(|(_, info)| info.data_offsets);
        let data_start = LENGTH_FIELD + header_bytes;
        let tensors = entries
            .iter()
            .map(|(name, info)| {
                let offset_bytes = data_start.saturating_add(info.data_offsets.0 as u64);
                (name.clone(), Located::new(info.shape.clone(), info.dtype, offset_bytes))
            })
            .collect();
        // Checks that shapes, types and offsets agree, that nothing overlaps or overflows, and that there are no holes.
        let metadata = Metadata::new(None, entries).map_err(|error| broken(format!("broken header: {error:?}")))?;
        let expected = data_start.saturating_add(metadata.data_len() as u64);
        if expected != length_bytes {
            return Err(broken(format!(
                "its header describes {expected} bytes, the file has {length_bytes}: truncated or damaged"
            )));
        }
        Ok(Self { path: path.to_owned(), file, length_bytes, data_start, tensors })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// When the file was last written: seconds and nanoseconds of Unix time.
    pub(super) fn modified(&self) -> Result<(i64, i64)> {
        let metadata = self.file.metadata().map_err(|source| Error::File { path: self.path.clone(), source })?;
        Ok((metadata.mtime(), metadata.mtime_nsec()))
    }

    /// A number that changes with the header and, as good as always, with the data: samples spread over the file are looked at, since
    /// files that were unpacked from archives may agree in length, time and header and hold another training's weights.
    pub(super) fn fingerprint(&self) -> Result<u64> {
        const SAMPLES: u64 = 64;
        const SAMPLE_BYTES: u64 = 2048;
        let mut hash = Fingerprint::default();
        let mut absorb = |offset: u64, length: u64| {
            let mut bytes = vec![0; length as usize];
            self.file.read_exact_at(&mut bytes, offset).map_err(|source| Error::File { path: self.path.clone(), source })?;
            hash.bytes(&bytes);
            Ok::<_, Error>(())
        };
        absorb(0, self.data_start)?;
        let data_bytes = self.length_bytes - self.data_start;
        let length = SAMPLE_BYTES.min(data_bytes);
        for sample in 0..SAMPLES {
            let offset = u128::from(data_bytes - length) * u128::from(sample) / u128::from(SAMPLES - 1);
            absorb(self.data_start + offset as u64, length)?;
        }
        Ok(hash.finish())
    }

    /// Names and places, in the order of names.
    pub(super) fn tensors(&self) -> &BTreeMap<String, Located> {
        &self.tensors
    }

    /// Reads `name` as f32. `scratch` is reused from call to call.
    pub(super) fn read(&self, name: &str, located: &Located, scratch: &mut Vec<u8>) -> Result<Vec<f32>> {
        read_values(&self.path, &self.file, name, located, scratch)
    }
}

impl Located {
    /// A tensor whose values lie at `offset_bytes`; the caller has compared their number with the length of the file.
    pub(super) fn new(shape: Vec<usize>, dtype: Dtype, offset_bytes: u64) -> Self {
        Self { shape, dtype, offset_bytes }
    }
}

/// Reads the tensor `name` of `file`, which was opened at `path`, as f32. `scratch` is reused from call to call.
pub(super) fn read_values(path: &Path, file: &File, name: &str, located: &Located, scratch: &mut Vec<u8>) -> Result<Vec<f32>> {
    let convert = converter(located.dtype).ok_or_else(|| Error::Malformed {
        path: path.to_owned(),
        reason: format!("{name} is {:?}; weights are read from F64, F32, F16 and BF16", located.dtype),
    })?;
    let value_bytes = located.dtype.bitsize() / 8;
    // Equal to bytes that the file really has: what describes the tensor was checked against its length.
    let mut values = vec![0.0; located.shape.iter().product()];
    scratch.resize(PIECE_BYTES, 0);
    let mut offset = located.offset_bytes;
    for piece in values.chunks_mut(PIECE_BYTES / value_bytes) {
        let bytes = &mut scratch[..piece.len() * value_bytes];
        file.read_exact_at(bytes, offset).map_err(|source| Error::File { path: path.to_owned(), source })?;
        offset += bytes.len() as u64;
        let sources = bytes.par_chunks(TASK_VALUES * value_bytes);
        piece.par_chunks_mut(TASK_VALUES).zip(sources).for_each(|(target, source)| convert(source, target));
    }
    Ok(values)
}

/// Converts little-endian bytes to as many f32 as the second slice holds.
type Converter = fn(&[u8], &mut [f32]);

fn converter(dtype: Dtype) -> Option<Converter> {
    match dtype {
        Dtype::F64 => Some(|bytes, values| {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = f64::from_le_bytes(*bytes) as f32;
            }
        }),
        Dtype::F32 => Some(|bytes, values| {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }),
        Dtype::BF16 => Some(|bytes, values| {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
            }
        }),
        Dtype::F16 => Some(half_to_f32),
        _ => None,
    }
}

/// In blocks, so that the processor's own conversion of eight at a time is used.
fn half_to_f32(bytes: &[u8], values: &mut [f32]) {
    let mut bits = [0; 256];
    for (values, bytes) in values.chunks_mut(bits.len()).zip(bytes.chunks(2 * bits.len())) {
        let bits = &mut bits[..values.len()];
        for (bits, bytes) in bits.iter_mut().zip(bytes.as_chunks().0) {
            *bits = u16::from_le_bytes(*bytes);
        }
        bits.reinterpret_cast::<half::f16>().convert_to_f32_slice(values);
    }
}

/// The header's tensors. The safetensors crate would let the last of two equal names win.
struct Header {
    entries: Vec<(String, TensorInfo)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
        let mut entries = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format_args!("{} twice", shortened(&name))));
            }
            entries.push((name, map.next_value()?));
        }
        Ok(Header { entries })
    }
}
