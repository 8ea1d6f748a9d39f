//! The transformer after a resnet: layers over the positions of a frame and layers over the frames of a position, in turn.

use super::NORM_GROUPS;
use super::context::{Part, SvdContext, vectors};
use super::resnet::BlendKind;
use crate::activation::Activation;
use crate::error::Result;
use crate::ops::{
    Blend, Epilogue, GroupNorm, Interrupt, KeysValues, LayerNorm, Linear, Mask, Ops, Output, QueriesKeysValues, Slice, attention,
    frame_attention,
};
use crate::unet::{EmbeddingLayers, Sinusoid, push_sinusoid};
use crate::weights::Scope;

/// Of the group norm at a transformer's entry (diffusers' `transformer_temporal.py`).
const ENTRY_EPSILON: f32 = 1e-6;
/// Of the layer norms within.
const LAYER_EPSILON: f32 = 1e-5;
/// The feed-forward part is this many times as wide, and so is the embedding of a frame's number.
const WIDENING: usize = 4;
/// Of the numbers of frames.
pub(super) const SINUSOID: Sinusoid = Sinusoid { flip_sin_to_cos: true, freq_shift: 0.0 };

const OPERAND: Epilogue<'static> = Epilogue {
    per_row: None,
    residual: None,
    function: crate::ops::Function::Identity,
    blend: None,
    slopes: None,
    output: Output::Operand,
};

/// The shape of a transformer.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransformerConfig {
    pub(super) channels: usize,
    pub(super) heads: usize,
    pub(super) layers: usize,
    /// Width of the picture's embedding.
    pub(super) context_channels: usize,
}

/// What a transformer sees besides its input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clips<'a> {
    /// Every so many rows are a clip.
    pub(super) frames: usize,
    /// Of each clip.
    pub(super) contexts: &'a [&'a SvdContext],
}

/// Group norm, projection in, layers, projection out, residual (diffusers' `TransformerSpatioTemporalModel`).
#[derive(Debug)]
pub(super) struct Transformer {
    norm: GroupNorm,
    projection_in: Linear,
    /// Of a frame's number.
    frame_embedding: EmbeddingLayers,
    layers: Vec<(SpatialLayer, TemporalLayer)>,
    /// Of the spatial part, in every layer.
    share: f32,
    projection_out: Linear,
    channels: usize,
    /// The first layer's place in an [`SvdContext`].
    first_layer: usize,
}

impl Transformer {
    /// `layers_before` counts the layers of the network's transformers so far; this transformer's are added to it.
    pub(super) fn load(ops: &Ops, scope: &Scope<'_>, config: TransformerConfig, layers_before: &mut usize) -> Result<Self> {
        let channels = config.channels;
        let (spatial, temporal) = (scope.enter("transformer_blocks"), scope.enter("temporal_transformer_blocks"));
        let mut layers = Vec::with_capacity(config.layers);
        for index in 0..config.layers {
            layers.push((
                SpatialLayer::load(ops, &spatial.enter(index), config)?,
                TemporalLayer::load(ops, &temporal.enter(index), config)?,
            ));
        }
        let first_layer = *layers_before;
        *layers_before += config.layers;
        Ok(Self {
            norm: GroupNorm::load(ops, &scope.enter("norm"), channels, NORM_GROUPS, ENTRY_EPSILON)?,
            projection_in: Linear::load(ops, &scope.enter("proj_in"), channels, channels, true)?,
            frame_embedding: EmbeddingLayers::load(
                ops,
                &scope.enter("time_pos_embed"),
                [channels, WIDENING * channels, channels],
            )?,
            layers,
            share: BlendKind::Spatial.load(ops, scope)?,
            projection_out: Linear::load(ops, &scope.enter("proj_out"), channels, channels, true)?,
            channels,
            first_layer,
        })
    }

    /// What each layer adds for a picture's `embedding`, appended to `target`.
    pub(super) fn push_context(
        &self,
        ops: &Ops,
        embedding: &Activation,
        target: &mut Vec<[Vec<f32>; 2]>,
        interrupt: &Interrupt,
    ) -> Result<()> {
        for (spatial, temporal) in &self.layers {
            interrupt.check()?;
            target.push([spatial.picture.vector(ops, embedding)?, temporal.picture.vector(ops, embedding)?]);
        }
        Ok(())
    }

