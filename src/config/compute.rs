//! `FRAMEWRIGHT_PRECISION` and `FRAMEWRIGHT_CPU_KERNELS` — how networks are computed.

use super::ConfigError;

/// The working precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ComputePrecision {
    /// 32-bit floats: diffusers' picture for the same seed.
    #[default]
    F32,
    /// bfloat16 operands, f32 accumulation: about twice as fast on processors that have it, and reported in every result.
    Bf16,
}

/// The family of CPU kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuKernels {
    /// Products on the matrix unit (AMX), those of f32 as sums of bf16 ones.
    AmxBf16,
    /// AVX-512 with BF16 dot products.
    Avx512Bf16,
    /// AVX-512.
    Avx512,
    /// Any processor.
    Gemm,
}

/// How networks are computed.
#[derive(Clone, Copy, Debug, Default)]
pub struct ComputeConfig {
    /// The working precision. `None`: f32 on the CPU, f16 on CUDA.
    pub precision: Option<ComputePrecision>,
    /// A kernel family to use instead of the fastest one.
    pub cpu_kernels: Option<CpuKernels>,
}

pub(super) fn resolve(precision: Option<&str>, kernels: Option<&str>) -> Result<ComputeConfig, ConfigError> {
    let precision = match precision {
        None => None,
        Some("f32") => Some(ComputePrecision::F32),
        Some("bf16") => Some(ComputePrecision::Bf16),
        Some(other) => return Err(ConfigError::setting("FRAMEWRIGHT_PRECISION", format!("'{other}' is not one of f32, bf16"))),
    };
    let cpu_kernels = match kernels {
        None => None,
        Some("amxbf16") => Some(CpuKernels::AmxBf16),
        Some("avx512bf16") => Some(CpuKernels::Avx512Bf16),
        Some("avx512") => Some(CpuKernels::Avx512),
        Some("gemm") => Some(CpuKernels::Gemm),
        Some(other) => {
            return Err(ConfigError::setting(
                "FRAMEWRIGHT_CPU_KERNELS",
                format!("'{other}' is not one of amxbf16, avx512bf16, avx512, gemm"),
            ));
        }
    };
    Ok(ComputeConfig { precision, cpu_kernels })
}
