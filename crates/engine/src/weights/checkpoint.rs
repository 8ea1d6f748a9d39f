//! Safetensors files of one component.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::interruptible::Interruptible;
use super::layout::{self, Layout};
use super::names;
use super::packed::Packed;
use super::safetensors_file::{Located, SafetensorsFile};
use super::source::{HostTensor, Scope, TensorSource};
use crate::error::{Error, Result, shortened};
use crate::ops::Interrupt;

/// Which published files to prefer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Variant {
    /// Plain names first, `.fp16` if there is nothing else.
    #[default]
    Plain,
    /// `.fp16` first.
    Half,
}

/// The tensors of one component, read one by one with positioned reads (never mapped: pages of a mapped file count as the
/// process's memory, and a file truncated under a map kills the process; the files are a person's, who may do as he likes with them).
#[derive(Debug)]
pub struct Checkpoint {
    component: String,
    files: Vec<Arc<SafetensorsFile>>,
    tensors: BTreeMap<String, Entry>,
    /// Bytes on their way from a file to f32, kept from tensor to tensor.
    scratch: Mutex<Vec<u8>>,
}

/// A tensor of a component, and where it is stored.
#[derive(Debug)]
pub(super) struct Entry {
    file: usize,
    located: Located,
    /// Of the tensor, which may be stored otherwise.
    shape: Vec<usize>,
    /// Whether rows are stored as columns.
    transposed: bool,
    taken: AtomicBool,
}

impl Entry {
    /// A tensor that is stored in file number `file` as it is.
    pub(super) fn new(file: usize, located: Located) -> Self {
        Self { file, shape: located.shape.clone(), located, transposed: false, taken: AtomicBool::new(false) }
    }

    /// A matrix that is stored transposed; `None` where it is not one.
    pub(super) fn transposed(file: usize, located: Located) -> Option<Self> {
        let [rows, columns] = *located.shape.as_slice() else { return None };
        Some(Self { shape: vec![columns, rows], transposed: true, ..Self::new(file, located) })
    }

    /// Values as they are used.
    fn arranged(&self, values: Vec<f32>) -> Vec<f32> {
        match *self.shape.as_slice() {
            [rows, columns] if self.transposed => {
                let mut arranged = Vec::with_capacity(values.len());
                for row in 0..rows {
                    arranged.extend((0..columns).map(|column| values[column * rows + row]));
                }
                arranged
            }
            _ => values,
        }
    }
}

impl Checkpoint {
    /// Opens the weights of the component in `directory` (`<model>/unet`), whose files start with `stem`
    /// (`diffusion_pytorch_model` or `model`): plain, `.fp16`, sharded with either index name. Headers are checked against the
    /// file's length before anything is allocated.
    pub fn open(component: &str, directory: &Path, stem: &str, variant: Variant) -> Result<Self> {
        let (files, promised) = match layout::find(directory, stem, variant)? {
            Layout::Whole(path) => (vec![Arc::new(SafetensorsFile::open(&path)?)], None),
            Layout::Sharded { index, weight_map } => {
                let mut names: Vec<&String> = weight_map.values().collect();
                names.sort();
                names.dedup();
                let open = |name: &String| Ok::<_, Error>(Arc::new(SafetensorsFile::open(&directory.join(name))?));
                let files = names.into_iter().map(open).collect::<Result<_>>()?;
                (files, Some((index, weight_map)))
            }
        };
        let tensors = united(&files)?;
        if let Some((index, weight_map)) = promised {
            keeps_promise(&index, &weight_map, &files, &tensors)?;
        }
        Ok(Self { component: component.to_owned(), files, tensors, scratch: Mutex::default() })
    }

    /// Tensors of one file under names of their own.
    pub(super) fn of_tensors(component: &str, file: Arc<SafetensorsFile>, tensors: BTreeMap<String, Entry>) -> Self {
        Self { component: component.to_owned(), files: vec![file], tensors, scratch: Mutex::default() }
    }

