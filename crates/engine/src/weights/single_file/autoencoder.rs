//! Names of the autoencoder, whose halves lie apart. The decoder's levels are numbered from the full-size one, diffusers' from the smallest.

use super::names::{numbered, renamed};

const TOP: [(&str, &str); 3] = [("conv_in", "conv_in"), ("norm_out", "conv_norm_out"), ("conv_out", "conv_out")];
const RESNET: [(&str, &str); 5] =
    [("norm1", "norm1"), ("conv1", "conv1"), ("norm2", "norm2"), ("conv2", "conv2"), ("nin_shortcut", "conv_shortcut")];
const TEMPORAL_RESNET: [(&str, &str); 4] =
    [("in_layers.0", "norm1"), ("in_layers.2", "conv1"), ("out_layers.0", "norm2"), ("out_layers.3", "conv2")];
const ATTENTION: [(&str, &str); 5] =
    [("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")];

/// diffusers' name of a tensor of the encoder.
pub(super) fn encoder_name(stored: &str) -> Option<String> {
    let name = if let Some(rest) = stored.strip_prefix("down.") {
        let (level, rest) = numbered(rest)?;
        if let Some(rest) = rest.strip_prefix("block.") {
            let (layer, rest) = numbered(rest)?;
            format!("down_blocks.{level}.resnets.{layer}.{}", renamed(rest, &RESNET)?)
        } else {
            format!("down_blocks.{level}.{}", renamed(rest, &[("downsample.conv", "downsamplers.0.conv")])?)
        }
    } else {
        common(stored, |rest| renamed(rest, &RESNET))?
    };
    Some(format!("encoder.{name}"))
}

/// diffusers' name of a tensor of the decoder, which has `levels`.
pub(super) fn decoder_name(stored: &str, levels: usize) -> Option<String> {
    let name = if let Some(rest) = stored.strip_prefix("up.") {
        let (level, rest) = numbered(rest)?;
        let level = levels.checked_sub(1)?.checked_sub(level)?;
        if let Some(rest) = rest.strip_prefix("block.") {
            let (layer, rest) = numbered(rest)?;
            format!("up_blocks.{level}.resnets.{layer}.{}", resnets(rest)?)
        } else {
            format!("up_blocks.{level}.{}", renamed(rest, &[("upsample.conv", "upsamplers.0.conv")])?)
        }
    } else if let Some(name) = renamed(stored, &[("conv_out.time_mix_conv", "time_conv_out")]) {
        name
    } else {
        common(stored, resnets)?
    };
    Some(format!("decoder.{name}"))
}

/// What both halves have: ends and middle.
fn common(stored: &str, resnet: impl Fn(&str) -> Option<String>) -> Option<String> {
    let Some(rest) = stored.strip_prefix("mid.") else { return renamed(stored, &TOP) };
    if let Some(rest) = rest.strip_prefix("attn_1.") {
        return Some(format!("mid_block.attentions.0.{}", renamed(rest, &ATTENTION)?));
    }
    let (number, rest) = numbered(rest.strip_prefix("block_")?)?;
    Some(format!("mid_block.resnets.{}.{}", number.checked_sub(1)?, resnet(rest)?))
}

/// Of a pair of resnets.
fn resnets(stored: &str) -> Option<String> {
    if stored == "mix_factor" {
        Some("time_mixer.mix_factor".to_owned())
    } else if let Some(rest) = stored.strip_prefix("time_stack.") {
        Some(format!("temporal_res_block.{}", renamed(rest, &TEMPORAL_RESNET)?))
    } else {
        Some(format!("spatial_res_block.{}", renamed(stored, &RESNET)?))
    }
}
