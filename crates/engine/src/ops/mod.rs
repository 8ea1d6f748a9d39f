//! The few operations that cost time. Networks call only these; speed work happens here and nowhere else.
//!
//! One file per operation, with the CPU implementation (over [`kernels`]) and the candle implementation side by side.

mod arena;
pub mod attention;
pub mod blend;
pub mod conv;
pub mod conv_transpose;
pub mod elementwise;
pub mod facts;
pub mod frame_attention;
pub mod frame_conv;
pub mod growing;
pub mod interrupt;
pub mod kernels;
pub mod linear;
mod matrix;
pub mod norm;
pub mod resize;
pub mod shuffle;
pub mod slopes;
pub(crate) mod storage;
#[cfg(test)]
mod tests;
pub mod upsample;
pub mod warp;

use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};

pub use attention::{KeysValues, Mask, RowKeysValues, Slice, attention};
pub use conv::{Conv2d, Conv2dConfig, Padding};
pub use conv_transpose::ConvTranspose2d;
pub use facts::{DeviceFacts, Footprint};
pub use frame_attention::{QueriesKeysValues, frame_attention};
pub use frame_conv::FrameConv;
pub use growing::Growing;
pub use interrupt::Interrupt;
pub use kernels::KernelPath;
pub use linear::Linear;
pub use norm::{GroupNorm, LayerNorm};
pub use slopes::Slopes;

pub(crate) use kernels::mapped::Floats;
pub(crate) use matrix::{floats, scalar};

use storage::{Backend, Candle, Cpu, Storage};

/// The working precision: of packed weights and of the operands of matrix products. Accumulation, norms, softmax and the residual
/// stream on the CPU are f32 in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floats; carries the same-picture promise.
    F32,
    /// bfloat16 operands, f32 accumulation.
    Bf16,
    /// Half precision storage; CUDA only.
    F16,
}

impl Precision {
    /// The name in reports and options: `f32`, `bf16`, `f16`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

/// Where a result goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Output {
    /// Into the residual stream (f32 on the CPU).
    #[default]
    Stream,
    /// Into the next matrix product (working precision).
    Operand,
}

/// A function applied to every value of a matrix product's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Function {
    /// Nothing.
    #[default]
    Identity,
    /// x·σ(x)
    Silu,
    /// x·σ(1.702·x), CLIP-L's.
    QuickGelu,
    /// The exact (erf) GELU.
    Gelu,
}

/// What happens to a matrix product before it is stored: `function(product + bias + per_row) + residual`, that blended with another
/// activation, and what is negative then times its channel's slope.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// One vector per row, or per run of equally many rows (`Shape::vectors(vectors, out_channels)`, stream), added at every position.
    pub per_row: Option<&'a Activation>,
    /// Of the result's shape (stream), added after the function.
    pub residual: Option<&'a Activation>,
    /// Applied between the two.
    pub function: Function,
    /// What the sum is blended with.
    pub blend: Option<Blend<'a>>,
    /// One per channel: leaky and parametric `ReLU`, applied last, to the sum of all.
    pub slopes: Option<&'a Slopes>,
    /// Where the result goes.
    pub output: Output,
}

/// `share · with + (1 − share) · value`.
#[derive(Clone, Copy, Debug)]
pub struct Blend<'a> {
    /// Of the result's shape (stream).
    pub with: &'a Activation,
    /// Of `with` in the result, 0 to 1.
    pub share: f32,
}

/// A device's operations: which kernels, which precision, and the scratch arena. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ops {
    // implementation detail of the ops folder
    pub(crate) backend: Backend,
}

