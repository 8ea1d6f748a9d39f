//! The transformer after a resnet: self-attention, attention to the text, feed-forward.

use super::config::UNetConfig;
use super::context::Context;
use super::resnet::conv_1x1;
use crate::activation::Activation;
use crate::error::Result;
use crate::ops::{
    Conv2d, Epilogue, GroupNorm, Interrupt, KeysValues, LayerNorm, Linear, Mask, Ops, Output, RowKeysValues, Slice, attention,
};
use crate::weights::Scope;

/// Of the group norm at a transformer's entry, whatever the resnets have (diffusers' `transformer_2d.py`).
const ENTRY_EPSILON: f32 = 1e-6;
/// Of the layer norms within.
const LAYER_EPSILON: f32 = 1e-5;
/// The feed-forward part is this many times as wide.
const WIDENING: usize = 4;

/// The shape of a transformer.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransformerConfig {
    pub(super) channels: usize,
    pub(super) heads: usize,
    pub(super) layers: usize,
}

/// Group norm, projection in, layers, projection out, residual.
#[derive(Debug)]
pub(super) struct Transformer {
    norm: GroupNorm,
    projection_in: Projection,
    layers: Vec<Layer>,
    projection_out: Projection,
}

/// The two published forms of the same product.
#[derive(Debug)]
enum Projection {
    Linear(Linear),
    Conv(Conv2d),
}

impl Projection {
    fn load(ops: &Ops, scope: &Scope<'_>, channels: usize, linear: bool) -> Result<Self> {
        if linear {
            Ok(Self::Linear(Linear::load(ops, scope, channels, channels, true)?))
        } else {
            Ok(Self::Conv(Conv2d::load(ops, scope, conv_1x1(channels, channels))?))
        }
    }

    fn forward(&self, ops: &Ops, input: &Activation, epilogue: Epilogue<'_>) -> Result<Activation> {
        match self {
            Self::Linear(layer) => layer.forward(ops, input, epilogue),
            Self::Conv(layer) => layer.forward(ops, input, epilogue),
        }
    }
}

impl Transformer {
    /// `cross_attentions` counts the cross-attentions of the network so far; this transformer's are added to it.
    pub(super) fn load(
        ops: &Ops,
        scope: &Scope<'_>,
        unet: &UNetConfig,
        config: TransformerConfig,
        cross_attentions: &mut usize,
    ) -> Result<Self> {
        let channels = config.channels;
        let blocks = scope.enter("transformer_blocks");
        let mut layers = Vec::with_capacity(config.layers);
        let norm = GroupNorm::load(ops, &scope.enter("norm"), channels, unet.norm_num_groups, ENTRY_EPSILON)?;
        let projection_in = Projection::load(ops, &scope.enter("proj_in"), channels, unet.use_linear_projection)?;
        for index in 0..config.layers {
            layers.push(Layer::load(ops, &blocks.enter(index), unet.cross_attention_dim, config, *cross_attentions)?);
            *cross_attentions += 1;
        }
        let projection_out = Projection::load(ops, &scope.enter("proj_out"), channels, unet.use_linear_projection)?;
        Ok(Self { norm, projection_in, layers, projection_out })
    }

    /// Keys and values of the text in each layer, appended to `target`.
    pub(super) fn push_context(
        &self,
        ops: &Ops,
        states: &Activation,
        target: &mut Vec<Activation>,
        interrupt: &Interrupt,
    ) -> Result<()> {
        for layer in &self.layers {
            interrupt.check()?;
            target.push(layer.text_keys_values.forward(ops, states, OPERAND)?);
        }
        Ok(())
    }

    pub(super) fn forward(
        &self,
        ops: &Ops,
        input: &Activation,
        contexts: &[&Context],
        interrupt: &Interrupt,
    ) -> Result<Activation> {
        let normed = self.norm.forward(ops, input, false, Output::Operand)?;
        let mut hidden = self.projection_in.forward(ops, &normed, Epilogue::default())?;
        drop(normed);
        for layer in &self.layers {
            interrupt.check()?;
            hidden = layer.forward(ops, &hidden, contexts, interrupt)?;
        }
        self.projection_out.forward(ops, &hidden, Epilogue { residual: Some(input), ..Epilogue::default() })
    }
}

const OPERAND: Epilogue<'static> = Epilogue {
    per_row: None,
    residual: None,
    function: crate::ops::Function::Identity,
    blend: None,
    slopes: None,
    output: Output::Operand,
};