    /// What `build` makes of these weights, and of nothing else: with layers from or into a file of packed ones, or of its own.
    pub(crate) fn fill<T>(
        &self,
        packed: Option<Packed<'_>>,
        interrupt: &Interrupt,
        build: impl FnOnce(&Scope<'_>) -> Result<T>,
    ) -> Result<T> {
        let source = Interruptible::new(self, interrupt);
        let built = build(&Scope::root(&source).with_packed(packed))?;
        // What comes out of a file was accounted for when it went in.
        if !matches!(packed, Some(Packed::Mapped(_))) {
            self.finish()?;
        }
        Ok(built)
    }

    /// Fails when tensors were never taken, naming the first few; known harmless leftovers are passed over.
    pub fn finish(&self) -> Result<()> {
        const SHOWN: usize = 3;
        let left: Vec<String> = self
            .tensors
            .iter()
            .filter(|(name, entry)| !entry.taken.load(Ordering::Relaxed) && !names::is_harmless(name))
            .map(|(name, _)| shortened(name))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let more = if left.len() > SHOWN { ", …" } else { "" };
        let shown = left[..left.len().min(SHOWN)].join(", ");
        Err(Error::checkpoint(
            &self.component,
            format!(
                "{} tensors of the weights have no place in the network that config.json describes: {shown}{more}",
                left.len()
            ),
        ))
    }

    /// SHA-256 is the caller's business; these are the files, in order, with their lengths in bytes.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.files.iter().map(|file| (file.path().to_owned(), file.length_bytes())).collect()
    }

    /// The safetensors files, in order.
    pub(super) fn opened(&self) -> &[Arc<SafetensorsFile>] {
        &self.files
    }

    /// Names and shapes of every tensor, in the order of names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
    }

    /// How many numbers the files hold, harmless leftovers not counted.
    pub fn parameters(&self) -> u64 {
        let counted = self.tensors().filter(|(name, _)| !names::is_harmless(name));
        counted.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
    }

    /// The tensor called `name` or by one of its older names.
    fn find(&self, name: &str) -> Option<(&str, &Entry)> {
        let known = |name: &str| self.tensors.get_key_value(name).map(|(name, entry)| (name.as_str(), entry));
        known(name).or_else(|| names::aliases(name).find_map(|alias| known(&alias)))
    }

    /// [`Self::find`], with the shape that is wanted.
    fn checked(&self, name: &str, shape: &[usize]) -> Result<(&str, &Entry)> {
        let found = self.find(name).ok_or_else(|| self.error(format!("{name} is missing; expected shape {shape:?}")))?;
        if fits(&found.1.shape, shape) {
            Ok(found)
        } else {
            Err(self.error(format!("{name} has shape {:?}, expected {shape:?}", found.1.shape)))
        }
    }

    fn error(&self, reason: String) -> Error {
        Error::checkpoint(&self.component, reason)
    }
}

/// Every tensor of every file; a name may occur once.
fn united(files: &[Arc<SafetensorsFile>]) -> Result<BTreeMap<String, Entry>> {
    let mut tensors = BTreeMap::new();
    for (number, file) in files.iter().enumerate() {
        for (name, located) in file.tensors() {
            let entry = Entry::new(number, located.clone());
            if tensors.insert(name.clone(), entry).is_some() {
                let reason = format!("{} is in another shard too", shortened(name));
                return Err(Error::Malformed { path: file.path().to_owned(), reason });
            }
        }
    }
    Ok(tensors)
}

/// Checks that every tensor is where the index says.
fn keeps_promise(
    index: &Path,
    weight_map: &BTreeMap<String, String>,
    files: &[Arc<SafetensorsFile>],
    tensors: &BTreeMap<String, Entry>,
) -> Result<()> {
    let missing = weight_map.iter().find(|(name, file)| {
        let holder = tensors.get(*name).and_then(|entry| files.get(entry.file)).and_then(|file| file.path().file_name());
        holder != Some(file.as_ref())
    });
    match missing {
        Some((name, file)) => {
            let reason = format!("{} should be in {}, and is not", shortened(name), shortened(file));
            Err(Error::Malformed { path: index.to_owned(), reason })
        }
        None => Ok(()),
    }
}

/// Whether a stored shape will do: the wanted one, or a 1×1 convolution that stands for a matrix.
fn fits(stored: &[usize], wanted: &[usize]) -> bool {
    stored == wanted || (wanted.len() == 2 && stored.strip_prefix(wanted) == Some([1, 1].as_slice()))
}

impl TensorSource for Checkpoint {
    fn component(&self) -> &str {
        &self.component
    }

    fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn take(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        let (stored_name, entry) = self.checked(name, shape)?;
        // Not locked while it is used: the conversion waits for a thread pool, which may have another call of this run meanwhile.
        let mut scratch = std::mem::take(&mut *self.scratch.lock().unwrap_or_else(PoisonError::into_inner));
        let values = self.files[entry.file].read(stored_name, &entry.located, &mut scratch)?;
        *self.scratch.lock().unwrap_or_else(PoisonError::into_inner) = scratch;
        entry.taken.store(true, Ordering::Relaxed);
        Ok(HostTensor::Values { shape: shape.to_vec(), values: entry.arranged(values) })
    }

    fn skip(&self, name: &str, shape: &[usize]) -> Result<()> {
        let (_, entry) = self.checked(name, shape)?;
        entry.taken.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
