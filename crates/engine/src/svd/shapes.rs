//! Configurations of a single file, which has no `config.json`: what its tensors' shapes say, and what all published models have alike.

use std::collections::BTreeMap;

use super::{NORM_GROUPS, SvdUNetConfig, TemporalVaeConfig};
use crate::error::{Error, Result};
use crate::ops::Function;
use crate::unet::config::BlockKind;
use crate::vision::ImageEncoderConfig;
use crate::weights::{Checkpoint, SvdComponent};

/// Channels of a head of the UNet.
const HEAD_CHANNELS: usize = 64;
/// Channels of a head of the image encoder (ViT-H/14).
const IMAGE_HEAD_CHANNELS: usize = 80;
/// Numbers that condition a clip besides its picture.
const ADDED_IDS: usize = 3;

/// Names and shapes of a component.
struct Shapes<'a> {
    component: SvdComponent,
    by_name: BTreeMap<&'a str, &'a [usize]>,
}

impl<'a> Shapes<'a> {
    fn of(component: SvdComponent, checkpoint: &'a Checkpoint) -> Self {
        Self { component, by_name: checkpoint.tensors().collect() }
    }

    fn refuse(&self, reason: impl Into<String>) -> Error {
        Error::checkpoint(self.component.name(), reason)
    }

    /// A dimension of the tensor `name`.
    fn side(&self, name: &str, dimension: usize) -> Result<usize> {
        let side = self.by_name.get(name).and_then(|shape| shape.get(dimension)).copied().filter(|side| *side > 0);
        side.ok_or_else(|| self.refuse(format!("{name} is missing or has fewer than {} dimensions", dimension + 1)))
    }

    fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// How many numbers from 0 on `name` has a tensor for.
    fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..self.by_name.len()).take_while(|index| self.has(&name(*index))).count()
    }

    /// `channels` in heads of `head_channels`.
    fn heads(&self, channels: usize, head_channels: usize) -> Result<usize> {
        if channels.is_multiple_of(head_channels) {
            Ok(channels / head_channels)
        } else {
            Err(self.refuse(format!("{channels} channels are not a number of heads of {head_channels}")))
        }
    }

    /// An error unless every norm's groups divide the channels.
    fn check_groups(&self, channels: &[usize]) -> Result<()> {
        match channels.iter().find(|channels| !channels.is_multiple_of(NORM_GROUPS)) {
            Some(channels) => Err(self.refuse(format!("{channels} channels cannot be cut into {NORM_GROUPS} groups"))),
            None if channels.is_empty() => Err(self.refuse("it has no levels")),
            None => Ok(()),
        }
    }
}

