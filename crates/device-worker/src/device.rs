//! Devices: what they can do, and how one is opened.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use framewright_engine::ops::{KernelPath, Ops, Precision};
use framewright_engine::weights::packed::PackedCache;
use serde::{Deserialize, Serialize};

use crate::engine_device::{EngineDevice, EngineOptions};
use crate::fake::{FakeDevice, FakeSetup, Stage};
use crate::pulse::Pulse;
use crate::task::{Failure, FailureClass, ModelFiles, Report, Task, TaskNumber, TaskOutput};
use crate::vitals;

/// How a task ended.
pub type Ended = (TaskNumber, Result<TaskOutput, Failure>);

/// A device with its memory, its models and the tasks that it runs. Lives on one thread; every call blocks.
pub trait BatchDevice {
    /// What it is: `cpu (avx512, f32)`.
    fn description(&self) -> String;

    /// Takes a task: gives back what the order says, loads the model, encodes prompts and pictures. An error is the task's end. Tasks that run
    /// already wait meanwhile.
    fn begin(&mut self, number: TaskNumber, task: Task, report: &mut dyn FnMut(TaskNumber, Report)) -> Result<(), Failure>;

    /// Takes every task one evaluation or one chunk of frames on, as many as possible together, and gives those that have ended. Tasks that were
    /// interrupted end as cancelled.
    fn advance(&mut self, report: &mut dyn FnMut(TaskNumber, Report)) -> Vec<Ended>;

    /// Tasks that have begun and not ended.
    fn active(&self) -> usize;

    /// Loads a model, or does nothing when it is loaded.
    fn load(&mut self, model: &ModelFiles) -> Result<(), Failure>;

    /// Gives back a model's memory; one in use is refused, one that is not loaded is done.
    fn unload(&mut self, model: &str) -> Result<(), Failure>;

    /// The models in its memory.
    fn loaded(&self) -> Vec<LoadedModel>;
}

/// A model in a device's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadedModel {
    /// Its name.
    pub name: String,
    /// What its weights take.
    pub weights_bytes: u64,
}

/// The refusal to unload what is needed.
pub(crate) fn in_use(model: &str) -> Failure {
    Failure::new(FailureClass::InvalidRequest, format!("model '{model}' is in use; it can be unloaded when its tasks have ended"))
}

/// Which device. Written `cpu`, `cuda:N`, `fake`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU by its index, in the order of the PCI bus.
    Cuda(u32),
    /// Computes nothing.
    Fake,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Fake => f.write_str("fake"),
        }
    }
}

impl FromStr for DeviceKind {
    type Err = OpenError;
    fn from_str(text: &str) -> Result<Self, OpenError> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "fake" => Ok(Self::Fake),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| OpenError::Unknown(text.chars().take(64).collect())),
        }
    }
}

/// How a device computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceOptions {
    /// Working precision by name; absent means f32 on the CPU and f16 on CUDA.
    pub precision: Option<String>,
    /// CPU kernels by name; absent means the fastest that the processor has.
    pub kernels: Option<String>,
    /// Unload a model when its last task has ended.
    pub unload_after_task: bool,
    /// Rows that one evaluation has at most, where memory allows so many.
    pub max_batch_rows: usize,
    /// Where packed weights lie, shared by all workers of the machine; absent means that each worker packs its own.
    pub packed_directory: Option<PathBuf>,
    /// Nothing is packed into a file of more bytes; absent means no bound.
    pub max_packed_bytes: Option<u64>,
    /// Pace and memory of a fake device.
    pub fake: FakeSetup,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self {
            precision: None,
            kernels: None,
            unload_after_task: false,
            max_batch_rows: 16,
            packed_directory: None,
            max_packed_bytes: None,
            fake: FakeSetup::default(),
        }
    }
}

