//! The weights of a network that is published as one file: safetensors, or what `torch.save` writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::safetensors_file::{Located, SafetensorsFile};
use super::source::{HostTensor, TensorSource};
use super::torch::TorchFile;
use crate::error::{Error, Result, shortened};

/// The tensors of one file, read one by one with positioned reads. The kind of file is told by its content, not by its name.
#[derive(Debug)]
pub struct WeightFile {
    component: String,
    file: Kind,
    /// Name → name in the file, and shape.
    tensors: BTreeMap<String, (String, Vec<usize>)>,
    /// Whether tensors are declared instead of read.
    declares: bool,
    taken: Mutex<BTreeSet<String>>,
    /// Bytes on their way from the file to f32, kept from tensor to tensor.
    scratch: Mutex<Vec<u8>>,
}

#[derive(Debug)]
enum Kind {
    Safetensors(SafetensorsFile),
    Torch(TorchFile),
}

impl Kind {
    fn tensors(&self) -> &BTreeMap<String, Located> {
        match self {
            Self::Safetensors(file) => file.tensors(),
            Self::Torch(file) => file.tensors(),
        }
    }
}

impl WeightFile {
    /// Opens `path` as the weights of `component` (for errors). Nothing that the file says of itself is believed before it was compared
    /// with its length.
    pub fn open(component: &str, path: &Path) -> Result<Self> {
        let unreadable = |source| Error::File { path: path.to_owned(), source };
        // Asked first, because opening a pipe would wait for its other end.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(Error::Malformed { path: path.to_owned(), reason: "not a file".to_owned() });
        }
        let opened = File::open(path).map_err(unreadable)?;
        let length = opened.metadata().map_err(unreadable)?.len();
        let file = if TorchFile::begins_in(&opened) {
            Kind::Torch(TorchFile::new(path, opened, length)?)
        } else if is_old_pickle(&opened) {
            let reason = "saved by torch before 1.6, or as a bare pickle: load it with torch and save it again".to_owned();
            return Err(Error::Malformed { path: path.to_owned(), reason });
        } else {
            Kind::Safetensors(SafetensorsFile::open(path)?)
        };
        let tensors = file.tensors().iter().map(|(name, located)| (name.clone(), (name.clone(), located.shape.clone())));
        Ok(Self {
            component: component.to_owned(),
            tensors: tensors.collect(),
            file,
            declares: false,
            taken: Mutex::default(),
            scratch: Mutex::default(),
        })
    }

    /// The same tensors without `prefix` before their names: wrappers for parallel training put one there.
    pub fn without_prefix(self, prefix: &str) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (name, place) in self.tensors {
            let bare = name.strip_prefix(prefix).unwrap_or(&name).to_owned();
            if tensors.contains_key(&bare) {
                let reason = format!("{} is there with and without {prefix}", shortened(&bare));
                return Err(Error::checkpoint(self.component, reason));
            }
            tensors.insert(bare, place);
        }
        Ok(Self { tensors, ..self })
    }

    /// The same names and shapes without what they hold: nothing but the file's header is read, and networks made of it by
    /// [`Ops::declaring`](crate::ops::Ops::declaring) can only be looked at.
    #[must_use]
    pub fn declaring(self) -> Self {
        Self { declares: true, ..self }
    }

    /// Names and shapes of every tensor, in the order of names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, (_, shape))| (name.as_str(), shape.as_slice()))
    }

    /// Fails when tensors were never taken that are not `harmless`, naming the first few.
    pub fn finish(&self, harmless: impl Fn(&str) -> bool) -> Result<()> {
        const SHOWN: usize = 3;
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left: Vec<_> = self.tensors.keys().filter(|name| !taken.contains(*name) && !harmless(name)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let more = if left.len() > SHOWN { ", …" } else { "" };
        let shown = left.iter().take(SHOWN).map(|name| shortened(name)).collect::<Vec<_>>().join(", ");
        let reason = format!("{} tensors of the weights have no place in the network: {shown}{more}", left.len());
        Err(Error::checkpoint(&self.component, reason))
    }
}

/// Whether `file` begins as pickles of protocol 2 to 5 do.
fn is_old_pickle(file: &File) -> bool {
    use std::os::unix::fs::FileExt;
    let mut start = [0; 3];
    // A safetensors file begins with the length of its header, which ends in zeros; a pickle goes on at once.
    let mut field = [0; 8];
    file.read_exact_at(&mut start, 0).is_ok()
        && start[0] == 0x80
        && (2..=5).contains(&start[1])
        && file.read_exact_at(&mut field, 0).is_ok()
        && field[4..] != [0; 4]
}

impl TensorSource for WeightFile {
    fn component(&self) -> &str {
        &self.component
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn take(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        let error = |reason: String| Error::checkpoint(&self.component, reason);
        let missing = || error(format!("{name} is missing; expected shape {shape:?}"));
        let (stored_name, stored) = self.tensors.get(name).ok_or_else(missing)?;
        if stored != shape {
            return Err(error(format!("{name} has shape {stored:?}, expected {shape:?}")));
        }
        let located = self.file.tensors().get(stored_name).ok_or_else(missing)?;
        if self.declares {
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
            return Ok(HostTensor::Declared { shape: shape.to_vec() });
        }
        // Not locked while it is used: the conversion waits for a thread pool, which may have another call of this run meanwhile.
        let mut scratch = std::mem::take(&mut *self.scratch.lock().unwrap_or_else(PoisonError::into_inner));
        let values = match &self.file {
            Kind::Safetensors(file) => file.read(stored_name, located, &mut scratch)?,
            Kind::Torch(file) => file.read(stored_name, located, &mut scratch)?,
        };
        *self.scratch.lock().unwrap_or_else(PoisonError::into_inner) = scratch;
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(HostTensor::Values { shape: shape.to_vec(), values })
    }
}
