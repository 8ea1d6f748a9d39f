//! Models on disk: which there are, what they can do, where their files lie.

pub mod bundled;
pub mod family;
pub mod film_parameters;
pub mod film_size;
pub mod identity;
pub mod named_size;
pub mod packed;
pub mod parameters;
pub mod remote_parameters;
pub mod residency;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::domain::{IdError, ModelDescription, ModelId, ModelKind};
pub use family::FamilyInfo;
pub use identity::{IdentityCache, ModelIdentity};

/// How old a look at the disk may be before it is taken anew.
const FRESH: Duration = Duration::from_secs(1);
/// Between asking whether a look is fresh and using it.
const MOMENT: Duration = Duration::from_millis(100);

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Nothing of that name.
    #[error("no model '{name}'; installed: {installed}")]
    NotFound {
        /// What was asked for.
        name: String,
        /// What there is.
        installed: String,
    },
    /// It is there but broken.
    #[error("model '{name}' cannot be used: {source}")]
    Broken {
        /// The model.
        name: String,
        /// Why.
        source: framewright_engine::Error,
    },
}

/// The models that are installed: directories in the diffusers layout below the search path, and the demo model inside the binary.
/// Cheap to clone.
///
/// A model that is copied into place while the server runs is seen about a second later.
#[derive(Clone, Debug)]
pub struct ModelCatalog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    search_path: Vec<PathBuf>,
    identities: IdentityCache,
    look: Mutex<Look>,
}

/// The last look at the disk.
#[derive(Debug, Default)]
struct Look {
    taken: Option<Instant>,
    models: BTreeMap<ModelId, PathBuf>,
    /// What was read of each directory.
    described: HashMap<PathBuf, Described>,
}

/// A directory as of the last look into it.
#[derive(Debug)]
struct Described {
    looked: Instant,
    fingerprint: u64,
    /// `None` when it could not be used.
    description: Option<ModelDescription>,
}

impl ModelCatalog {
    /// Looks through `search_path` in order; the first of a name wins. Broken directories are logged and left out of lists.
    pub fn open(search_path: Vec<PathBuf>) -> Self {
        Self { shared: Arc::new(Shared { search_path, identities: IdentityCache::default(), look: Mutex::default() }) }
    }

    /// A model anywhere on the disk, by its directory; its id is the directory's name, or `model` where that cannot be one.
    pub fn describe_directory(directory: &Path) -> Result<ModelDescription, ModelError> {
        let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let broken = |source| ModelError::Broken { name: directory.display().to_string(), source };
        let info = FamilyInfo::read(directory).map_err(broken)?;
        let id = name
            .parse()
            .or_else(|_| "model".parse())
            .map_err(|error: IdError| broken(framewright_engine::Error::Device(error.to_string())))?;
        let (_, changed) = fingerprint(directory);
        Ok(info.describe(&id, changed))
    }

    /// As [`ModelCatalog::open`], and where no directory has one of the demo models, those inside the binary are unpacked below
    /// `<data_directory>/models/.bundled` and found last.
    pub fn open_with_demo(mut search_path: Vec<PathBuf>, data_directory: &Path) -> io::Result<Self> {
        let is_installed = |name: &str| search_path.iter().any(|directory| is_model(&directory.join(name)));
        let all_installed = bundled::DEMO_MODELS.iter().all(|name| is_installed(name));
        if !all_installed && let Some(directory) = bundled::unpack(&data_directory.join("models"))? {
            search_path.push(directory);
        }
        Ok(Self::open(search_path))
    }

    /// Every usable model, by name.
    pub fn list(&self) -> Vec<ModelDescription> {
        let mut look = self.look();
        let models = look.models.clone();
        models.iter().filter_map(|(id, directory)| look.describe(id, directory).ok()).collect()
    }

    /// Every installed model's directory, whether it can be read or not. Blocking.
    pub fn directories(&self) -> Vec<(ModelId, PathBuf)> {
        self.look().models.iter().map(|(id, directory)| (id.clone(), directory.clone())).collect()
    }

    /// Whether [`ModelCatalog::list`] and [`ModelCatalog::describe`] answer from memory for the next moment, without blocking.
    pub fn is_fresh(&self) -> bool {
        // Somebody may be looking just now.
        let Some(look) = self.shared.look.try_lock() else { return false };
        let young = |looked: Instant| looked.elapsed() + MOMENT <= FRESH;
        look.taken.is_some_and(young)
            && look.models.values().all(|directory| {
                look.described.get(directory).is_some_and(|known| known.description.is_some() && young(known.looked))
            })
    }

