//! CPU kernels: the only unsafe code of the project.
//!
//! - `tile`: the register tile that everything heavy is made of, 14 positions × 32 outputs;
//! - `pack`: the weights in the order in which the tile reads them;
//! - `matrix`, `attention`, `frame_attention`: loops around the tile, in tasks;
//! - `portable`: the same over the `gemm` crate;
//! - `loops`, `math`: element loops, compiled once per `level` of vector instructions;
//! - `memory`: aligned memory; `mapped`: files that stand for it.
//!
//! Invariants: the functions of this folder check every size against every slice before they compute an address; the order of
//! additions of a result depends neither on the rows that share the call nor on the number of threads.

pub(crate) mod attention;
pub(crate) mod frame_attention;
mod level;
pub(crate) mod loops;
pub(crate) mod mapped;
pub(crate) mod math;
pub(crate) mod matrix;
pub(crate) mod memory;
pub(crate) mod pack;
mod portable;
mod tile;

pub(crate) use level::Level;

/// A family of CPU kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelPath {
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
        let mut paths = Vec::with_capacity(3);
        #[cfg(target_arch = "x86_64")]
        if level::has_avx512() {
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
            Self::Avx512Bf16 => "avx512bf16",
            Self::Avx512 => "avx512",
            Self::Gemm => "gemm",
        }
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
