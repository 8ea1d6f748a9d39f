//! From the configuration's words to the executors' and the scheduler's: the one place where they meet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use framewright_engine::ops::{DeviceFacts, KernelPath, Precision};

use super::stores;
use crate::config::{ComputePrecision, Config, CpuKernels, FakeConfig, Workers};
use crate::domain::DeviceName;
use crate::execution::film::FilmTools;
use crate::execution::{ExecutorOptions, FakeControl, WorkerKind};
use crate::jobs::StoreClock;
use crate::scheduler::SchedulerOptions;

/// Rows of an evaluation for each task that may share it: a guided picture has two.
const ROWS_PER_TASK: u32 = 2;

/// Where packed weights lie.
pub fn packed_directory(config: &Config) -> PathBuf {
    config.data_dir.join("packed")
}

/// How the configuration wants devices to compute.
pub fn executor_options(config: &Config) -> ExecutorOptions {
    ExecutorOptions {
        workers: match config.pool.workers {
            Workers::Process => WorkerKind::Process,
            Workers::Thread => WorkerKind::Thread,
        },
        run_directory: config.data_dir.join("run"),
        packed_directory: Some(packed_directory(config)),
        max_packed_bytes: config.models.max_packed_bytes,
        precision: precision(config),
        kernels: kernels(config),
        unload_after_task: !config.models.keep_loaded,
        max_batch: config.pool.max_batch as usize,
        max_batch_rows: (config.pool.max_batch * ROWS_PER_TASK) as usize,
        stall: config.pool.stall,
        fake: fake_control(&config.pool.fake),
        ..ExecutorOptions::default()
    }
}

fn fake_control(config: &FakeConfig) -> FakeControl {
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut control = FakeControl::new(milliseconds(config.step));
    control.load_ms = milliseconds(config.load);
    control.memory_bytes = config.memory_bytes;
    control
}

/// How the configuration wants jobs to be scheduled.
pub fn scheduler_options(config: &Config, films: FilmTools, clock: Arc<StoreClock>) -> SchedulerOptions {
    let idle_unload = if config.models.keep_loaded { config.models.idle_unload } else { Some(Duration::ZERO) };
    SchedulerOptions {
        max_batch_tasks: config.pool.max_batch,
        max_batch_rows: config.pool.max_batch * ROWS_PER_TASK,
        max_vram_bytes: config.models.max_vram_bytes,
        max_ram_bytes: config.models.max_ram_bytes,
        packed_directory: Some(packed_directory(config)),
        max_packed_bytes: config.models.max_packed_bytes,
        idle_unload,
        retention: config.retention,
        lease: config.database.lease,
        has_peers: stores::may_have_peers(&config.database.location),
        numerics: numerics(config),
        films,
        clock: Some(clock),
    }
}

/// How the first device computes; all of a server's are of one kind, but for tests.
fn numerics(config: &Config) -> DeviceFacts {
    match config.devices.first() {
        Some(DeviceName::Cuda(_)) => DeviceFacts { kernels: None, precision: precision(config).unwrap_or(Precision::F16) },
        Some(DeviceName::Cpu | DeviceName::Fake) | None => DeviceFacts {
            kernels: Some(kernels(config).unwrap_or(KernelPath::Gemm)),
            precision: precision(config).unwrap_or(Precision::F32),
        },
    }
}

fn precision(config: &Config) -> Option<Precision> {
    config.compute.precision.map(|precision| match precision {
        ComputePrecision::F32 => Precision::F32,
        ComputePrecision::Bf16 => Precision::Bf16,
    })
}

/// How the server's own processor computes.
pub(super) fn processor_precision(config: &Config) -> Precision {
    precision(config).unwrap_or(Precision::F32)
}

pub(super) fn kernels(config: &Config) -> Option<KernelPath> {
    config.compute.cpu_kernels.map(|kernels| match kernels {
        CpuKernels::AmxBf16 => KernelPath::AmxBf16,
        CpuKernels::Avx512Bf16 => KernelPath::Avx512Bf16,
        CpuKernels::Avx512 => KernelPath::Avx512,
        CpuKernels::Gemm => KernelPath::Gemm,
    })
}
