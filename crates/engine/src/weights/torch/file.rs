//! The state dictionary of a file, with every tensor as a place in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;

use super::archive::{Archive, Refusal};
use super::pickle::{Id, Pickle, Value};
use crate::error::{Error, Result, shortened};
use crate::weights::safetensors_file::{Located, read_values};

/// A state dictionary takes about 200 bytes a tensor.
const MOST_PICKLE_BYTES: u64 = 8 << 20;
/// More dimensions than any weight has.
const MOST_DIMENSIONS: usize = 8;
/// Under which key a file that holds more than a state dictionary has it, first come first served: training frameworks keep the averaged
/// weights beside the plain ones, and the averaged ones are what is published.
const ROOTS: [&str; 4] = ["params_ema", "params", "state_dict", "model"];

/// An open file and where its tensors lie.
#[derive(Debug)]
pub(in crate::weights) struct TorchFile {
    path: PathBuf,
    file: File,
    tensors: BTreeMap<String, Located>,
}

impl TorchFile {
    /// Whether `file` begins as a zip archive does.
    pub(in crate::weights) fn begins_in(file: &File) -> bool {
        let mut magic = [0; 4];
        file.read_exact_at(&mut magic, 0).is_ok() && magic == *b"PK\x03\x04"
    }

    /// Reads directory and pickle of `file`, which was opened at `path` and has `length` bytes.
    pub(in crate::weights) fn new(path: &Path, file: File, length: u64) -> Result<Self> {
        let broken = |reason: String| Error::Malformed { path: path.to_owned(), reason };
        let refused = |refusal: Refusal| match refusal {
            Refusal::Unreadable(source) => Error::File { path: path.to_owned(), source },
            Refusal::Broken(reason) => broken(reason),
        };
        let archive = Archive::read(&file, length).map_err(refused)?;
        let mut prefixes = archive.names().filter_map(|name| name.strip_suffix("data.pkl"));
        let (Some(prefix), None) = (prefixes.next(), prefixes.next()) else {
            return Err(broken("a zip archive without one data.pkl: no file of torch.save".to_owned()));
        };
        let prefix = prefix.to_owned();
        let read = |name: &str, most: u64| -> Result<Option<Vec<u8>>> {
            let Some(range) = archive.member(&format!("{prefix}{name}")) else { return Ok(None) };
            if range.end - range.start > most {
                return Err(broken(format!("{name} has {} bytes, at most {most} are expected", range.end - range.start)));
            }
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut bytes, range.start).map_err(|source| Error::File { path: path.to_owned(), source })?;
            Ok(Some(bytes))
        };
        if read("byteorder", 16)?.is_some_and(|order| order != b"little") {
            return Err(broken("its values are not little-endian".to_owned()));
        }
        let pickle = Pickle::read(&read("data.pkl", MOST_PICKLE_BYTES)?.unwrap_or_default()).map_err(broken)?;
        let reader = StateDictionary { pickle: &pickle, archive: &archive, prefix: &prefix };
        let tensors = reader.tensors().map_err(broken)?;
        Ok(Self { path: path.to_owned(), file, tensors })
    }

    /// Names and places, in the order of names.
    pub(in crate::weights) fn tensors(&self) -> &BTreeMap<String, Located> {
        &self.tensors
    }

    /// Reads `name` as f32. `scratch` is reused from call to call.
    pub(in crate::weights) fn read(&self, name: &str, located: &Located, scratch: &mut Vec<u8>) -> Result<Vec<f32>> {
        read_values(&self.path, &self.file, name, located, scratch)
    }
}

/// The pickle beside the archive that holds the values.
struct StateDictionary<'a> {
    pickle: &'a Pickle,
    archive: &'a Archive,
    prefix: &'a str,
}

