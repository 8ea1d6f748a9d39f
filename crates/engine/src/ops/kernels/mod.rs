//! CPU kernels: the only unsafe code of the project.
//!
//! - `kernel`: what everything heavy is made of, inputs · panels of 32 outputs; `tile`: it in vector registers, `amx`: on the matrix
//!   unit; `split`: the matrix unit's for f32;
//! - `pack`: the weights in the order in which the kernels read them;
//! - `matrix`, `attention`: loops around the kernel, in tasks; `frame_attention`: loops around the vector registers' tile;
//! - `finish`: what becomes of the sums of a product;
//! - `portable`: the same over the `gemm` crate;
//! - `loops`, `math`: element loops, compiled once per `level` of vector instructions;
//! - `memory`: aligned memory; `mapped`: files that stand for it.
//!
//! Invariants: the functions of this folder check every size against every slice before they compute an address; the order of
//! additions of a result depends neither on the rows that share the call nor on the number of threads.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
pub(crate) mod attention;
pub(crate) mod finish;
pub(crate) mod frame_attention;
mod kernel;
mod level;
pub(crate) mod loops;
pub(crate) mod mapped;
pub(crate) mod math;
pub(crate) mod matrix;
pub(crate) mod memory;
pub(crate) mod pack;
mod portable;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod split;
mod tile;

pub(crate) use level::Level;

/// A family of CPU kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelPath {
    /// Products on the matrix unit (AMX), those of f32 values as three of bf16 ones, right to 4.4e-6; the rest as
    /// [`KernelPath::Avx512Bf16`], which such a processor has too. Linux alone.
    AmxBf16,
    /// AVX-512 with BF16 dot products.
    Avx512Bf16,
    /// AVX-512 f32; bf16 is emulated through f32.
    Avx512,
    /// The portable `gemm` crate.
    Gemm,
}

impl KernelPath {
    /// Every path this processor can run, fastest first.
    pub fn available() -> Vec<Self> {
        let mut paths = Vec::with_capacity(4);
        #[cfg(target_arch = "x86_64")]
        if level::has_avx512() {
            #[cfg(target_os = "linux")]
            if is_x86_feature_detected!("avx512bf16") && amx::is_available() {
                paths.push(Self::AmxBf16);
            }
            if is_x86_feature_detected!("avx512bf16") {
                paths.push(Self::Avx512Bf16);
            }
            paths.push(Self::Avx512);
        }
        paths.push(Self::Gemm);
        paths
    }

    /// The name in reports and options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AmxBf16 => "amxbf16",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Avx512 => "avx512",
            Self::Gemm => "gemm",
        }
    }

    /// Whether bf16 values are multiplied as they are stored; else they are converted to f32 first.
    pub const fn multiplies_bf16(self) -> bool {
        matches!(self, Self::AmxBf16 | Self::Avx512Bf16)
    }
}

/// A path that this processor was found to have, with the level of its element loops. Chosen once per [`crate::ops::Ops`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernels {
    path: KernelPath,
    level: Level,
}

impl Kernels {
    /// The kernels of `path`, or of the fastest one; `None` when this processor lacks `path`.
    pub(crate) fn choose(path: Option<KernelPath>) -> Option<Self> {
        let available = KernelPath::available();
        let path = path.or_else(|| available.first().copied())?;
        available.contains(&path).then(|| Self { path, level: Level::of(path) })
    }

    /// The path.
    pub(crate) const fn path(self) -> KernelPath {
        self.path
    }

    /// The level of the element loops.
    pub(crate) const fn level(self) -> Level {
        self.level
    }
}
