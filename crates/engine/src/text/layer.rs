//! One transformer layer of a CLIP tower, be it of text or of pictures.

use crate::activation::Activation;
use crate::error::Result;
use crate::ops::{Epilogue, Function, Interrupt, KeysValues, LayerNorm, Linear, Mask, Ops, Output, Slice, attention};
use crate::weights::Scope;

/// The shape of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerConfig {
    pub(crate) width: usize,
    /// Width inside the feed-forward part.
    pub(crate) inner_width: usize,
    pub(crate) heads: usize,
    /// Of the feed-forward part.
    pub(crate) activation: Function,
    /// Of both norms.
    pub(crate) epsilon: f32,
    pub(crate) mask: Mask,
}

/// Norm, self-attention, norm, feed-forward; residual around each pair.
#[derive(Debug)]
pub(crate) struct Layer {
    norm_1: LayerNorm,
    /// Queries, keys and values of one product, side by side.
    queries_keys_values: Linear,
    out: Linear,
    norm_2: LayerNorm,
    up: Linear,
    down: Linear,
    config: LayerConfig,
}

impl Layer {
    pub(crate) fn load(ops: &Ops, scope: &Scope<'_>, config: LayerConfig) -> Result<Self> {
        let LayerConfig { width, inner_width, epsilon, .. } = config;
        let (attention, feed_forward) = (scope.enter("self_attn"), scope.enter("mlp"));
        let parts = ["q_proj", "k_proj", "v_proj"].map(|name| (attention.enter(name), width));
        Ok(Self {
            norm_1: LayerNorm::load(ops, &scope.enter("layer_norm1"), width, epsilon)?,
            queries_keys_values: Linear::load_joined(ops, &parts, width, true)?,
            out: Linear::load(ops, &attention.enter("out_proj"), width, width, true)?,
            norm_2: LayerNorm::load(ops, &scope.enter("layer_norm2"), width, epsilon)?,
            up: Linear::load(ops, &feed_forward.enter("fc1"), width, inner_width, true)?,
            down: Linear::load(ops, &feed_forward.enter("fc2"), inner_width, width, true)?,
            config,
        })
    }

    pub(crate) fn forward(&self, ops: &Ops, input: &Activation, interrupt: &Interrupt) -> Result<Activation> {
        let LayerConfig { width, heads, activation, mask, .. } = self.config;
        let operand = Epilogue { output: Output::Operand, ..Epilogue::default() };
        let normed = self.norm_1.forward(ops, input, Output::Operand)?;
        let joined = self.queries_keys_values.forward(ops, &normed, operand)?;
        let part = |index: usize| Slice { activation: &joined, offset: index * width };
        let keys_values = KeysValues::SameRows { keys: part(1), values: part(2) };
        let attended = attention(ops, part(0), keys_values, heads, width / heads, mask, interrupt)?;
        let hidden = self.out.forward(ops, &attended, Epilogue { residual: Some(input), ..Epilogue::default() })?;

        let normed = self.norm_2.forward(ops, &hidden, Output::Operand)?;
        let inner = self.up.forward(ops, &normed, Epilogue { function: activation, ..operand })?;
        self.down.forward(ops, &inner, Epilogue { residual: Some(&hidden), ..Epilogue::default() })
    }
}
