//! The loaded models of every family.

use std::rc::Rc;

use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::pipelines::sdxl::SdxlModel;
use framewright_engine::pipelines::svd::SvdModel;
use framewright_engine::weights::Variant;
use framewright_engine::weights::packed::PackedCache;

use super::description::Family;
use super::need::{picture_weights_bytes, video_weights_bytes};
use crate::device::LoadedModel;
use crate::task::ModelFiles;

/// A loaded model. Clones share it.
#[derive(Clone, Debug)]
pub(crate) enum Model {
    /// Makes pictures.
    Sdxl(Rc<SdxlModel>),
    /// Makes clips.
    Svd(Rc<SvdModel>),
}

impl Model {
    fn weights_bytes(&self, ops: &Ops) -> u64 {
        match self {
            Self::Sdxl(model) => picture_weights_bytes(model.info(), ops),
            Self::Svd(model) => video_weights_bytes(model.info(), ops),
        }
    }

    fn is_shared(&self) -> bool {
        match self {
            Self::Sdxl(model) => Rc::strong_count(model) > 1,
            Self::Svd(model) => Rc::strong_count(model) > 1,
        }
    }
}

/// Loaded models; one that a task holds is in use.
#[derive(Debug)]
pub(crate) struct Shelf {
    packed: Option<PackedCache>,
    models: Vec<Resident>,
    uses: u64,
}

#[derive(Debug)]
struct Resident {
    files: ModelFiles,
    model: Model,
    weights_bytes: u64,
    last_used: u64,
    /// Its files have changed since: it goes when nobody uses it any more.
    stale: bool,
}

impl Resident {
    fn is_idle(&self) -> bool {
        !self.model.is_shared()
    }
}

impl Shelf {
    pub(crate) fn new(packed: Option<PackedCache>) -> Self {
        Self { packed, models: Vec::new(), uses: 0 }
    }

    /// The model if it is loaded from the files as they are now.
    pub(crate) fn get(&mut self, files: &ModelFiles) -> Option<Model> {
        self.uses += 1;
        let known = self.models.iter_mut().find(|known| known.files == *files)?;
        known.last_used = self.uses;
        Some(known.model.clone())
    }

    pub(crate) fn has(&self, files: &ModelFiles) -> bool {
        self.models.iter().any(|known| known.files == *files)
    }

    /// Loads a model. What was loaded of its name from other files goes.
    pub(crate) fn load(&mut self, files: &ModelFiles, ops: &Ops, interrupt: &Interrupt) -> framewright_engine::Result<Model> {
        self.mark_stale(files);
        let model = load(files, ops, self.packed.as_ref(), interrupt)?;
        let weights_bytes = model.weights_bytes(ops);
        self.uses += 1;
        self.models.push(Resident {
            files: files.clone(),
            model: model.clone(),
            weights_bytes,
            last_used: self.uses,
            stale: false,
        });
        Ok(model)
    }

    /// What was loaded of the name from other files will not be used again.
    pub(crate) fn mark_stale(&mut self, files: &ModelFiles) {
        for known in &mut self.models {
            known.stale |= known.files.name == files.name && known.files != *files;
        }
        self.drop_stale();
    }

    pub(crate) fn drop_stale(&mut self) {
        self.models.retain(|known| !known.stale || !known.is_idle());
    }

    /// Whether the model of this name is gone now: one in use stays.
    pub(crate) fn unload(&mut self, name: &str) -> bool {
        self.models.retain(|known| known.files.name != name || !known.is_idle());
        self.models.iter().all(|known| known.files.name != name)
    }

    /// Drops the idle model that was used least recently, other than `needed`.
    pub(crate) fn evict_one(&mut self, needed: Option<&ModelFiles>) -> bool {
        let idle = self.models.iter().enumerate().filter(|(_, known)| known.is_idle() && Some(&known.files) != needed);
        let Some((oldest, _)) = idle.min_by_key(|(_, known)| known.last_used) else { return false };
        let gone = self.models.remove(oldest);
        tracing::info!(model.id = %gone.files.name, "Unloaded model {} to make room", gone.files.name);
        true
    }

    pub(crate) fn loaded(&self) -> Vec<LoadedModel> {
        let loaded = |known: &Resident| LoadedModel { name: known.files.name.clone(), weights_bytes: known.weights_bytes };
        self.models.iter().filter(|known| !known.stale).map(loaded).collect()
    }
}

/// Loads a model's weights for the device of `ops`, shared with other workers where there is a place for packed ones.
fn load(files: &ModelFiles, ops: &Ops, packed: Option<&PackedCache>, interrupt: &Interrupt) -> framewright_engine::Result<Model> {
    let variant = match ops.precision() {
        Precision::F16 => Variant::Half,
        Precision::F32 | Precision::Bf16 => Variant::Plain,
    };
    let path = &files.directory;
    let (model, used) = match (Family::of(path), packed) {
        (Family::Sdxl, None) => (Model::Sdxl(Rc::new(SdxlModel::load(path, ops, variant, interrupt)?)), None),
        (Family::Svd, None) => (Model::Svd(Rc::new(SvdModel::load(path, ops, variant, interrupt)?)), None),
        (Family::Sdxl, Some(cache)) => {
            let (model, used) = SdxlModel::load_shared(path, ops, variant, cache, interrupt)?;
            (Model::Sdxl(Rc::new(model)), Some(used))
        }
        (Family::Svd, Some(cache)) => {
            let (model, used) = SvdModel::load_shared(path, ops, variant, cache, interrupt)?;
            (Model::Svd(Rc::new(model)), Some(used))
        }
    };
    if let Some(used) = used {
        tracing::info!(model.id = %files.name, ?used, "Loaded model {}", files.name);
    }
    Ok(model)
}