impl StateDictionary<'_> {
    /// Every tensor of the state dictionary. What else it holds by a name is an error: it would be lost silently.
    fn tensors(&self) -> Result<BTreeMap<String, Located>, String> {
        let pickle = self.pickle;
        let top = pickle.dictionary(pickle.root()).ok_or("its pickle is no dictionary of tensors")?;
        let under = |key: &str| top.iter().find(|(name, _)| pickle.text(*name) == Some(key)).map(|(_, value)| *value);
        let entries = ROOTS.iter().find_map(|key| pickle.dictionary(under(key)?)).unwrap_or(top);
        let mut tensors = BTreeMap::new();
        for (name, value) in entries {
            let name = pickle.text(*name).ok_or("a tensor without a name")?;
            let located = self.tensor(*value).map_err(|reason| format!("{}: {reason}", shortened(name)))?;
            if tensors.insert(name.to_owned(), located).is_some() {
                return Err(format!("{} twice", shortened(name)));
            }
        }
        Ok(tensors)
    }

    /// `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)`, perhaps as a parameter.
    fn tensor(&self, id: Id) -> Result<Located, String> {
        let pickle = self.pickle;
        let call = |id: Id| match pickle.get(id) {
            Value::Call { function, arguments } => pickle.global(*function).zip(pickle.sequence(*arguments)),
            _ => None,
        };
        let (mut function, mut arguments) = call(id).ok_or("not a tensor")?;
        if function == "torch._utils._rebuild_parameter" {
            (function, arguments) = arguments.first().and_then(|id| call(*id)).ok_or("a parameter without a tensor")?;
        }
        if function != "torch._utils._rebuild_tensor_v2" {
            return Err(format!("made by {}, not a tensor", shortened(function)));
        }
        let [storage, offset, size, stride, ..] = arguments else { return Err("a tensor of too few parts".to_owned()) };
        let sizes = |id: &Id| pickle.sequence(*id)?.iter().map(|id| pickle.size(*id)).collect::<Option<Vec<u64>>>();
        let (size, stride) = sizes(size).zip(sizes(stride)).ok_or("a tensor without dimensions")?;
        if size.len() != stride.len() || size.len() > MOST_DIMENSIONS {
            return Err(format!("{} dimensions", size.len()));
        }
        let mut count = 1_u64;
        for (side, stride) in size.iter().zip(&stride).rev() {
            if *side != 1 && *stride != count {
                return Err("its values do not lie in order".to_owned());
            }
            count = count.checked_mul(*side).filter(|count| *count > 0).ok_or("a tensor of no or of too many values")?;
        }
        let offset = pickle.size(*offset).ok_or("a tensor without a place")?;
        let (dtype, bytes) = self.storage(*storage)?;
        let value_bytes = dtype.bitsize() as u64 / 8;
        let end = offset.checked_add(count).and_then(|end| end.checked_mul(value_bytes));
        if end.is_none_or(|end| end > bytes.end - bytes.start) {
            return Err(format!("{count} values from {offset} on are more than the {} bytes there are", bytes.end - bytes.start));
        }
        let shape = size.into_iter().map(|side| side as usize).collect();
        Ok(Located::new(shape, dtype, bytes.start + offset * value_bytes))
    }

    /// Type and place of the values of `("storage", type, key, device, count)`.
    fn storage(&self, id: Id) -> Result<(Dtype, std::ops::Range<u64>), String> {
        let pickle = self.pickle;
        let Value::Outside(id) = pickle.get(id) else { return Err("a tensor without a storage".to_owned()) };
        let Some([_, kind, key, ..]) = pickle.sequence(*id) else { return Err("a storage of too few parts".to_owned()) };
        let dtype = match pickle.global(*kind).and_then(|kind| kind.strip_prefix("torch.")) {
            Some("FloatStorage") => Dtype::F32,
            Some("DoubleStorage") => Dtype::F64,
            Some("HalfStorage") => Dtype::F16,
            Some("BFloat16Storage") => Dtype::BF16,
            Some("LongStorage") => Dtype::I64,
            Some("IntStorage") => Dtype::I32,
            Some("ByteStorage") => Dtype::U8,
            Some("BoolStorage") => Dtype::BOOL,
            Some(other) => return Err(format!("values of type {}", shortened(other))),
            None => return Err("values of no type".to_owned()),
        };
        let key = pickle.text(*key).ok_or("a storage without a key")?;
        let member = self.archive.member(&format!("{}data/{key}", self.prefix));
        member.map(|bytes| (dtype, bytes)).ok_or_else(|| format!("its values, data/{}, are not in the file", shortened(key)))
    }
}
