//! The slopes of leaky and parametric `ReLU`, which the epilogue of a product applies.

use candle_core::Tensor;

use super::matrix::{floats, taken};
use super::storage::{Backend, declared, foreign};
use super::{Floats, Ops};
use crate::error::{Error, Result};
use crate::weights::Scope;

/// What negative values are multiplied with, one factor a channel.
#[derive(Debug)]
pub struct Slopes {
    channels: usize,
    factors: Factors,
}

#[derive(Debug)]
enum Factors {
    Cpu(Floats),
    Candle(Tensor),
    Declared,
}

impl Slopes {
    /// Parametric `ReLU`: reads `weight`, one slope a channel.
    pub fn load(ops: &Ops, scope: &Scope<'_>, channels: usize) -> Result<Self> {
        let factors = match &ops.backend {
            Backend::Cpu(_) => floats(scope, "weight", &[channels])?.map_or(Factors::Declared, Factors::Cpu),
            Backend::Candle(candle) => Factors::Candle(candle.upload(&taken(scope, "weight", &[channels])?, channels)?),
            Backend::Declaring => {
                scope.take("weight", &[channels])?;
                Factors::Declared
            }
        };
        Ok(Self { channels, factors })
    }

    /// Leaky `ReLU`: the same slope for every channel.
    pub fn constant(ops: &Ops, channels: usize, slope: f32) -> Result<Self> {
        let factors = match &ops.backend {
            Backend::Cpu(_) => Factors::Cpu(Floats::Owned(vec![slope; channels])),
            Backend::Candle(candle) => Factors::Candle(candle.upload(&vec![slope; channels], channels)?),
            Backend::Declaring => Factors::Declared,
        };
        Ok(Self { channels, factors })
    }

    /// How many there are.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The factors on the CPU.
    pub(crate) fn values(&self) -> Result<&[f32]> {
        match &self.factors {
            Factors::Cpu(values) => Ok(values),
            other => Err(other.mismatched()),
        }
    }

    /// The factors on a candle device, `[channels]`.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        match &self.factors {
            Factors::Candle(tensor) => Ok(tensor.clone()),
            other => Err(other.mismatched()),
        }
    }
}

impl Factors {
    fn mismatched(&self) -> Error {
        if matches!(self, Self::Declared) { declared() } else { foreign() }
    }
}
