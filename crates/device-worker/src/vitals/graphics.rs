//! NVIDIA's management library, loaded when it is there.

use nvml_wrapper::Nvml;

use super::Memory;

/// One GPU.
#[derive(Debug)]
pub(super) struct Graphics {
    library: Nvml,
    index: u32,
}

impl Graphics {
    /// The GPU of an index in the order of the PCI bus; `None` without the library or the GPU.
    pub(super) fn open(index: u32) -> Option<Self> {
        let library = Nvml::init().inspect_err(|error| tracing::debug!(%error, "No NVML: {error}")).ok()?;
        library.device_by_index(index).ok()?;
        Some(Self { library, index })
    }

    pub(super) fn memory(&self) -> Option<Memory> {
        let memory = self.library.device_by_index(self.index).ok()?.memory_info().ok()?;
        Some(Memory { total_bytes: memory.total, free_bytes: memory.free })
    }

    pub(super) fn utilization(&self) -> Option<f64> {
        let rates = self.library.device_by_index(self.index).ok()?.utilization_rates().ok()?;
        Some(f64::from(rates.gpu.min(100)) / 100.0)
    }
}
