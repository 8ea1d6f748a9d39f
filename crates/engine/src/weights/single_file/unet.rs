//! Names of the UNet: SGM's blocks are numbered through, diffusers' by level and kind.

use super::names::{numbered, renamed};

const TOP: [(&str, &str); 6] = [
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "add_embedding.linear_2"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
];
const RESNET: [(&str, &str); 6] = [
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];
const FRAME_EMBEDDING: [(&str, &str); 2] = [("0", "linear_1"), ("2", "linear_2")];

/// diffusers' name of the tensor `stored`; `layers`: resnets of each level on the way down.
pub(super) fn name(stored: &str, layers: usize) -> Option<String> {
    if let Some(rest) = stored.strip_prefix("input_blocks.") {
        down(numbered(rest)?, layers)
    } else if let Some(rest) = stored.strip_prefix("middle_block.") {
        let (number, rest) = numbered(rest)?;
        match number {
            0 => Some(format!("mid_block.resnets.0.{}", resnets(rest)?)),
            1 => Some(format!("mid_block.attentions.0.{}", attention(rest)?)),
            2 => Some(format!("mid_block.resnets.1.{}", resnets(rest)?)),
            _ => None,
        }
    } else if let Some(rest) = stored.strip_prefix("output_blocks.") {
        up(numbered(rest)?, layers)
    } else {
        renamed(stored, &TOP)
    }
}

fn down((block, stored): (usize, &str), layers: usize) -> Option<String> {
    if block == 0 {
        return renamed(stored, &[("0", "conv_in")]);
    }
    let (level, layer) = ((block - 1) / (layers + 1), (block - 1) % (layers + 1));
    if layer == layers {
        return Some(format!("down_blocks.{level}.{}", renamed(stored, &[("0.op", "downsamplers.0.conv")])?));
    }
    let (part, rest) = numbered(stored)?;
    match part {
        0 => Some(format!("down_blocks.{level}.resnets.{layer}.{}", resnets(rest)?)),
        1 => Some(format!("down_blocks.{level}.attentions.{layer}.{}", attention(rest)?)),
        _ => None,
    }
}

fn up((block, stored): (usize, &str), layers: usize) -> Option<String> {
    let (level, layer) = (block / (layers + 1), block % (layers + 1));
    // After the resnet, and the attention where there is one.
    if let Some(upsampler) = renamed(stored, &[("1.conv", "upsamplers.0.conv"), ("2.conv", "upsamplers.0.conv")]) {
        return (layer == layers).then(|| format!("up_blocks.{level}.{upsampler}"));
    }
    let (part, rest) = numbered(stored)?;
    match part {
        0 => Some(format!("up_blocks.{level}.resnets.{layer}.{}", resnets(rest)?)),
        1 => Some(format!("up_blocks.{level}.attentions.{layer}.{}", attention(rest)?)),
        _ => None,
    }
}

/// Of the pair of resnets.
fn resnets(stored: &str) -> Option<String> {
    if stored == "time_mixer.mix_factor" {
        Some(stored.to_owned())
    } else if let Some(rest) = stored.strip_prefix("time_stack.") {
        Some(format!("temporal_res_block.{}", renamed(rest, &RESNET)?))
    } else {
        Some(format!("spatial_res_block.{}", renamed(stored, &RESNET)?))
    }
}

/// Of a transformer. Within its layers both have the same names.
fn attention(stored: &str) -> Option<String> {
    if let Some(rest) = stored.strip_prefix("time_stack.") {
        let (layer, rest) = numbered(rest)?;
        Some(format!("temporal_transformer_blocks.{layer}.{rest}"))
    } else if let Some(rest) = stored.strip_prefix("time_pos_embed.") {
        Some(format!("time_pos_embed.{}", renamed(rest, &FRAME_EMBEDDING)?))
    } else {
        let known = ["norm.", "proj_in.", "proj_out.", "transformer_blocks.", "time_mixer.mix_factor"];
        known.iter().any(|beginning| stored.starts_with(beginning)).then(|| stored.to_owned())
    }
}
