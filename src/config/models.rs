//! `models_dir:`, `defaults:` and `model_cache:` — which models there are, which is meant when none is named, how long they stay.

use std::path::{Path, PathBuf};

use serde::Deserialize;

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
    /// Whether a model stays loaded after its job.
    pub keep_loaded: bool,
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
    max_size_gb: Option<f64>,
    max_ram_gb: Option<f64>,
    max_vram_gb: Option<f64>,
    idle_unload_seconds: Option<u64>,
}

impl ModelCacheSection {
    fn resolve(&self, notices: &mut Vec<Notice>) -> Result<bool, ConfigError> {
        let sizes = [
            ("model_cache.max_size_gb", self.max_size_gb),
            ("model_cache.max_ram_gb", self.max_ram_gb),
            ("model_cache.max_vram_gb", self.max_vram_gb),
        ];
        for (setting, value) in sizes {
            let Some(gigabytes) = value else { continue };
            if !gigabytes.is_finite() || gigabytes <= 0.0 {
                return Err(ConfigError::setting(setting, "must be above 0"));
            }
            notices.push(Notice::no_effect(setting));
        }
        if self.idle_unload_seconds.is_some() {
            notices.push(Notice::no_effect("model_cache.idle_unload_seconds"));
        }
        Ok(self.enabled.unwrap_or(true))
    }
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
    if defaults.video.is_some() {
        notices.push(Notice::no_effect("defaults.video"));
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
        keep_loaded: cache.resolve(notices)?,
    })
}
