//! Settings of executors, and why one cannot be opened.

use std::path::PathBuf;
use std::time::Duration;

use framewright_device_worker::device::OpenError;
use framewright_device_worker::{DeviceKind, DeviceOptions};
use framewright_engine::ops::{KernelPath, Precision};

use super::fake::FakeControl;
use crate::domain::DeviceName;

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The device does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A CUDA device was asked for in this process.
    #[error("{0}: CUDA devices run in processes of their own (gpu_pool.workers: process)")]
    NotInThreads(DeviceName),
    /// The program of the worker is not there.
    #[error("{device}: the worker program {} is not there", path.display())]
    Program {
        /// Which device.
        device: String,
        /// The program.
        path: PathBuf,
    },
    /// Its thread or process does not start.
    #[error("{device}: cannot start its worker: {source}")]
    Start {
        /// Which.
        device: String,
        /// Why.
        source: std::io::Error,
    },
}

/// What a device runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerKind {
    /// A process of its own, supervised: its death is survived.
    #[default]
    Process,
    /// A thread of this process, for tests and debugging. Not for CUDA.
    Thread,
}

/// Settings of executors.
#[derive(Clone, Debug)]
pub struct ExecutorOptions {
    /// What each device runs in.
    pub workers: WorkerKind,
    /// The program that has the subcommand `device-worker`; absent means this one. CUDA devices have a program of their own,
    /// `framewright-device-worker`, beside this one or on the PATH.
    pub program: Option<PathBuf>,
    /// Where workers lock the devices that this server alone uses (`cpu`, `fake`); GPUs are locked for all users of the machine, in `/run/lock`
    /// or else in `/tmp`.
    pub run_directory: PathBuf,
    /// Where packed weights lie, shared by all workers of the machine; absent means that every worker packs its own.
    pub packed_directory: Option<PathBuf>,
    /// A model whose packed weights would take more than this is loaded into its worker's own memory (`model_cache.max_size_gb`).
    pub max_packed_bytes: Option<u64>,
    /// Working precision; absent means f32 on the CPU and f16 on CUDA.
    pub precision: Option<Precision>,
    /// CPU kernels; absent means the fastest that the processor has.
    pub kernels: Option<KernelPath>,
    /// Unload the model after each task (`model_cache.enabled: false`).
    pub unload_after_task: bool,
    /// Tasks that share a device at most (`gpu_pool.max_batch`).
    pub max_batch: usize,
    /// Rows of an evaluation at most, where memory allows so many; a guided picture has two.
    pub max_batch_rows: usize,
    /// A worker with something to do that makes no progress for this long is killed (`gpu_pool.stall_seconds`); so is one that does
    /// not end a cancelled task in this time.
    pub stall: Duration,
    /// A worker that says nothing at all for this long is killed.
    pub silence: Duration,
    /// Pace, memory and planned failures of fake devices.
    pub fake: FakeControl,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self {
            workers: WorkerKind::default(),
            program: None,
            run_directory: std::env::temp_dir().join("framewright"),
            packed_directory: None,
            max_packed_bytes: None,
            precision: None,
            kernels: None,
            unload_after_task: false,
            max_batch: 8,
            max_batch_rows: 16,
            stall: Duration::from_mins(5),
            silence: Duration::from_secs(10),
            fake: FakeControl::default(),
        }
    }
}

impl ExecutorOptions {
    /// The part that a device needs.
    pub fn device_options(&self) -> DeviceOptions {
        DeviceOptions {
            precision: self.precision.map(|precision| precision.name().to_owned()),
            kernels: self.kernels.map(|kernels| kernels.name().to_owned()),
            unload_after_task: self.unload_after_task,
            max_batch_rows: self.max_batch_rows,
            packed_directory: self.packed_directory.clone(),
            max_packed_bytes: self.max_packed_bytes,
            fake: self.fake.setup(),
        }
    }
}

/// A device's name as its worker knows it.
pub fn device_kind(name: DeviceName) -> DeviceKind {
    match name {
        DeviceName::Cpu => DeviceKind::Cpu,
        DeviceName::Cuda(index) => DeviceKind::Cuda(index),
        DeviceName::Fake => DeviceKind::Fake,
    }
}
