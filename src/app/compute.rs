//! From the configuration's words to the executors': the one place where they meet.

use framewright_engine::ops::{KernelPath, Precision};

use crate::config::{ComputePrecision, Config, CpuKernels};
use crate::execution::ExecutorOptions;

/// How the configuration wants devices to compute.
pub fn executor_options(config: &Config) -> ExecutorOptions {
    ExecutorOptions {
        precision: config.compute.precision.map(|precision| match precision {
            ComputePrecision::F32 => Precision::F32,
            ComputePrecision::Bf16 => Precision::Bf16,
        }),
        kernels: config.compute.cpu_kernels.map(|kernels| match kernels {
            CpuKernels::Avx512Bf16 => KernelPath::Avx512Bf16,
            CpuKernels::Avx512 => KernelPath::Avx512,
            CpuKernels::Gemm => KernelPath::Gemm,
        }),
        unload_after_task: !config.models.keep_loaded,
        ..ExecutorOptions::default()
    }
}