impl Ops {
    /// The CPU. `kernels: None` chooses the fastest path that this processor has; asking for one that it lacks is an error.
    pub fn cpu(precision: Precision, kernels: Option<KernelPath>) -> Result<Self> {
        Ok(Self { backend: Backend::Cpu(Cpu::new(precision, kernels)?) })
    }
    /// Plain candle operations on any candle device: the CUDA path, and on candle's CPU device its test.
    pub fn candle(device: candle_core::Device, precision: Precision) -> Result<Self> {
        Ok(Self { backend: Backend::Candle(Candle::new(device, precision)?) })
    }
    /// CUDA device number `index`.
    #[cfg(feature = "cuda")]
    pub fn cuda(index: usize, precision: Precision) -> Result<Self> {
        Self::candle(candle_core::Device::new_cuda(index)?, precision)
    }
    /// A backend that allocates nothing and computes nothing: constructors declare their tensors to the source and are done.
    pub fn declaring() -> Self {
        Self { backend: Backend::Declaring }
    }
    /// The working precision.
    pub fn precision(&self) -> Precision {
        match &self.backend {
            Backend::Cpu(cpu) => cpu.precision,
            Backend::Candle(candle) => candle.precision,
            Backend::Declaring => Precision::F32,
        }
    }
    /// The same device in another precision, with a scratch arena of its own.
    pub fn with_precision(&self, precision: Precision) -> Result<Self> {
        match &self.backend {
            Backend::Cpu(cpu) => Self::cpu(precision, Some(cpu.kernels.path())),
            Backend::Candle(candle) => Self::candle(candle.device.clone(), precision),
            Backend::Declaring => Ok(self.clone()),
        }
    }
    /// A short name for reports: `cpu (avx512bf16, f32)`.
    pub fn description(&self) -> String {
        let precision = self.precision().name();
        match &self.backend {
            Backend::Cpu(cpu) => format!("cpu ({}, {precision})", cpu.kernels.path().name()),
            Backend::Candle(candle) => match candle.device.location() {
                candle_core::DeviceLocation::Cpu => format!("candle cpu ({precision})"),
                candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id} (candle, {precision})"),
                candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id} (candle, {precision})"),
            },
            Backend::Declaring => "declaring".into(),
        }
    }
    /// Copies host values (f32, channels last) to a stream activation.
    pub fn upload(&self, shape: Shape, values: &[f32]) -> Result<Activation> {
        if values.len() != shape.elements() {
            return Err(Error::Device(format!("{} values do not fill the shape {shape:?}", values.len())));
        }
        match &self.backend {
            Backend::Cpu(cpu) => {
                let mut storage = cpu.arena.take::<f32>(values.len())?;
                storage.copy_from_slice(values);
                Ok(Activation { shape, storage: Storage::F32(storage) })
            }
            Backend::Candle(candle) => {
                let tensor = candle.upload(values, (shape.rows, shape.positions(), shape.channels))?;
                Ok(Activation { shape, storage: Storage::Candle(tensor) })
            }
            Backend::Declaring => Err(storage::declared()),
        }
    }
    /// Copies an activation to host memory as f32.
    pub fn download(&self, activation: &Activation) -> Result<Vec<f32>> {
        match &self.backend {
            Backend::Cpu(cpu) => Ok(cpu.as_f32(activation.values()?)?.to_vec()),
            Backend::Candle(_) => Ok(activation.tensor()?.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?),
            Backend::Declaring => Err(storage::declared()),
        }
    }
    /// Gives the arena's unused memory back to the system.
    pub fn release_scratch(&self) {
        if let Backend::Cpu(cpu) = &self.backend {
            cpu.arena.release();
        }
    }
    /// Bytes that the arena keeps unused.
    pub fn kept_scratch_bytes(&self) -> u64 {
        match &self.backend {
            Backend::Cpu(cpu) => cpu.arena.kept_bytes() as u64,
            Backend::Candle(_) | Backend::Declaring => 0,
        }
    }
    /// Most bytes of the arena in use at once since the last picture was finished.
    #[cfg(test)]
    pub(crate) fn peak_live_bytes(&self) -> u64 {
        match &self.backend {
            Backend::Cpu(cpu) => cpu.arena.peak_live_bytes() as u64,
            Backend::Candle(_) | Backend::Declaring => 0,
        }
    }
    /// A picture is done: the arena forgets what pictures long past needed.
    pub(crate) fn settle_scratch(&self) {
        if let Backend::Cpu(cpu) = &self.backend {
            cpu.arena.settle();
        }
    }
}