    /// One model.
    pub fn describe(&self, id: &ModelId) -> Result<ModelDescription, ModelError> {
        let mut look = self.look();
        let directory = look.find(id)?;
        look.describe(id, &directory).map_err(|source| ModelError::Broken { name: id.to_string(), source })
    }

    /// The model to use when a request names none: the only one of the kind that there is, the demo model not counted when there are
    /// others.
    pub fn default_model(&self, kind: ModelKind) -> Option<ModelDescription> {
        Self::default_among(self.list(), kind)
    }

    /// The same where only some of the models may be used.
    pub fn default_among(mut models: Vec<ModelDescription>, kind: ModelKind) -> Option<ModelDescription> {
        models.retain(|model| model.kind == kind);
        if models.len() > 1 {
            // No default for requests of which most bring no mask.
            models.retain(|model| model.inpainting.is_none_or(|inpainting| !inpainting.mask_required));
        }
        if models.len() > 1 {
            models.retain(|model| !bundled::DEMO_MODELS.contains(&model.id.as_str()));
        }
        if models.len() == 1 { models.pop() } else { None }
    }

    /// Its directory, as of this moment. Blocking.
    pub fn directory(&self, id: &ModelId) -> Result<PathBuf, ModelError> {
        let directory = self.look().find(id)?;
        if is_model(&directory) {
            return Ok(directory);
        }
        // It has gone since the last look.
        self.shared.look.lock().taken = None;
        self.look().find(id)
    }

    /// Hashes of its weights. Blocking, and slow the first time: call it off the async threads.
    pub fn identity(&self, id: &ModelId) -> Result<ModelIdentity, ModelError> {
        let directory = self.directory(id)?;
        self.shared.identities.identify(&directory).map_err(|source| ModelError::Broken {
            name: id.to_string(),
            source: framewright_engine::Error::File { path: directory, source },
        })
    }

    /// The same as far as nothing needs to be hashed for it. Blocking.
    pub fn known_identity(&self, id: &ModelId) -> Option<ModelIdentity> {
        self.shared.identities.known(&self.directory(id).ok()?)
    }

    fn look(&self) -> parking_lot::MutexGuard<'_, Look> {
        let mut look = self.shared.look.lock();
        if look.taken.is_none_or(|taken| taken.elapsed() > FRESH) {
            look.models = find_models(&self.shared.search_path);
            look.taken = Some(Instant::now());
        }
        look
    }
}

impl Look {
    fn find(&self, id: &ModelId) -> Result<PathBuf, ModelError> {
        self.models.get(id).cloned().ok_or_else(|| ModelError::NotFound {
            name: id.to_string(),
            installed: if self.models.is_empty() {
                "none".to_owned()
            } else {
                self.models.keys().map(ModelId::as_str).collect::<Vec<_>>().join(", ")
            },
        })
    }

    fn describe(&mut self, id: &ModelId, directory: &Path) -> Result<ModelDescription, framewright_engine::Error> {
        if let Some(description) = self.fresh(directory) {
            return Ok(description.clone());
        }
        let (fingerprint, changed) = fingerprint(directory);
        let looked = Instant::now();
        let known = self.described.get_mut(directory).filter(|known| known.fingerprint == fingerprint);
        let known_broken = known.is_some();
        if let Some(known) = known
            && let Some(description) = &known.description
        {
            known.looked = looked;
            return Ok(description.clone());
        }
        let described = FamilyInfo::read(directory).map(|info| info.describe(id, changed));
        if let Err(error) = &described
            && !known_broken
        {
            tracing::warn!(model.id = %id, directory = %directory.display(), %error, "Model {id} cannot be used: {error}");
        }
        let description = described.as_ref().ok().cloned();
        self.described.insert(directory.to_owned(), Described { looked, fingerprint, description });
        described
    }

    /// What was read of a directory, if that was a moment ago.
    fn fresh(&self, directory: &Path) -> Option<&ModelDescription> {
        let known = self.described.get(directory).filter(|known| known.looked.elapsed() <= FRESH)?;
        known.description.as_ref()
    }
}

