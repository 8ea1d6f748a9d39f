//! Orders to devices from people: drain, load, unload, pin.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::device_pool::DeviceStatus;
use super::dispatcher::Shared;
use super::fleet::{DeviceView, ModelFacts};
use super::handle::Scheduler;
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
        let index = match device {
            Some(name) => shared.device(name)?,
            None => shared.roomy_device(model)?,
        };
        let turn = self.loads.turn(index, model);
        let loaded = {
            let _turn = turn.lock().await;
            if shared.pool.has_loaded(index, model) {
                Ok(())
            } else {
                shared.pool.executors()[index].load(model, &known.directory).await
            }
        };
        self.loads.done(index, model);
        loaded.map_err(|error| DeviceOrderError::Refused(error.to_string()))?;
        shared.pool.touch(index, model, shared.clock().now());
        Ok(shared.pool.status(index))
    }

    /// Gives back a model's memory on a device (on all, without a name); a device that uses it does so when it is done.
    pub async fn unload_model(&self, model: &ModelId, device: Option<&str>) -> Result<Vec<DeviceStatus>, DeviceOrderError> {
        let shared = &self.shared;
        let devices = match device {
            Some(name) => vec![shared.device(name)?],
            None => (0..shared.pool.executors().len()).collect(),
        };
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

    /// Keeps a model where it is loaded, whatever else needs room, until it is unpinned.
    pub fn pin_model(&self, model: &ModelId, pinned: bool) -> Result<Vec<DeviceStatus>, DeviceOrderError> {
        self.shared.pool.pin(model, pinned);
        Ok(self.shared.pool.statuses())
    }
}

impl Shared {
    fn device(&self, name: &str) -> Result<usize, DeviceOrderError> {
        self.pool.index(name).ok_or_else(|| DeviceOrderError::NoDevice {
            name: name.chars().take(64).collect(),
            known: self.pool.executors().iter().map(|executor| executor.name()).collect::<Vec<_>>().join(", "),
        })
    }

    /// A device that has the model, or else the first one with room for it.
    fn roomy_device(&self, model: &ModelId) -> Result<usize, DeviceOrderError> {
        let fleet = self.pool.fleet();
        let weights_bytes = self.models.weights_bytes(model).unwrap_or(0);
        let has_model = |device: &&DeviceView| device.resident.iter().any(|resident| resident.model == *model);
        let has_room = |device: &&DeviceView| {
            let taken: u64 = device.resident.iter().map(|resident| resident.weights_bytes).fold(0, u64::saturating_add);
            device.memory_bytes.is_none_or(|memory| memory.saturating_sub(taken) >= weights_bytes)
        };
        let accepting = || fleet.devices.iter().filter(|device| device.accepts);
        let chosen = accepting().find(has_model).or_else(|| accepting().find(has_room));
        chosen.map(|device| device.index).ok_or_else(|| {
            DeviceOrderError::Refused(format!(
                "no device in use has {:.2} GB free for {model}; unload another model, or name the device to load it on",
                weights_bytes as f64 / 1e9
            ))
        })
    }
}
