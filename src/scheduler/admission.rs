//! What fits on a device, and what has to leave it first. Pure.

use super::fleet::{DeviceView, ModelFacts};
use crate::domain::{BatchKey, ErrorCode, JobError, ModelId};
use crate::models::residency::{self, Resident};

/// Bytes that a model and an evaluation of `rows` rows take; what is unknown counts as nothing, and the device decides.
pub(super) fn needed_bytes(models: &dyn ModelFacts, batch: &BatchKey, rows: u32) -> u64 {
    let weights = models.weights_bytes(&batch.model).unwrap_or(0);
    weights.saturating_add(models.activation_bytes(batch, rows).unwrap_or(0))
}

/// What must be unloaded so that an evaluation of `rows` rows fits on a device that runs nothing but tasks of `batch`; `None` where it does
/// not fit however much is unloaded. `stays` names models that are not to go for this.
pub(super) fn unloads(
    device: &DeviceView,
    models: &dyn ModelFacts,
    batch: &BatchKey,
    rows: u32,
    stays: impl Fn(&ModelId) -> bool,
) -> Option<Vec<ModelId>> {
    let Some(memory_bytes) = device.memory_bytes else { return Some(Vec::new()) };
    let activations = models.activation_bytes(batch, rows).unwrap_or(0);
    let loaded = device.resident.iter().any(|resident| resident.model == batch.model);
    let weights = if loaded { 0 } else { models.weights_bytes(&batch.model).unwrap_or(0) };
    let needed = weights.saturating_add(activations);
    let held = device.resident.iter().fold(0_u64, |sum, resident| sum.saturating_add(resident.weights_bytes));
    if held.saturating_add(needed) <= memory_bytes {
        return Some(Vec::new());
    }
    let residents: Vec<Resident> = device
        .resident
        .iter()
        .map(|resident| Resident {
            model: resident.model.clone(),
            bytes: resident.weights_bytes,
            last_used: resident.last_used,
            pinned: resident.pinned || resident.model == batch.model || stays(&resident.model),
        })
        .collect();
    residency::choose_evictions(&residents, needed, memory_bytes).ok()
}

/// Why no device could ever run it; `None` where one could, or where a device's memory is not known.
pub(super) fn never_fits(devices: &[DeviceView], models: &dyn ModelFacts, batch: &BatchKey, rows: u32) -> Option<JobError> {
    let largest = devices.iter().map(|device| device.memory_bytes).try_fold(0, |largest, bytes| Some(bytes?.max(largest)))?;
    let needed = needed_bytes(models, batch, rows);
    (!devices.is_empty() && needed > largest).then(|| JobError {
        code: ErrorCode::OutOfMemory,
        message: format!(
            "model '{}' at {} x {} needs {:.2} GB on a device ({:.2} GB of weights, {:.2} GB to work in); the largest device offers \
             {:.2} GB: ask for a smaller picture or fewer pictures at once",
            batch.model,
            batch.width,
            batch.height,
            gigabytes(needed),
            gigabytes(models.weights_bytes(&batch.model).unwrap_or(0)),
            gigabytes(models.activation_bytes(batch, rows).unwrap_or(0)),
            gigabytes(largest),
        ),
    })
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}