/// `BasicTransformerBlock`.
#[derive(Debug)]
struct Layer {
    norm_1: LayerNorm,
    /// Queries, keys and values of one product, side by side.
    queries_keys_values: Linear,
    self_out: Linear,
    norm_2: LayerNorm,
    text_queries: Linear,
    /// Keys and values of one product; used once per request.
    text_keys_values: Linear,
    text_out: Linear,
    norm_3: LayerNorm,
    gated: Linear,
    down: Linear,
    heads: usize,
    channels: usize,
    /// This layer's place in a [`Context`].
    cross_attention: usize,
}

impl Layer {
    fn load(
        ops: &Ops,
        scope: &Scope<'_>,
        context_channels: usize,
        config: TransformerConfig,
        cross_attention: usize,
    ) -> Result<Self> {
        let TransformerConfig { channels, heads, .. } = config;
        let (own, text, feed_forward) = (scope.enter("attn1"), scope.enter("attn2"), scope.enter("ff").enter("net"));
        let norm = |name: &str| LayerNorm::load(ops, &scope.enter(name), channels, LAYER_EPSILON);
        let inner = WIDENING * channels;
        Ok(Self {
            norm_1: norm("norm1")?,
            queries_keys_values: Linear::load_joined(
                ops,
                &["to_q", "to_k", "to_v"].map(|name| (own.enter(name), channels)),
                channels,
                false,
            )?,
            self_out: Linear::load(ops, &own.enter("to_out").enter(0), channels, channels, true)?,
            norm_2: norm("norm2")?,
            text_queries: Linear::load(ops, &text.enter("to_q"), channels, channels, false)?,
            text_keys_values: Linear::load_joined(
                ops,
                &["to_k", "to_v"].map(|name| (text.enter(name), channels)),
                context_channels,
                false,
            )?,
            text_out: Linear::load(ops, &text.enter("to_out").enter(0), channels, channels, true)?,
            norm_3: norm("norm3")?,
            gated: Linear::load_geglu(ops, &feed_forward.enter(0).enter("proj"), channels, inner)?,
            down: Linear::load(ops, &feed_forward.enter(2), inner, channels, true)?,
            heads,
            channels,
            cross_attention,
        })
    }

    fn forward(&self, ops: &Ops, input: &Activation, contexts: &[&Context], interrupt: &Interrupt) -> Result<Activation> {
        let hidden = self.attend_to_itself(ops, input, interrupt)?;
        let hidden = self.attend_to_text(ops, &hidden, contexts, interrupt)?;
        let normed = self.norm_3.forward(ops, &hidden, Output::Operand)?;
        let inner = self.gated.forward(ops, &normed, OPERAND)?;
        drop(normed);
        self.down.forward(ops, &inner, Epilogue { residual: Some(&hidden), ..Epilogue::default() })
    }

    fn attend_to_itself(&self, ops: &Ops, input: &Activation, interrupt: &Interrupt) -> Result<Activation> {
        let normed = self.norm_1.forward(ops, input, Output::Operand)?;
        let joined = self.queries_keys_values.forward(ops, &normed, OPERAND)?;
        drop(normed);
        let part = |index: usize| Slice { activation: &joined, offset: index * self.channels };
        let keys_values = KeysValues::SameRows { keys: part(1), values: part(2) };
        let attended = self.attend(ops, part(0), keys_values, interrupt)?;
        self.self_out.forward(ops, &attended, Epilogue { residual: Some(input), ..Epilogue::default() })
    }

    fn attend_to_text(&self, ops: &Ops, input: &Activation, contexts: &[&Context], interrupt: &Interrupt) -> Result<Activation> {
        let normed = self.norm_2.forward(ops, input, Output::Operand)?;
        let queries = self.text_queries.forward(ops, &normed, OPERAND)?;
        drop(normed);
        let rows: Vec<RowKeysValues<'_>> =
            contexts.iter().map(|context| context.layer(self.cross_attention, self.channels)).collect::<Result<_>>()?;
        let attended = self.attend(ops, Slice { activation: &queries, offset: 0 }, KeysValues::PerRow(&rows), interrupt)?;
        self.text_out.forward(ops, &attended, Epilogue { residual: Some(input), ..Epilogue::default() })
    }

    fn attend(&self, ops: &Ops, queries: Slice<'_>, keys_values: KeysValues<'_>, interrupt: &Interrupt) -> Result<Activation> {
        attention(ops, queries, keys_values, self.heads, self.channels / self.heads, Mask::None, interrupt)
    }
}
