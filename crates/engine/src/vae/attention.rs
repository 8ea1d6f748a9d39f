//! Attention of every position to every other, one head.

use super::NORM_EPSILON;
use super::VaeConfig;
use crate::activation::Activation;
use crate::error::Result;
use crate::ops::{Epilogue, GroupNorm, Interrupt, KeysValues, Linear, Mask, Ops, Output, Slice, attention};
use crate::weights::Scope;

#[derive(Debug)]
pub(crate) struct SpatialAttention {
    norm: GroupNorm,
    /// Queries, keys and values of one product, side by side.
    queries_keys_values: Linear,
    out: Linear,
    channels: usize,
}

impl SpatialAttention {
    pub(crate) fn load(ops: &Ops, scope: &Scope<'_>, config: &VaeConfig, channels: usize) -> Result<Self> {
        let parts = ["to_q", "to_k", "to_v"].map(|name| (scope.enter(name), channels));
        Ok(Self {
            norm: GroupNorm::load(ops, &scope.enter("group_norm"), channels, config.norm_num_groups, NORM_EPSILON)?,
            queries_keys_values: Linear::load_joined(ops, &parts, channels, true)?,
            out: Linear::load(ops, &scope.enter("to_out").enter(0), channels, channels, true)?,
            channels,
        })
    }

    pub(crate) fn forward(&self, ops: &Ops, input: &Activation, interrupt: &Interrupt) -> Result<Activation> {
        let normed = self.norm.forward(ops, input, false, Output::Operand)?;
        let operand = Epilogue { output: Output::Operand, ..Epilogue::default() };
        let joined = self.queries_keys_values.forward(ops, &normed, operand)?;
        drop(normed);
        let part = |index: usize| Slice { activation: &joined, offset: index * self.channels };
        let keys_values = KeysValues::SameRows { keys: part(1), values: part(2) };
        let attended = attention(ops, part(0), keys_values, 1, self.channels, Mask::None, interrupt)?;
        self.out.forward(ops, &attended, Epilogue { residual: Some(input), ..Epilogue::default() })
    }
}
