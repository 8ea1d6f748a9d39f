//! Memory and utilisation of devices, as far as the machine says.

mod graphics;
pub mod host_memory;
mod processor;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::device::DeviceKind;
use graphics::Graphics;
use processor::BusyTime;

/// A device's memory, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// In all.
    pub total_bytes: u64,
    /// Free now, as far as this process may take it.
    pub free_bytes: u64,
}

/// What a device says of itself now and then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vitals {
    /// Memory, where it is known.
    pub memory: Option<Memory>,
    /// Busy share since the last look, 0…1, where it is known.
    pub utilization: Option<f64>,
}

/// Measures one device. The processor's numbers are the machine's, in what this process's control groups allow.
#[derive(Debug)]
pub struct Meter {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Host { busy: Mutex<Option<BusyTime>> },
    Graphics(Box<Graphics>),
    Nothing,
}

impl Meter {
    /// A meter for a device; one that measures nothing where there is nothing to measure with.
    pub fn new(kind: DeviceKind) -> Self {
        let source = match kind {
            DeviceKind::Cpu => Source::Host { busy: Mutex::new(BusyTime::now()) },
            DeviceKind::Cuda(index) => {
                Graphics::open(index).map_or(Source::Nothing, |graphics| Source::Graphics(Box::new(graphics)))
            }
            DeviceKind::Fake => Source::Nothing,
        };
        Self { source }
    }

    /// Memory now.
    pub fn memory(&self) -> Option<Memory> {
        match &self.source {
            Source::Host { .. } => host_memory::memory(),
            Source::Graphics(graphics) => graphics.memory(),
            Source::Nothing => None,
        }
    }

    /// Everything, with the utilisation since the last call.
    pub fn read(&self) -> Vitals {
        let utilization = match &self.source {
            Source::Host { busy } => {
                let now = BusyTime::now();
                let before = std::mem::replace(&mut *busy.lock(), now);
                before.zip(now).and_then(|(before, now)| now.share_since(before))
            }
            Source::Graphics(graphics) => graphics.utilization(),
            Source::Nothing => None,
        };
        Vitals { memory: self.memory(), utilization }
    }
}