    pub(super) fn forward(&self, ops: &Ops, input: &Activation, clips: Clips<'_>, interrupt: &Interrupt) -> Result<Activation> {
        let frame_embedding = self.frame_embedding(ops, clips)?;
        let normed = self.norm.forward(ops, input, false, Output::Operand)?;
        let mut hidden = self.projection_in.forward(ops, &normed, Epilogue::default())?;
        drop(normed);
        for (index, (spatial, temporal)) in self.layers.iter().enumerate() {
            let context = |part| vectors(ops, clips.contexts, self.first_layer + index, part, self.channels);
            interrupt.check()?;
            hidden = spatial.forward(ops, hidden, &context(Part::Spatial)?, interrupt)?;
            interrupt.check()?;
            let seen = Seen {
                frames: clips.frames,
                context: &context(Part::Temporal)?,
                frame_embedding: &frame_embedding,
                share: self.share,
                // the last one's result is multiplied next
                output: if index + 1 == self.layers.len() { Output::Operand } else { Output::Stream },
            };
            hidden = temporal.forward(ops, &hidden, seen, interrupt)?;
        }
        self.projection_out.forward(ops, &hidden, Epilogue { residual: Some(input), ..Epilogue::default() })
    }

    /// One vector per row: of its frame's number within the clip.
    fn frame_embedding(&self, ops: &Ops, clips: Clips<'_>) -> Result<Activation> {
        let mut sinusoids = Vec::new();
        for frame in (0..clips.frames).cycle().take(clips.frames * clips.contexts.len()) {
            push_sinusoid(&mut sinusoids, frame as f32, self.channels, SINUSOID);
        }
        self.frame_embedding.forward(ops, clips.frames * clips.contexts.len(), &sinusoids, None)
    }
}

/// Queries, keys and values of one product, and the way back.
#[derive(Debug)]
struct SelfAttention {
    /// Side by side.
    queries_keys_values: Linear,
    out: Linear,
    heads: usize,
    channels: usize,
}

impl SelfAttention {
    fn load(ops: &Ops, scope: &Scope<'_>, config: TransformerConfig) -> Result<Self> {
        let TransformerConfig { channels, heads, .. } = config;
        let parts = ["to_q", "to_k", "to_v"].map(|name| (scope.enter(name), channels));
        Ok(Self {
            queries_keys_values: Linear::load_joined(ops, &parts, channels, false)?,
            out: Linear::load(ops, &scope.enter("to_out").enter(0), channels, channels, true)?,
            heads,
            channels,
        })
    }

    /// One of the three parts.
    fn part<'a>(&self, joined: &'a Activation, index: usize) -> Slice<'a> {
        Slice { activation: joined, offset: index * self.channels }
    }

    /// Over the positions of each row.
    fn over_positions(&self, ops: &Ops, normed: Activation, interrupt: &Interrupt) -> Result<Activation> {
        let joined = self.queries_keys_values.forward(ops, &normed, OPERAND)?;
        drop(normed);
        let part = |index: usize| self.part(&joined, index);
        let keys_values = KeysValues::SameRows { keys: part(1), values: part(2) };
        attention(ops, part(0), keys_values, self.heads, self.channels / self.heads, Mask::None, interrupt)
    }

    /// Over the frames of each position.
    fn over_frames(&self, ops: &Ops, normed: Activation, frames: usize, interrupt: &Interrupt) -> Result<Activation> {
        let joined = self.queries_keys_values.forward(ops, &normed, OPERAND)?;
        drop(normed);
        let part = |index: usize| self.part(&joined, index);
        let parts = QueriesKeysValues { queries: part(0), keys: part(1), values: part(2) };
        frame_attention(ops, parts, frames, self.heads, self.channels / self.heads, interrupt)
    }
}

/// Attention to the picture, of which only the value and the way back have an effect (see [`SvdContext`]).
#[derive(Debug)]
struct PictureAttention {
    value: Linear,
    out: Linear,
}

impl PictureAttention {
    /// `norm`: the name of the norm before it, which has no effect either.
    fn load(ops: &Ops, scope: &Scope<'_>, norm: &str, config: TransformerConfig) -> Result<Self> {
        let TransformerConfig { channels, context_channels, .. } = config;
        let attention = scope.enter("attn2");
        for name in ["weight", "bias"] {
            scope.enter(norm).skip(name, &[channels])?;
        }
        attention.enter("to_q").skip("weight", &[channels, channels])?;
        attention.enter("to_k").skip("weight", &[channels, context_channels])?;
        Ok(Self {
            value: Linear::load(ops, &attention.enter("to_v"), context_channels, channels, false)?,
            out: Linear::load(ops, &attention.enter("to_out").enter(0), channels, channels, true)?,
        })
    }

    /// What is added at every position.
    fn vector(&self, ops: &Ops, embedding: &Activation) -> Result<Vec<f32>> {
        let value = self.value.forward(ops, embedding, OPERAND)?;
        ops.download(&self.out.forward(ops, &value, Epilogue::default())?)
    }
}

/// Widened with a gate, and back.
#[derive(Debug)]
struct FeedForward {
    gated: Linear,
    down: Linear,
}

impl FeedForward {
    fn load(ops: &Ops, scope: &Scope<'_>, channels: usize) -> Result<Self> {
        let (net, inner) = (scope.enter("net"), WIDENING * channels);
        Ok(Self {
            gated: Linear::load_geglu(ops, &net.enter(0).enter("proj"), channels, inner)?,
            down: Linear::load(ops, &net.enter(2), inner, channels, true)?,
        })
    }

