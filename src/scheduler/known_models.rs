//! What decisions need to know of models: read from their files once, corrected by what was measured. The disk is never touched by a
//! decision.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewright_engine::ops::DeviceFacts;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::fleet::ModelFacts;
use crate::domain::{BatchKey, ModelId};
use crate::jobs::speed::SpeedEstimates;
use crate::models::{FamilyInfo, ModelCatalog, ModelIdentity, files_fingerprint};

/// How old a look at a model's files may be before a task has them looked at again.
const FRESH: Duration = Duration::from_secs(1);

/// Where models lie and what they take.
#[derive(Debug)]
pub(super) struct KnownModels {
    catalog: ModelCatalog,
    numerics: DeviceFacts,
    speeds: SpeedEstimates,
    known: Mutex<HashMap<ModelId, Arc<KnownModel>>>,
    /// One look at a time: tasks that come together read a new model once.
    looking: tokio::sync::Mutex<()>,
}

/// A model as of the last look.
#[derive(Debug)]
pub(super) struct KnownModel {
    /// Where its files lie.
    pub(super) directory: PathBuf,
    looked: Instant,
    files: Arc<ModelFiles>,
}

/// What follows from a model's files, as long as they do not change.
#[derive(Debug)]
struct ModelFiles {
    fingerprint: u64,
    info: Option<FamilyInfo>,
    identity: OnceCell<Arc<ModelIdentity>>,
    weights_bytes: Option<u64>,
    /// By width and height: bytes that the first row works in, and each further one.
    activations: Mutex<HashMap<(u32, u32), (u64, u64)>>,
}

impl KnownModel {
    /// A number that changes when any of its files does.
    pub(super) fn fingerprint(&self) -> u64 {
        self.files.fingerprint
    }
}

impl KnownModels {
    pub(super) fn new(catalog: ModelCatalog, numerics: DeviceFacts) -> Self {
        Self {
            catalog,
            numerics,
            speeds: SpeedEstimates::default(),
            known: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// What was measured so far.
    pub(super) fn speeds(&self) -> &SpeedEstimates {
        &self.speeds
    }

    /// Whether the model's files have ever been looked at.
    pub(super) fn knows(&self, model: &ModelId) -> bool {
        self.known.lock().contains_key(model)
    }

    /// The model as it lies on the disk now, give or take a second; the error is the catalogue's.
    pub(super) async fn find(&self, model: &ModelId) -> Result<Arc<KnownModel>, String> {
        if let Some(known) = self.fresh(model) {
            return Ok(known);
        }
        let _turn = self.looking.lock().await;
        if let Some(known) = self.fresh(model) {
            return Ok(known);
        }
        let earlier = self.known.lock().get(model).map(|known| known.files.clone());
        let (catalog, numerics, id) = (self.catalog.clone(), self.numerics, model.clone());
        let look = tokio::task::spawn_blocking(move || {
            let directory = catalog.directory(&id).map_err(|error| error.to_string())?;
            let fingerprint = files_fingerprint(&directory);
            let files = match earlier.filter(|files| files.fingerprint == fingerprint) {
                Some(files) => files,
                None => Arc::new(ModelFiles::read(&directory, fingerprint, numerics)),
            };
            Ok(Arc::new(KnownModel { directory, looked: Instant::now(), files }))
        });
        let found = look.await.unwrap_or_else(|error| Err(error.to_string()));
        let mut known = self.known.lock();
        match &found {
            Ok(found) => known.insert(model.clone(), found.clone()),
            Err(_) => known.remove(model),
        };
        found
    }

    /// A look that is young enough; a model that has gone since is looked for again.
    fn fresh(&self, model: &ModelId) -> Option<Arc<KnownModel>> {
        let known = self.known.lock().get(model).filter(|known| known.looked.elapsed() < FRESH).cloned()?;
        known.directory.join("model_index.json").is_file().then_some(known)
    }

    /// The hashes of the model's weights, taken once for as long as its files stay; a picture without them is better than none.
    pub(super) async fn identity(&self, model: &ModelId, known: &KnownModel) -> Arc<ModelIdentity> {
        let hash = async || {
            let (catalog, id) = (self.catalog.clone(), model.clone());
            let hashed = tokio::task::spawn_blocking(move || catalog.identity(&id).map_err(|error| error.to_string()));
            let identity = hashed.await.unwrap_or_else(|error| Err(error.to_string())).unwrap_or_else(|error| {
                tracing::warn!(model.id = %model, error, "Cannot hash model {model}: {error}");
                ModelIdentity::default()
            });
            Arc::new(identity)
        };
        known.files.identity.get_or_init(hash).await.clone()
    }

    fn files(&self, model: &ModelId) -> Option<Arc<ModelFiles>> {
        self.known.lock().get(model).map(|known| known.files.clone())
    }
}

impl ModelFiles {
    /// Reads what can be known without loading. Blocking.
    fn read(directory: &Path, fingerprint: u64, numerics: DeviceFacts) -> Self {
        // What is wrong with its files is told by the device that tries to load them.
        let info = FamilyInfo::read(directory).ok();
        let weights_bytes = info.as_ref().map(|info| info.weights_bytes(numerics));
        Self { fingerprint, info, identity: OnceCell::new(), weights_bytes, activations: Mutex::default() }
    }
}

impl ModelFacts for KnownModels {
    fn weights_bytes(&self, model: &ModelId) -> Option<u64> {
        self.files(model)?.weights_bytes
    }

    fn activation_bytes(&self, batch: &BatchKey, rows: u32) -> Option<u64> {
        let files = self.files(&batch.model)?;
        let info = files.info.as_ref()?;
        let size = (batch.width, batch.height);
        let (first, further) =
            *files.activations.lock().entry(size).or_insert_with(|| info.activation_bytes(size, self.numerics));
        Some(first.saturating_add(further.saturating_mul(u64::from(rows.saturating_sub(1)))))
    }

    fn seconds_per_work(&self, batch: &BatchKey) -> Option<f64> {
        self.speeds.seconds_per_work(batch)
    }

    fn load_seconds(&self, model: &ModelId) -> Option<f64> {
        self.speeds.load_seconds(model)
    }
}
