//! Where activations live: the scratch arena on the CPU, candle tensors elsewhere.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::arena::{Arena, Scratch};
use super::kernels::loops::convert;
use super::kernels::matrix::Values;
use super::kernels::{KernelPath, Kernels};
use super::{Output, Precision};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};

/// Values that one task of an elementwise loop handles.
pub(crate) const TASK_VALUES: usize = 1 << 15;

/// Backend of an [`super::Ops`].
#[derive(Clone, Debug)]
pub(crate) enum Backend {
    /// The CPU kernels.
    Cpu(Cpu),
    /// Plain candle operations.
    Candle(Candle),
    /// Nothing is computed.
    Declaring,
}

/// The CPU: its kernels and its scratch memory.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    pub(crate) kernels: Kernels,
    pub(crate) precision: Precision,
    pub(crate) arena: Arc<Arena>,
}

/// A candle device.
#[derive(Clone, Debug)]
pub(crate) struct Candle {
    pub(crate) device: Device,
    pub(crate) precision: Precision,
}

/// Storage of an activation.
#[derive(Debug)]
pub(crate) enum Storage {
    /// f32 on the CPU.
    F32(Scratch<f32>),
    /// bf16 on the CPU.
    Bf16(Scratch<bf16>),
    /// `[rows, positions, channels]` on a candle device.
    Candle(Tensor),
}

/// f32 values: borrowed where they are f32, else converted.
pub(crate) enum AsF32<'a> {
    Borrowed(&'a [f32]),
    Converted(Scratch<f32>),
}

impl std::ops::Deref for AsF32<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match self {
            Self::Borrowed(values) => values,
            Self::Converted(values) => values,
        }
    }
}

/// Runs one of two typed bodies on the scratch values of a result.
macro_rules! with_result {
    ($storage:expr, $values:ident => $body:expr) => {
        match $storage {
            $crate::ops::storage::Storage::F32($values) => $body,
            $crate::ops::storage::Storage::Bf16($values) => $body,
            $crate::ops::storage::Storage::Candle(_) => Err($crate::ops::storage::foreign()),
        }
    };
}
pub(crate) use with_result;

/// An activation of another backend was passed in.
pub(crate) fn foreign() -> Error {
    Error::Device("an activation or a layer belongs to another backend than the operation".into())
}

/// The error of computing on [`Backend::Declaring`].
pub(crate) fn declared() -> Error {
    Error::Device("declared layers hold no weights and cannot compute".into())
}

/// An error when `found` is not `wanted`.
pub(crate) fn expect_shape(what: &str, found: Shape, wanted: Shape) -> Result<()> {
    if found == wanted { Ok(()) } else { Err(Error::Device(format!("{what} has shape {found:?} instead of {wanted:?}"))) }
}

/// An error when an activation has other channels than a layer.
pub(crate) fn expect_channels(what: &str, found: usize, wanted: usize) -> Result<()> {
    if found == wanted { Ok(()) } else { Err(Error::Device(format!("{what} takes {wanted} channels, not {found}"))) }
}

impl Activation {
    /// The values on the CPU, as many as the shape says.
    pub(crate) fn values(&self) -> Result<Values<'_>> {
        let (values, length) = match &self.storage {
            Storage::F32(values) => (Values::F32(values), values.len()),
            Storage::Bf16(values) => (Values::Bf16(values), values.len()),
            Storage::Candle(_) => return Err(foreign()),
        };
        if length == self.shape.elements() {
            Ok(values)
        } else {
            Err(Error::Device(format!("an activation of {length} values was given the shape {:?}", self.shape)))
        }
    }

    /// The values of a stream activation on the CPU.
    pub(crate) fn stream(&self) -> Result<&[f32]> {
        match self.values()? {
            Values::F32(values) => Ok(values),
            Values::Bf16(_) => Err(Error::Device("an operand stands where a stream activation is needed".into())),
        }
    }

    /// The values of a stream activation on the CPU, to write.
    pub(crate) fn stream_mut(&mut self) -> Result<&mut [f32]> {
        self.stream()?;
        match &mut self.storage {
            Storage::F32(values) => Ok(values),
            _ => Err(foreign()),
        }
    }

    /// The tensor on a candle device, as `[rows, positions, channels]`.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        match &self.storage {
            Storage::Candle(tensor) => Ok(tensor.reshape((self.shape.rows, self.shape.positions(), self.shape.channels))?),
            _ => Err(foreign()),
        }
    }
}

impl Cpu {
    pub(crate) fn new(precision: Precision, path: Option<KernelPath>) -> Result<Self> {
        if precision == Precision::F16 {
            return Err(Error::Device("the CPU computes in f32 or bf16; f16 is for CUDA".into()));
        }
        let kernels = Kernels::choose(path).ok_or_else(|| {
            let (asked, has) = (path.map_or("any", KernelPath::name), KernelPath::available());
            let has: Vec<_> = has.into_iter().map(KernelPath::name).collect();
            Error::Device(format!("this processor lacks the {asked} kernels; it has {}", has.join(", ")))
        })?;
        Ok(Self { kernels, precision, arena: Arc::default() })
    }

    /// Memory for a result.
    pub(crate) fn result(&self, shape: Shape, output: Output) -> Result<Storage> {
        Ok(if output == Output::Operand && self.precision == Precision::Bf16 {
            Storage::Bf16(self.arena.take(shape.elements())?)
        } else {
            Storage::F32(self.arena.take(shape.elements())?)
        })
    }

    /// `values` as f32.
    pub(crate) fn as_f32<'a>(&self, values: Values<'a>) -> Result<AsF32<'a>> {
        match values {
            Values::F32(values) => Ok(AsF32::Borrowed(values)),
            Values::Bf16(values) => {
                let mut converted = self.arena.take::<f32>(values.len())?;
                self.convert(Values::Bf16(values), &mut converted);
                Ok(AsF32::Converted(converted))
            }
        }
    }

    /// Copies `values` into `output`, converting where the types differ.
    pub(crate) fn convert<O: super::kernels::math::Lane>(&self, values: Values<'_>, output: &mut [O]) {
        let level = self.kernels.level();
        match values {
            Values::F32(values) => {
                let tasks = output.par_chunks_mut(TASK_VALUES).zip(values.par_chunks(TASK_VALUES));
                tasks.for_each(|(output, values)| convert(level, values, output));
            }
            Values::Bf16(values) => {
                let tasks = output.par_chunks_mut(TASK_VALUES).zip(values.par_chunks(TASK_VALUES));
                tasks.for_each(|(output, values)| convert(level, values, output));
            }
        }
    }
}

impl Candle {
    pub(crate) fn new(device: Device, precision: Precision) -> Result<Self> {
        if device.is_cpu() && precision != Precision::F32 {
            return Err(Error::Device("candle on the CPU computes in f32 alone".into()));
        }
        Ok(Self { device, precision })
    }

    /// The type of activations and weights.
    pub(crate) const fn dtype(&self) -> DType {
        match self.precision {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
        }
    }

    /// Host values as a tensor of the working type.
    pub(crate) fn upload(&self, values: &[f32], dimensions: impl Into<candle_core::Shape>) -> Result<Tensor> {
        Ok(Tensor::from_slice(values, dimensions, &self.device)?.to_dtype(self.dtype())?)
    }

    /// A result.
    pub(crate) fn activation(&self, tensor: &Tensor, shape: Shape) -> Result<Activation> {
        let tensor = tensor.to_dtype(self.dtype())?.contiguous()?.reshape((shape.rows, shape.positions(), shape.channels))?;
        Ok(Activation { shape, storage: Storage::Candle(tensor) })
    }
}