    fn forward(&self, ops: &Ops, normed: Activation, epilogue: Epilogue<'_>) -> Result<Activation> {
        let inner = self.gated.forward(ops, &normed, OPERAND)?;
        drop(normed);
        self.down.forward(ops, &inner, epilogue)
    }
}

/// `BasicTransformerBlock`, over the positions of a frame.
#[derive(Debug)]
struct SpatialLayer {
    norm_1: LayerNorm,
    attention: SelfAttention,
    picture: PictureAttention,
    norm_3: LayerNorm,
    feed_forward: FeedForward,
}

impl SpatialLayer {
    fn load(ops: &Ops, scope: &Scope<'_>, config: TransformerConfig) -> Result<Self> {
        let norm = |name: &str| LayerNorm::load(ops, &scope.enter(name), config.channels, LAYER_EPSILON);
        Ok(Self {
            norm_1: norm("norm1")?,
            attention: SelfAttention::load(ops, &scope.enter("attn1"), config)?,
            picture: PictureAttention::load(ops, scope, "norm2", config)?,
            norm_3: norm("norm3")?,
            feed_forward: FeedForward::load(ops, &scope.enter("ff"), config.channels)?,
        })
    }

    /// `context`: what attention to the picture adds, one vector per clip.
    fn forward(&self, ops: &Ops, input: Activation, context: &Activation, interrupt: &Interrupt) -> Result<Activation> {
        let normed = self.norm_1.forward(ops, &input, Output::Operand)?;
        let attended = self.attention.over_positions(ops, normed, interrupt)?;
        let epilogue = Epilogue { per_row: Some(context), residual: Some(&input), ..Epilogue::default() };
        let hidden = self.attention.out.forward(ops, &attended, epilogue)?;
        drop((attended, input));
        let normed = self.norm_3.forward(ops, &hidden, Output::Operand)?;
        self.feed_forward.forward(ops, normed, Epilogue { residual: Some(&hidden), ..Epilogue::default() })
    }
}

/// What a layer over frames sees besides its input.
#[derive(Clone, Copy, Debug)]
struct Seen<'a> {
    frames: usize,
    /// What attention to the picture adds, one vector per clip.
    context: &'a Activation,
    /// One vector per row.
    frame_embedding: &'a Activation,
    /// Of the input in the result.
    share: f32,
    output: Output,
}

/// `TemporalBasicTransformerBlock`, over the frames of a position, and the blend of its result with its input.
#[derive(Debug)]
struct TemporalLayer {
    norm_in: LayerNorm,
    feed_forward_in: FeedForward,
    norm_1: LayerNorm,
    attention: SelfAttention,
    picture: PictureAttention,
    norm_3: LayerNorm,
    feed_forward: FeedForward,
}

impl TemporalLayer {
    fn load(ops: &Ops, scope: &Scope<'_>, config: TransformerConfig) -> Result<Self> {
        let norm = |name: &str| LayerNorm::load(ops, &scope.enter(name), config.channels, LAYER_EPSILON);
        Ok(Self {
            norm_in: norm("norm_in")?,
            feed_forward_in: FeedForward::load(ops, &scope.enter("ff_in"), config.channels)?,
            norm_1: norm("norm1")?,
            attention: SelfAttention::load(ops, &scope.enter("attn1"), config)?,
            picture: PictureAttention::load(ops, scope, "norm2", config)?,
            norm_3: norm("norm3")?,
            feed_forward: FeedForward::load(ops, &scope.enter("ff"), config.channels)?,
        })
    }

    /// The sum of input and frame embedding, which is where the layer begins, is never stored: whoever needs it adds the two.
    fn forward(&self, ops: &Ops, input: &Activation, seen: Seen<'_>, interrupt: &Interrupt) -> Result<Activation> {
        let Seen { frames, context, frame_embedding, share, output } = seen;
        let normed = self.norm_in.forward_shifted(ops, input, frame_embedding, Output::Operand)?;
        let epilogue = Epilogue { per_row: Some(frame_embedding), residual: Some(input), ..Epilogue::default() };
        let entered = self.feed_forward_in.forward(ops, normed, epilogue)?;

        let normed = self.norm_1.forward(ops, &entered, Output::Operand)?;
        let attended = self.attention.over_frames(ops, normed, frames, interrupt)?;
        let epilogue = Epilogue { per_row: Some(context), residual: Some(&entered), ..Epilogue::default() };
        let hidden = self.attention.out.forward(ops, &attended, epilogue)?;
        drop((attended, entered));

        let normed = self.norm_3.forward(ops, &hidden, Output::Operand)?;
        let blend = Some(Blend { with: input, share });
        self.feed_forward.forward(ops, normed, Epilogue { residual: Some(&hidden), blend, output, ..Epilogue::default() })
    }
}