/// The UNet's. How many frames a model was trained on is not in its shapes: 14, or 25 of the extended one.
pub fn unet_config(checkpoint: &Checkpoint, num_frames: usize) -> Result<SvdUNetConfig> {
    let shapes = Shapes::of(SvdComponent::UNet, checkpoint);
    let resnet =
        |side: &str, block: usize, layer: usize| format!("{side}_blocks.{block}.resnets.{layer}.spatial_res_block.conv1.weight");
    let levels = shapes.count(|level| resnet("down", level, 0));
    let block_out_channels: Vec<usize> =
        (0..levels).map(|level| shapes.side(&resnet("down", level, 0), 0)).collect::<Result<_>>()?;
    shapes.check_groups(&block_out_channels)?;
    let attention = |side: &str, block: usize| format!("{side}_blocks.{block}.attentions.0.");
    let kind = |side: &str, block: usize| {
        if shapes.has(&format!("{}norm.weight", attention(side, block))) { BlockKind::CrossAttention } else { BlockKind::Plain }
    };
    let transformer_layers = |block: &str| shapes.count(|layer| format!("{block}transformer_blocks.{layer}.norm1.weight"));
    let heads = |channels: &usize| shapes.heads(*channels, HEAD_CHANNELS);
    let middle = transformer_layers("mid_block.attentions.0.");
    let transformer_layers_per_block = (0..levels)
        .map(|level| {
            let found = [attention("down", level), attention("up", levels - 1 - level)].map(|block| transformer_layers(&block));
            match found {
                // The smallest level may attend in the middle alone.
                [0, 0] => middle,
                [down, up] => down.max(up),
            }
        })
        .collect();
    let added = shapes.side("add_embedding.linear_1.weight", 1)?;
    Ok(SvdUNetConfig {
        in_channels: shapes.side("conv_in.weight", 1)?,
        out_channels: shapes.side("conv_out.weight", 0)?,
        sample_size: 96,
        num_frames,
        cross_attention_dim: shapes.side("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 1)?,
        down_blocks: (0..levels).map(|level| kind("down", level)).collect(),
        up_blocks: (0..levels).map(|block| kind("up", block)).collect(),
        layers_per_block: (0..levels).map(|level| shapes.count(|layer| resnet("down", level, layer))).collect(),
        transformer_layers_per_block,
        attention_heads: block_out_channels.iter().map(heads).collect::<Result<_>>()?,
        addition_time_embed_dim: added / ADDED_IDS,
        projection_class_embeddings_input_dim: added,
        block_out_channels,
    })
}

/// The autoencoder's.
pub fn vae_config(checkpoint: &Checkpoint) -> Result<TemporalVaeConfig> {
    let shapes = Shapes::of(SvdComponent::Vae, checkpoint);
    let resnet = |level: usize, layer: usize| format!("encoder.down_blocks.{level}.resnets.{layer}.conv1.weight");
    let levels = shapes.count(|level| resnet(level, 0));
    let block_out_channels: Vec<usize> = (0..levels).map(|level| shapes.side(&resnet(level, 0), 0)).collect::<Result<_>>()?;
    shapes.check_groups(&block_out_channels)?;
    if levels > crate::vae::config::MOST_LEVELS {
        return Err(shapes.refuse(format!("{levels} levels; at most {} are supported", crate::vae::config::MOST_LEVELS)));
    }
    Ok(TemporalVaeConfig {
        in_channels: shapes.side("encoder.conv_in.weight", 1)?,
        out_channels: shapes.side("decoder.conv_out.weight", 0)?,
        latent_channels: shapes.side("decoder.conv_in.weight", 1)?,
        layers_per_block: shapes.count(|layer| resnet(0, layer)),
        sample_size: 768,
        scaling_factor: 0.18215,
        force_upcast: true,
        block_out_channels,
    })
}

/// The image encoder's.
pub fn image_encoder_config(checkpoint: &Checkpoint) -> Result<ImageEncoderConfig> {
    let shapes = Shapes::of(SvdComponent::ImageEncoder, checkpoint);
    let hidden_size = shapes.side("vision_model.embeddings.class_embedding", 0)?;
    let positions = shapes.side("vision_model.embeddings.position_embedding.weight", 0)?;
    let patch_size = shapes.side("vision_model.embeddings.patch_embedding.weight", 2)?;
    let side = (positions - 1).isqrt();
    if side == 0 || side * side + 1 != positions {
        return Err(shapes.refuse(format!("{positions} positions are not those of a square of patches and one more")));
    }
    let layer = |index: usize| format!("vision_model.encoder.layers.{index}.mlp.fc1.weight");
    Ok(ImageEncoderConfig {
        hidden_size,
        intermediate_size: shapes.side(&layer(0), 0)?,
        num_hidden_layers: shapes.count(layer),
        num_attention_heads: shapes.heads(hidden_size, IMAGE_HEAD_CHANNELS)?,
        image_size: side * patch_size,
        patch_size,
        projection_dim: shapes.side("visual_projection.weight", 0)?,
        activation: Function::Gelu,
        layer_norm_eps: 1e-5,
    })
}
