//! `models_dir:`, `defaults:` and `model_cache:` — which models there are, which is meant when none is named, how long they stay.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::number::{Positive, Whole};
use super::{ConfigError, Notice};
use crate::domain::ModelId;

/// Where models are looked for and which is the default.
#[derive(Clone, Debug)]
pub struct ModelsConfig {
    /// Directories whose children are models, first match wins.
    pub search_directories: Vec<PathBuf>,
    /// Where commands other than `serve` unpack the model inside the binary: the data directory if there is one, else the user's
    /// cache, so that a single picture leaves no data directory behind.
    pub unpack_directory: PathBuf,
    /// The model of a picture request that names none.
    pub default_image: Option<ModelId>,
    /// The model of a film request that names none.
    pub default_video: Option<ModelId>,
    /// Whether a model stays loaded after its job.
    pub keep_loaded: bool,
    /// Bytes that packed weights below the data directory may take; without: no bound.
    pub max_packed_bytes: Option<u64>,
    /// Bytes that loaded models and their work may take in the machine's memory, a model once for all workers; without: what the machine
    /// has.
    pub max_ram_bytes: Option<u64>,
    /// Bytes that loaded models and their work may take on each CUDA device; without: what the device has.
    pub max_vram_bytes: Option<u64>,
    /// A model that nobody used for this long is unloaded; without: when another one needs its place.
    pub idle_unload: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DefaultsSection {
    image: Option<ModelId>,
    video: Option<ModelId>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ModelCacheSection {
    enabled: Option<bool>,
    max_size_gb: Option<Positive>,
    max_ram_gb: Option<Positive>,
    max_vram_gb: Option<Positive>,
    idle_unload_seconds: Option<Whole<1, 31_536_000>>,
}

/// Directories that matter to models.
pub(super) struct Places<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) data_dir_was_named: bool,
    pub(super) cache_home: Option<&'a Path>,
    pub(super) executable: Option<&'a Path>,
}

/// Puts the three sections together. Design §5: `models_dir`, `<data-dir>/models`, `./models`, beside the executable.
pub(super) fn resolve(
    models_dir: Option<PathBuf>,
    defaults: DefaultsSection,
    cache: &ModelCacheSection,
    places: &Places<'_>,
    notices: &mut Vec<Notice>,
) -> Result<ModelsConfig, ConfigError> {
    if let Some(directory) = models_dir.as_ref().filter(|directory| !directory.is_dir()) {
        return Err(ConfigError::setting("models_dir", format!("{} is not a directory", directory.display())));
    }
    if cache.max_size_gb.is_some() {
        notices.push(Notice::info(
            "model_cache.max_size_gb: bounds the packed weights that this program keeps in <data-dir>/packed, the least recently used \
             go first, those of loaded models stay; models are downloaded by no part of this version, and files that people placed are neither counted nor removed",
        ));
    }
    let data_dir = places.data_dir;
    let beside_executable = places.executable.and_then(Path::parent).map(|directory| directory.join("models"));
    let unpack_directory = match places.cache_home {
        Some(cache_home) if !places.data_dir_was_named && !data_dir.is_dir() => cache_home.join("framewright"),
        _ => data_dir.to_owned(),
    };
    Ok(ModelsConfig {
        search_directories: models_dir
            .into_iter()
            .chain([data_dir.join("models"), PathBuf::from("models")])
            .chain(beside_executable)
            .collect(),
        unpack_directory,
        default_image: defaults.image,
        default_video: defaults.video,
        keep_loaded: cache.enabled.unwrap_or(true),
        max_packed_bytes: bytes(cache.max_size_gb),
        max_ram_bytes: bytes(cache.max_ram_gb),
        max_vram_bytes: bytes(cache.max_vram_gb),
        idle_unload: cache.idle_unload_seconds.map(|seconds| Duration::from_secs(seconds.0)),
    })
}

fn bytes(gigabytes: Option<Positive>) -> Option<u64> {
    gigabytes.map(|gigabytes| gigabytes.0.gigabytes_in_bytes())
}
