//! The machine's memory, which devices without memory of their own share: what each of them holds bounds the others. Pure.
//!
//! They map packed weights from one file, so a model takes its memory once, on however many of them it is loaded. What evaluations work in
//! is each device's own.

use std::collections::{BTreeMap, BTreeSet};

use super::fleet::{DeviceView, Fleet, ModelFacts};
use crate::domain::{BatchKey, ModelId, UnixMs};
use crate::models::residency::{self, Resident};

/// What the devices that share memory hold, as a decision goes on.
#[derive(Debug)]
pub(super) struct SharedMemory {
    capacity_bytes: Option<u64>,
    /// By index.
    holders: BTreeMap<usize, Holder>,
    held_for: Option<ModelId>,
}

#[derive(Debug, Default)]
struct Holder {
    weights: BTreeMap<ModelId, Weights>,
    /// What runs: its model, and what it works in.
    running: Option<(ModelId, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Weights {
    bytes: u64,
    last_used: UnixMs,
    pinned: bool,
}

impl SharedMemory {
    /// What is held before the decision. A model that a device is still loading counts.
    pub(super) fn survey(fleet: &Fleet, models: &dyn ModelFacts) -> Self {
        let sharing = || fleet.devices.iter().filter(|device| device.shares_memory);
        let holder = |device: &DeviceView| {
            let mut holder = Holder::default();
            for resident in &device.resident {
                let weights = Weights { bytes: resident.weights_bytes, last_used: resident.last_used, pinned: resident.pinned };
                holder.weights.insert(resident.model.clone(), weights);
            }
            if let Some(first) = device.running.first() {
                let rows = device.running.iter().fold(0_u32, |rows, task| rows.saturating_add(task.rows));
                holder.run(&first.batch, rows, models);
            }
            (device.index, holder)
        };
        Self {
            capacity_bytes: sharing().filter_map(|device| device.memory_bytes).min(),
            holders: sharing().map(holder).collect(),
            held_for: None,
        }
    }

    /// The device as it may be filled with tasks of `model`, when all others keep what they hold; `None` where it shares nothing.
    pub(super) fn beside_others(&self, device: &DeviceView, model: &ModelId) -> Option<DeviceView> {
        let capacity_bytes = self.capacity_bytes.filter(|_| device.shares_memory && self.holders.len() > 1)?;
        let others = || self.holders.iter().filter(|(index, _)| **index != device.index).map(|(_, holder)| holder);
        let elsewhere: BTreeMap<&ModelId, u64> =
            others().flat_map(|holder| &holder.weights).map(|(model, weights)| (model, weights.bytes)).collect();
        let is_here = |other: &ModelId| other == model || device.resident.iter().any(|resident| resident.model == *other);
        let weights = elsewhere.iter().filter(|(other, _)| !is_here(other)).map(|(_, bytes)| *bytes);
        let taken = weights.chain(others().map(Holder::work_bytes)).fold(0, u64::saturating_add);
        let mut resident = device.resident.clone();
        for resident in &mut resident {
            // To unload it here gives nothing back.
            resident.pinned |= elsewhere.contains_key(&resident.model);
        }
        Some(DeviceView { memory_bytes: Some(capacity_bytes.saturating_sub(taken)), resident, running: Vec::new(), ..*device })
    }

    /// Takes account of `rows` rows that run on a device from now on, after it unloaded models.
    pub(super) fn start(&mut self, device: usize, unloaded: &[ModelId], batch: &BatchKey, rows: u32, models: &dyn ModelFacts) {
        let Some(holder) = self.holders.get_mut(&device) else { return };
        holder.weights.retain(|model, _| !unloaded.contains(model));
        holder.run(batch, rows, models);
    }

    /// What all devices together must give up so that `rows` rows of `batch` fit on one that does nothing: each model and the devices
    /// that have it. `None` where too much is in use or pinned; nothing where they fit.
    pub(super) fn evictions(&self, models: &dyn ModelFacts, batch: &BatchKey, rows: u32) -> Option<Vec<(usize, ModelId)>> {
        let mut residents: BTreeMap<&ModelId, Resident> = BTreeMap::new();
        for (model, weights) in self.holders.values().flat_map(|holder| &holder.weights) {
            let last_used = UnixMs(i64::MIN);
            let resident = residents.entry(model).or_insert_with(|| Resident {
                model: model.clone(),
                bytes: weights.bytes,
                last_used,
                pinned: *model == batch.model,
            });
            resident.last_used = resident.last_used.max(weights.last_used);
            resident.pinned |= weights.pinned;
        }
        for (model, _) in self.holders.values().filter_map(|holder| holder.running.as_ref()) {
            if let Some(resident) = residents.get_mut(model) {
                resident.pinned = true;
            }
        }
        let weights = if residents.contains_key(&batch.model) { 0 } else { models.weights_bytes(&batch.model).unwrap_or(0) };
        let work = self.holders.values().map(Holder::work_bytes);
        let needed = work.fold(weights, u64::saturating_add).saturating_add(models.activation_bytes(batch, rows).unwrap_or(0));
        let residents: Vec<Resident> = residents.into_values().collect();
        let evicted: BTreeSet<ModelId> =
            residency::choose_evictions(&residents, needed, self.capacity_bytes?).ok()?.into_iter().collect();
        let holding = |model: &ModelId| {
            let holders = self.holders.iter().filter(|(_, holder)| holder.weights.contains_key(model));
            holders.map(|(index, _)| (*index, model.clone())).collect::<Vec<_>>()
        };
        Some(evicted.iter().flat_map(holding).collect())
    }

    /// Lets nothing but `model` start for the rest of the decision.
    pub(super) fn hold_for(&mut self, model: &ModelId) {
        self.held_for.get_or_insert_with(|| model.clone());
    }

    /// Whether tasks of `model` may start on a device.
    pub(super) fn is_open(&self, device: &DeviceView, model: &ModelId) -> bool {
        !device.shares_memory || self.held_for.as_ref().is_none_or(|held_for| held_for == model)
    }
}

impl Holder {
    fn run(&mut self, batch: &BatchKey, rows: u32, models: &dyn ModelFacts) {
        self.weights.entry(batch.model.clone()).or_insert_with(|| Weights {
            bytes: models.weights_bytes(&batch.model).unwrap_or(0),
            last_used: UnixMs(i64::MAX),
            pinned: false,
        });
        self.running = Some((batch.model.clone(), models.activation_bytes(batch, rows).unwrap_or(0)));
    }

    fn work_bytes(&self) -> u64 {
        self.running.as_ref().map_or(0, |(_, bytes)| *bytes)
    }
}

#[cfg(test)]
#[path = "shared_memory_tests.rs"]
mod tests;
