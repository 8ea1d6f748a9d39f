//! What a file of packed weights was packed from, and for what.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::ops::kernels::pack::packing_format;
use crate::ops::{KernelPath, Precision};
use crate::small_file;
use crate::weights::safetensors_file::SafetensorsFile;
use crate::weights::{Checkpoint, Variant};

/// Far more than any configuration has.
const MOST_CONFIGURATION_BYTES: u64 = 1 << 20;

/// A model's files, the kernels and the build: packed weights are good for no other. Equal identities mean equal bytes.
///
/// Cheap to find out: files are known by name, length, time of the last change, header and samples of the data, not by all their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The model's directory, or the file that holds all of it, without links.
    directory: PathBuf,
    half_variant: bool,
    kernels: String,
    precision: String,
    /// Version of the engine, of its packing, and the order of bytes.
    build: String,
    components: Vec<Component>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Component {
    /// Of its folder; empty where the model is one file.
    name: String,
    stem: String,
    configuration: u64,
    files: Vec<WeightFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WeightFile {
    /// Empty where the model is this file.
    name: String,
    length_bytes: u64,
    modified: (i64, i64),
    fingerprint: u64,
}

impl Identity {
    /// Reads that of a model as it is now. `components`: folders of the model and the stem of their weights' names; where `directory` is
    /// a file, it is all of the model, and they are not looked at.
    pub(crate) fn read<'a>(
        directory: &Path,
        components: impl IntoIterator<Item = (&'a str, &'a str)>,
        variant: Variant,
        kernels: KernelPath,
        precision: Precision,
    ) -> Result<Self> {
        Self::of(directory, components, variant, kernels.name().to_owned(), precision.name().to_owned())
    }

    fn of<'a>(
        directory: &Path,
        components: impl IntoIterator<Item = (&'a str, &'a str)>,
        variant: Variant,
        kernels: String,
        precision: String,
    ) -> Result<Self> {
        let directory = directory.canonicalize().map_err(|source| Error::File { path: directory.to_owned(), source })?;
        let component = |(name, stem): (&str, &str)| Component::read(&directory, name, stem, variant);
        let components = if directory.is_file() {
            vec![Component::of_file(&directory)?]
        } else {
            components.into_iter().map(component).collect::<Result<_>>()?
        };
        Ok(Self { components, half_variant: variant == Variant::Half, kernels, precision, build: build(), directory })
    }

    /// The model's directory, or its file.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the model is still what it was when this was read of it, looked at as closely as then.
    pub(crate) fn holds(&self) -> Result<bool> {
        let variant = if self.half_variant { Variant::Half } else { Variant::Plain };
        let components = self.components.iter().map(|component| (component.name.as_str(), component.stem.as_str()));
        let now = Self::of(&self.directory, components, variant, self.kernels.clone(), self.precision.clone())?;
        Ok(now == *self)
    }

    /// Whether it is certain that packing the same model now would give another file. What cannot be looked at (a disk that is not
    /// there, a server of files that does not answer) is not certain. Looks at names, lengths and times alone: weights are not read.
    pub(crate) fn is_outdated(&self) -> bool {
        self.build != build() || self.components.iter().any(|component| component.has_changed(&self.directory))
    }

    /// The name of the file: for people the model, the precision and the kernels; then a number for all of the identity.
    pub(crate) fn file_name(&self) -> String {
        const MOST_CHARACTERS: usize = 40;
        let model = self.directory.file_name().unwrap_or_default().to_string_lossy();
        let plain = |character: char| if character.is_ascii_alphanumeric() || character == '-' { character } else { '_' };
        let model: String = model.chars().take(MOST_CHARACTERS).map(plain).collect();
        let mut hash = Fingerprint::default();
        hash.bytes(format!("{self:?}").as_bytes());
        format!("{model}.{}.{}.{:016x}.packed", self.precision, self.kernels, hash.finish())
    }
}

impl Component {
    fn read(model: &Path, name: &str, stem: &str, variant: Variant) -> Result<Self> {
        let directory = model.join(name);
        let mut configuration = Fingerprint::default();
        let text = small_file::read(&directory.join("config.json"), MOST_CONFIGURATION_BYTES)?;
        configuration.bytes(text.unwrap_or_default().as_bytes());
        let checkpoint = Checkpoint::open(name, &directory, stem, variant)?;
        let files = checkpoint.opened().iter().map(|file| {
            let name = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
            WeightFile::read(file, name)
        });
        let files = files.collect::<Result<_>>()?;
        Ok(Self { name: name.to_owned(), stem: stem.to_owned(), configuration: configuration.finish(), files })
    }

    /// All of a model that is one file.
    fn of_file(path: &Path) -> Result<Self> {
        let files = vec![WeightFile::read(&SafetensorsFile::open(path)?, String::new())?];
        let configuration = Fingerprint::default().finish();
        Ok(Self { name: String::new(), stem: String::new(), configuration, files })
    }

    /// Whether it can be seen that a file is another, or is missing from a directory that is there.
    fn has_changed(&self, model: &Path) -> bool {
        let directory = below(model, &self.name);
        if let Ok(Some(text)) = small_file::read(&directory.join("config.json"), MOST_CONFIGURATION_BYTES) {
            let mut configuration = Fingerprint::default();
            configuration.bytes(text.as_bytes());
            if configuration.finish() != self.configuration {
                return true;
            }
        }
        self.files.iter().any(|file| {
            let path = below(&directory, &file.name);
            match fs::metadata(&path) {
                Ok(found) => found.len() != file.length_bytes || (found.mtime(), found.mtime_nsec()) != file.modified,
                Err(error) => error.kind() == io::ErrorKind::NotFound && path.parent().is_some_and(Path::is_dir),
            }
        })
    }
}

impl WeightFile {
    fn read(file: &SafetensorsFile, name: String) -> Result<Self> {
        let (length_bytes, modified) = (file.length_bytes(), file.modified()?);
        Ok(Self { name, length_bytes, modified, fingerprint: file.fingerprint()? })
    }
}

/// `name` in `directory`; an empty name is the directory itself.
fn below(directory: &Path, name: &str) -> PathBuf {
    if name.is_empty() { directory.to_owned() } else { directory.join(name) }
}

fn build() -> String {
    let order = if cfg!(target_endian = "little") { "little" } else { "big" };
    format!("{} {}, packing {}, {order} endian", env!("CARGO_PKG_NAME"), crate::BUILD, packing_format())
}
