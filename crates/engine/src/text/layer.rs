//! One transformer layer of a text tower.

use super::TextEncoderConfig;
use crate::activation::Activation;
use crate::error::Result;
use crate::ops::{Epilogue, Function, Interrupt, KeysValues, LayerNorm, Linear, Mask, Ops, Output, Slice, attention};
use crate::weights::Scope;

/// Norm, causal self-attention, norm, feed-forward; residual around each pair.
#[derive(Debug)]
pub(super) struct Layer {
    norm_1: LayerNorm,
    /// Queries, keys and values of one product, side by side.
    queries_keys_values: Linear,
    out: Linear,
    norm_2: LayerNorm,
    up: Linear,
    down: Linear,
    activation: Function,
    heads: usize,
    width: usize,
}

impl Layer {
    pub(super) fn load(ops: &Ops, scope: &Scope<'_>, config: &TextEncoderConfig) -> Result<Self> {
        let width = config.hidden_size;
        let (attention, feed_forward) = (scope.enter("self_attn"), scope.enter("mlp"));
        let parts = ["q_proj", "k_proj", "v_proj"].map(|name| (attention.enter(name), width));
        Ok(Self {
            norm_1: LayerNorm::load(ops, &scope.enter("layer_norm1"), width, config.layer_norm_eps)?,
            queries_keys_values: Linear::load_joined(ops, &parts, width, true)?,
            out: Linear::load(ops, &attention.enter("out_proj"), width, width, true)?,
            norm_2: LayerNorm::load(ops, &scope.enter("layer_norm2"), width, config.layer_norm_eps)?,
            up: Linear::load(ops, &feed_forward.enter("fc1"), width, config.intermediate_size, true)?,
            down: Linear::load(ops, &feed_forward.enter("fc2"), config.intermediate_size, width, true)?,
            activation: config.activation,
            heads: config.num_attention_heads,
            width,
        })
    }

    pub(super) fn forward(&self, ops: &Ops, input: &Activation, interrupt: &Interrupt) -> Result<Activation> {
        let operand = Epilogue { output: Output::Operand, ..Epilogue::default() };
        let normed = self.norm_1.forward(ops, input, Output::Operand)?;
        let joined = self.queries_keys_values.forward(ops, &normed, operand)?;
        let part = |index: usize| Slice { activation: &joined, offset: index * self.width };
        let keys_values = KeysValues::SameRows { keys: part(1), values: part(2) };
        let attended = attention(ops, part(0), keys_values, self.heads, self.width / self.heads, Mask::Causal, interrupt)?;
        let hidden = self.out.forward(ops, &attended, Epilogue { residual: Some(input), ..Epilogue::default() })?;

        let normed = self.norm_2.forward(ops, &hidden, Output::Operand)?;
        let inner = self.up.forward(ops, &normed, Epilogue { function: self.activation, ..operand })?;
        self.down.forward(ops, &inner, Epilogue { residual: Some(&hidden), ..Epilogue::default() })
    }
}