fn is_model(directory: &Path) -> bool {
    directory.join("model_index.json").is_file()
}

/// Model directories by name; the first on the search path wins. A directory that is absent has no models.
fn find_models(search_path: &[PathBuf]) -> BTreeMap<ModelId, PathBuf> {
    let mut models = BTreeMap::new();
    for parent in search_path {
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if !is_model(&path) {
                continue;
            }
            match entry.file_name().to_string_lossy().parse::<ModelId>() {
                Ok(id) => {
                    models.entry(id).or_insert(path);
                }
                Err(error) if !entry.file_name().as_encoded_bytes().starts_with(b".") => {
                    tracing::debug!(directory = %path.display(), %error, "Skipping a model directory: {error}");
                }
                Err(_) => {}
            }
        }
    }
    models
}

/// A number that changes when any file of a model directory does. Blocking.
pub fn files_fingerprint(directory: &Path) -> u64 {
    fingerprint(directory).0
}

/// A number that changes when any file of a model directory does, and the time of the newest file, Unix seconds.
fn fingerprint(directory: &Path) -> (u64, i64) {
    let mut hasher = DefaultHasher::new();
    let mut newest = SystemTime::UNIX_EPOCH;
    // A single file is a model too.
    if let Ok(metadata) = std::fs::metadata(directory)
        && metadata.is_file()
    {
        newest = metadata.modified().unwrap_or(newest);
        (directory, metadata.len(), newest).hash(&mut hasher);
    }
    let mut pending = vec![(directory.to_owned(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for path in files {
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if metadata.is_dir() && depth == 0 {
                pending.push((path, 1));
            } else if metadata.is_file() {
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                newest = newest.max(modified);
                (path, metadata.len(), modified).hash(&mut hasher);
            }
        }
    }
    let seconds = newest.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64);
    (hasher.finish(), seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(parent: &Path, name: &str) {
        let directory = parent.join(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("model_index.json"), "{}").unwrap();
    }

    #[test]
    fn the_first_of_a_name_wins_and_strange_names_are_passed_over() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["a", "b.c", ".hidden", "with space"] {
            place(first.path(), name);
        }
        std::fs::create_dir(first.path().join("empty")).unwrap();
        place(second.path(), "a");
        place(second.path(), "z");
        let absent = first.path().join("absent");
        let catalog = ModelCatalog::open(vec![absent, first.path().to_owned(), second.path().to_owned()]);
        let directory = |name: &str| catalog.directory(&name.parse().unwrap());
        assert_eq!(directory("a").unwrap(), first.path().join("a"));
        assert_eq!(directory("z").unwrap(), second.path().join("z"));
        let error = directory("empty").unwrap_err().to_string();
        assert_eq!(error, "no model 'empty'; installed: a, b.c, z");
        std::fs::remove_dir_all(first.path().join("a")).unwrap();
        assert_eq!(directory("a").unwrap(), second.path().join("a"), "what has gone is not found any more");
    }

    #[test]
    fn a_look_is_fresh_for_a_while_when_every_model_was_read() {
        let directory = tempfile::tempdir().unwrap();
        let parent = bundled::unpack(directory.path()).unwrap().unwrap();
        let bundled_models = std::fs::read_dir(&parent).unwrap().count();
        let catalog = ModelCatalog::open(vec![parent.clone()]);
        assert!(!catalog.is_fresh(), "nobody has looked yet");
        assert_eq!(catalog.list().len(), bundled_models);
        assert!(catalog.is_fresh());
        catalog.shared.look.lock().taken = Instant::now().checked_sub(2 * FRESH);
        assert!(!catalog.is_fresh(), "too long ago");
        place(&parent, "broken");
        assert_eq!(catalog.list().len(), bundled_models);
        assert!(!catalog.is_fresh(), "a broken model is read anew, to say what is wrong with it");
    }

    #[test]
    fn fingerprints_follow_the_files() {
        let directory = tempfile::tempdir().unwrap();
        place(directory.path(), "a");
        let model = directory.path().join("a");
        let (before, _) = fingerprint(&model);
        assert_eq!(fingerprint(&model).0, before);
        std::fs::create_dir(model.join("unet")).unwrap();
        std::fs::write(model.join("unet/config.json"), "{}").unwrap();
        let (after, created) = fingerprint(&model);
        assert_ne!(after, before);
        assert!(created > 1_500_000_000);
    }
}
