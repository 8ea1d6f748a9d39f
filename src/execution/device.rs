//! Opening devices.

use framewright_engine::ops::{KernelPath, Ops, Precision};

use crate::domain::DeviceName;

use super::fake::{FakeControl, FakeDevice};
use super::sdxl::SdxlDevice;
use super::{ImageOutput, ImageTask, Report, TaskFailure, host_memory};

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// This build has no CUDA.
    #[error("{0}: this build has no CUDA; build with '--features cuda', or use the device 'cpu'")]
    NoCuda(DeviceName),
    /// The device does not open.
    #[error("{device}: {source}")]
    Open {
        /// Which.
        device: DeviceName,
        /// Why.
        source: framewright_engine::Error,
    },
    /// Its thread does not start.
    #[error("{device}: cannot start its thread: {source}")]
    Thread {
        /// Which.
        device: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Settings of devices.
#[derive(Clone, Debug, Default)]
pub struct ExecutorOptions {
    /// Working precision; absent means f32 on the CPU and f16 on CUDA.
    pub precision: Option<Precision>,
    /// CPU kernels; absent means the fastest that the processor has.
    pub kernels: Option<KernelPath>,
    /// Unload the model after each task (`model_cache.enabled: false`).
    pub unload_after_task: bool,
    /// Pace and planned failures of fake devices.
    pub fake: FakeControl,
}

/// A device with its memory and its loaded model. Lives on one thread; every call blocks.
pub trait ImageDevice {
    /// Makes the pictures of a task, reporting as it goes.
    fn run(&mut self, task: &ImageTask, report: &mut dyn FnMut(Report)) -> Result<ImageOutput, TaskFailure>;
    /// Gives back the memory of the loaded model.
    fn unload(&mut self);
}

/// Opens a device on the calling thread.
pub fn open_device(name: DeviceName, options: &ExecutorOptions) -> Result<Box<dyn ImageDevice>, DeviceError> {
    let open = |source| DeviceError::Open { device: name, source };
    match name {
        DeviceName::Fake => Ok(Box::new(FakeDevice::new(options.fake.clone()))),
        DeviceName::Cpu => {
            let precision = options.precision.unwrap_or(Precision::F32);
            let ops = Ops::cpu(precision, options.kernels).map_err(open)?;
            Ok(Box::new(SdxlDevice::new(ops, host_memory::available_bytes, options.unload_after_task)))
        }
        #[cfg(feature = "cuda")]
        DeviceName::Cuda(index) => {
            let precision = options.precision.unwrap_or(Precision::F16);
            let ops = Ops::cuda(index as usize, precision).map_err(open)?;
            Ok(Box::new(SdxlDevice::new(ops, || None, options.unload_after_task)))
        }
        #[cfg(not(feature = "cuda"))]
        DeviceName::Cuda(_) => Err(DeviceError::NoCuda(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_so() {
        let error = open_device(DeviceName::Cuda(1), &ExecutorOptions::default()).err().unwrap().to_string();
        assert!(error.starts_with("cuda:1: ") && error.contains("--features cuda"), "{error}");
    }
}