/// Why a device does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A text that names none.
    #[error("'{0}' is not a device; write cpu, cuda:N or fake")]
    Unknown(String),
    /// This program has no CUDA.
    #[error("{0}: this program has no CUDA; build framewright-device-worker with '--features cuda', or use the device 'cpu'")]
    NoCuda(DeviceKind),
    /// An option's word is unknown.
    #[error("{option}: '{word}' is unknown; one of {known}")]
    Word {
        /// Which option.
        option: &'static str,
        /// What was given.
        word: String,
        /// What there is.
        known: String,
    },
    /// The engine refuses.
    #[error("{device}: {source}")]
    Engine {
        /// Which device.
        device: DeviceKind,
        /// Why.
        source: framewright_engine::Error,
    },
}

/// Opens a device on the calling thread. `pulse` is where others see its progress, `stage` what a fake device may break.
pub fn open(kind: DeviceKind, options: &DeviceOptions, pulse: Pulse, stage: Stage) -> Result<Box<dyn BatchDevice>, OpenError> {
    let precision = options.precision.as_deref().map(precision_named).transpose()?;
    let kernels = options.kernels.as_deref().map(kernels_named).transpose()?;
    let failed = |source| OpenError::Engine { device: kind, source };
    let ops = match kind {
        DeviceKind::Fake => return Ok(Box::new(FakeDevice::new(options.fake.clone(), pulse, stage))),
        DeviceKind::Cpu => Ops::cpu(precision.unwrap_or(Precision::F32), kernels).map_err(failed)?,
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda(index) => Ops::cuda(index as usize, precision.unwrap_or(Precision::F16)).map_err(failed)?,
        #[cfg(not(feature = "cuda"))]
        DeviceKind::Cuda(_) => return Err(OpenError::NoCuda(kind)),
    };
    let meter = vitals::Meter::new(kind);
    let options = EngineOptions {
        unload_after_task: options.unload_after_task,
        max_batch_rows: options.max_batch_rows.max(1),
        packed: options
            .packed_directory
            .clone()
            .map(|directory| PackedCache::new(directory).with_most_file_bytes(options.max_packed_bytes.unwrap_or(u64::MAX))),
    };
    Ok(Box::new(EngineDevice::new(ops, Box::new(move || meter.memory().map(|memory| memory.free_bytes)), options, pulse)))
}

fn precision_named(word: &str) -> Result<Precision, OpenError> {
    let all = [Precision::F32, Precision::Bf16, Precision::F16];
    all.into_iter().find(|precision| precision.name() == word).ok_or_else(|| OpenError::Word {
        option: "precision",
        word: word.to_owned(),
        known: all.map(Precision::name).join(", "),
    })
}

fn kernels_named(word: &str) -> Result<KernelPath, OpenError> {
    let all = [KernelPath::AmxBf16, KernelPath::Avx512Bf16, KernelPath::Avx512, KernelPath::Gemm];
    all.into_iter().find(|kernels| kernels.name() == word).ok_or_else(|| OpenError::Word {
        option: "kernels",
        word: word.to_owned(),
        known: all.map(KernelPath::name).join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(kind: DeviceKind, options: &DeviceOptions) -> String {
        open(kind, options, Pulse::default(), Stage::Thread).err().unwrap().to_string()
    }

    #[test]
    fn what_does_not_open_says_why() {
        #[cfg(not(feature = "cuda"))]
        assert!(refusal(DeviceKind::Cuda(1), &DeviceOptions::default()).starts_with("cuda:1: this program has no CUDA"));
        let options = DeviceOptions { precision: Some("f8".to_owned()), ..DeviceOptions::default() };
        assert_eq!(refusal(DeviceKind::Cpu, &options), "precision: 'f8' is unknown; one of f32, bf16, f16");
        let options = DeviceOptions { kernels: Some("abacus".to_owned()), ..DeviceOptions::default() };
        assert!(refusal(DeviceKind::Cpu, &options).starts_with("kernels: 'abacus'"));
        let options = DeviceOptions { precision: Some("f16".to_owned()), ..DeviceOptions::default() };
        assert!(refusal(DeviceKind::Cpu, &options).starts_with("cpu: "));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in [DeviceKind::Cpu, DeviceKind::Cuda(17), DeviceKind::Fake] {
            assert_eq!(kind.to_string().parse::<DeviceKind>().unwrap(), kind);
        }
        assert!("gpu".parse::<DeviceKind>().unwrap_err().to_string().contains("cuda:N"));
    }
}
