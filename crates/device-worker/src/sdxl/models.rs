//! The models in a device's memory.

use std::rc::Rc;

use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::pipelines::sdxl::{ImageRequest, SdxlModel};
use framewright_engine::weights::Variant;
use framewright_engine::weights::packed::PackedCache;

use crate::device::LoadedModel;
use crate::task::ModelFiles;

/// Loaded models; one that a task holds is in use.
#[derive(Debug)]
pub(super) struct Shelf {
    packed: Option<PackedCache>,
    models: Vec<Resident>,
    uses: u64,
}

#[derive(Debug)]
struct Resident {
    files: ModelFiles,
    model: Rc<SdxlModel>,
    weights_bytes: u64,
    last_used: u64,
    /// Its files have changed since: it goes when nobody uses it any more.
    stale: bool,
}

impl Resident {
    fn is_idle(&self) -> bool {
        Rc::strong_count(&self.model) == 1
    }
}

impl Shelf {
    pub(super) fn new(packed: Option<PackedCache>) -> Self {
        Self { packed, models: Vec::new(), uses: 0 }
    }

    /// The model if it is loaded from the files as they are now.
    pub(super) fn get(&mut self, files: &ModelFiles) -> Option<Rc<SdxlModel>> {
        self.uses += 1;
        let known = self.models.iter_mut().find(|known| known.files == *files)?;
        known.last_used = self.uses;
        Some(Rc::clone(&known.model))
    }

    pub(super) fn has(&self, files: &ModelFiles) -> bool {
        self.models.iter().any(|known| known.files == *files)
    }

    /// Loads a model. What was loaded of its name from other files goes.
    pub(super) fn load(
        &mut self,
        files: &ModelFiles,
        ops: &Ops,
        interrupt: &Interrupt,
    ) -> framewright_engine::Result<Rc<SdxlModel>> {
        self.mark_stale(files);
        let model = Rc::new(load(files, ops, self.packed.as_ref(), interrupt)?);
        // The weights' share of an estimate does not depend on the request.
        let weights_bytes = model.info().memory_estimate(&smallest_request(), ops).weights_bytes;
        self.uses += 1;
        self.models.push(Resident {
            files: files.clone(),
            model: Rc::clone(&model),
            weights_bytes,
            last_used: self.uses,
            stale: false,
        });
        Ok(model)
    }

    /// What was loaded of the name from other files will not be used again.
    pub(super) fn mark_stale(&mut self, files: &ModelFiles) {
        for known in &mut self.models {
            known.stale |= known.files.name == files.name && known.files != *files;
        }
        self.drop_stale();
    }

    pub(super) fn drop_stale(&mut self) {
        self.models.retain(|known| !known.stale || !known.is_idle());
    }

    /// Whether the model of this name is gone now: one in use stays.
    pub(super) fn unload(&mut self, name: &str) -> bool {
        self.models.retain(|known| known.files.name != name || !known.is_idle());
        self.models.iter().all(|known| known.files.name != name)
    }

    /// Drops the idle model that was used least recently, other than `needed`.
    pub(super) fn evict_one(&mut self, needed: Option<&ModelFiles>) -> bool {
        let idle = self.models.iter().enumerate().filter(|(_, known)| known.is_idle() && Some(&known.files) != needed);
        let Some((oldest, _)) = idle.min_by_key(|(_, known)| known.last_used) else { return false };
        let gone = self.models.remove(oldest);
        tracing::info!(model.id = %gone.files.name, "Unloaded model {} to make room", gone.files.name);
        true
    }

    pub(super) fn loaded(&self) -> Vec<LoadedModel> {
        let loaded = |known: &Resident| LoadedModel { name: known.files.name.clone(), weights_bytes: known.weights_bytes };
        self.models.iter().filter(|known| !known.stale).map(loaded).collect()
    }
}

/// Loads a model's weights for the device of `ops`, shared with other workers where there is a place for packed ones.
fn load(
    files: &ModelFiles,
    ops: &Ops,
    packed: Option<&PackedCache>,
    interrupt: &Interrupt,
) -> framewright_engine::Result<SdxlModel> {
    let variant = match ops.precision() {
        Precision::F16 => Variant::Half,
        Precision::F32 | Precision::Bf16 => Variant::Plain,
    };
    let Some(cache) = packed else { return SdxlModel::load(&files.directory, ops, variant, interrupt) };
    let (model, used) = SdxlModel::load_shared(&files.directory, ops, variant, cache, interrupt)?;
    tracing::info!(model.id = %files.name, ?used, "Loaded model {}", files.name);
    Ok(model)
}

/// A request whose estimate is mostly weights.
pub(super) fn smallest_request() -> ImageRequest {
    ImageRequest {
        prompt: String::new(),
        negative_prompt: None,
        width: 64,
        height: 64,
        num_inference_steps: 1,
        guidance_scale: 1.0,
        guidance_rescale: 0.0,
        sampler: None,
        seed: 0,
        init_image: None,
        strength: 1.0,
    }
}
