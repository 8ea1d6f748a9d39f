//! Orders to devices from people: drain, load, unload, pin.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::device_pool::DeviceStatus;
use super::dispatcher::Shared;
use super::fleet::{DeviceView, ModelFacts};
use super::handle::Scheduler;
use super::shared_memory::SharedMemory;
use crate::domain::ModelId;

/// Why an order to a device was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceOrderError {
    /// No device of that name.
    #[error("no device '{name}'; devices: {known}")]
    NoDevice {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// No such model, or its files are broken.
    #[error("{0}")]
    Model(String),
    /// The device could not do it.
    #[error("{0}")]
    Refused(String),
}

/// Held while a model is loaded on a device.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// Loads that are under way: who wants the same waits for the one that is.
#[derive(Debug, Default)]
pub(super) struct Loads(Mutex<HashMap<(usize, ModelId), Turn>>);

impl Loads {
    fn turn(&self, device: usize, model: &ModelId) -> Turn {
        self.0.lock().entry((device, model.clone())).or_default().clone()
    }

    fn done(&self, device: usize, model: &ModelId) {
        let mut loads = self.0.lock();
        let key = (device, model.clone());
        // Two: the map's and the caller's.
        if loads.get(&key).is_some_and(|turn| Arc::strong_count(turn) <= 2) {
            loads.remove(&key);
        }
    }
}

impl Scheduler {
    /// The devices and what they do.
    pub fn devices(&self) -> Vec<DeviceStatus> {
        self.shared.pool.statuses()
    }

    /// Stops giving tasks to a device; what runs on it ends. `false` undoes it.
    pub fn drain(&self, device: &str, draining: bool) -> Result<DeviceStatus, DeviceOrderError> {
        let index = self.shared.device(device)?;
        self.shared.pool.drain(index, draining);
        tracing::info!(device, draining, "{} device {device}", if draining { "Draining" } else { "Using" });
        Ok(self.shared.pool.status(index))
    }

    /// Loads a model on a device (on the first one that has room, without a name) before anybody needs it.
    pub async fn load_model(&self, model: &ModelId, device: Option<&str>) -> Result<DeviceStatus, DeviceOrderError> {
        let shared = &self.shared;
        let known = shared.models.find(model).await.map_err(DeviceOrderError::Model)?;
        let named = device.map(|name| shared.device(name)).transpose()?;
        let index = shared.roomy_device(model, named)?;
        let turn = self.loads.turn(index, model);
        let loaded = {
            let _turn = turn.lock().await;
            if shared.pool.has_loaded(index, model) {
                Ok(())
            } else {
                shared.pool.executors()[index].load(model, &known.directory, known.fingerprint()).await
            }
        };
        self.loads.done(index, model);
        loaded.map_err(|error| DeviceOrderError::Refused(error.to_string()))?;
        shared.pool.touch(index, model, shared.clock().now());
        Ok(shared.pool.status(index))
    }

    /// Gives back a model's memory on a device (on all, without a name); a device that uses it does so when it is done. A pinned model
    /// stays.
    pub async fn unload_model(&self, model: &ModelId, device: Option<&str>) -> Result<Vec<DeviceStatus>, DeviceOrderError> {
        let shared = &self.shared;
        shared.check_model(model).await?;
        let devices = match device {
            Some(name) => vec![shared.device(name)?],
            None => (0..shared.pool.executors().len()).collect(),
        };
        if shared.pool.is_pinned(model) {
            return Err(DeviceOrderError::Refused(format!("{model} is pinned; unpin it before you unload it")));
        }
        for &device in devices.iter().filter(|device| shared.pool.has_loaded(**device, model)) {
            let unloaded = if shared.pool.sharing(device) == 0 {
                shared.pool.executors()[device].unload(model).await.is_ok()
            } else {
                false
            };
            if !unloaded {
                shared.pool.dismiss(device, model);
            }
        }
        Ok(devices.into_iter().map(|device| shared.pool.status(device)).collect())
    }

    /// Keeps a model where it is loaded, until it is unpinned: neither what else is wanted nor idleness has it unloaded. A worker that
    /// finds less memory than was planned with may still drop it, rather than fail a task.
    pub async fn pin_model(&self, model: &ModelId, pinned: bool) -> Result<Vec<DeviceStatus>, DeviceOrderError> {
        self.shared.check_model(model).await?;
        self.shared.pool.pin(model, pinned);
        Ok(self.shared.pool.statuses())
    }
}

impl Shared {
    /// An order about a model that is neither installed, nor loaded or pinned from before its files went, is a mistake.
    async fn check_model(&self, model: &ModelId) -> Result<(), DeviceOrderError> {
        let is_held = (0..self.pool.executors().len()).any(|device| self.pool.has_loaded(device, model));
        if is_held || self.pool.is_pinned(model) {
            return Ok(());
        }
        self.models.find(model).await.map(drop).map_err(DeviceOrderError::Model)
    }

    fn device(&self, name: &str) -> Result<usize, DeviceOrderError> {
        self.pool.index(name).ok_or_else(|| DeviceOrderError::NoDevice {
            name: name.chars().take(64).collect(),
            known: self.pool.executors().iter().map(|executor| executor.name()).collect::<Vec<_>>().join(", "),
        })
    }

    /// A device that has the model, or else the first one with room for it, below the configured caps; `named`, or none, if it is given.
    fn roomy_device(&self, model: &ModelId, named: Option<usize>) -> Result<usize, DeviceOrderError> {
        let fleet = self.pool.fleet();
        let memory = SharedMemory::survey(&fleet, &self.models);
        let weights_bytes = self.models.weights_bytes(model).unwrap_or(0);
        let has_model = |device: &&DeviceView| device.resident.iter().any(|resident| resident.model == *model);
        let has_room = |device: &&DeviceView| {
            let beside = memory.beside_others(device, model);
            let device = beside.as_ref().unwrap_or(device);
            let taken: u64 = device.resident.iter().map(|resident| resident.weights_bytes).fold(0, u64::saturating_add);
            device.memory_bytes.is_none_or(|memory| memory.saturating_sub(taken) >= weights_bytes)
        };
        let usable = || fleet.devices.iter().filter(|device| named.map_or(device.accepts, |index| device.index == index));
        let chosen = usable().find(has_model).or_else(|| usable().find(has_room));
        chosen.map(|device| device.index).ok_or_else(|| {
            let device = named.map_or("no device in use has", |_| "the device does not have");
            let gigabytes = weights_bytes as f64 / 1e9;
            DeviceOrderError::Refused(format!("{device} {gigabytes:.2} GB left for {model}; unload another model first"))
        })
    }
}
