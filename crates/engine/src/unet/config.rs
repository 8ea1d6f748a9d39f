//! `unet/config.json`.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::weights::Settings;

/// More than any published network has; what is beyond is a lie.
const MAX_CHANNELS: usize = 16_384;
const MAX_LAYERS: usize = 64;

/// The configuration of a `UNet2DConditionModel`. Unknown architecture values are refused by name.
///
/// Lists run from the full-size level down; the up blocks mirror them.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct UNetConfig {
    /// Channels of the input latents (4; 9 for inpainting).
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Latent side the model was trained at.
    pub sample_size: usize,
    /// Width of the text context.
    pub cross_attention_dim: usize,
    /// Channels of each level.
    pub block_out_channels: Vec<usize>,
    /// Kind of each down block.
    pub down_blocks: Vec<BlockKind>,
    /// Kind of each up block, from the smallest level up.
    pub up_blocks: Vec<BlockKind>,
    /// Resnets of each level's down block; its up block has one more.
    pub layers_per_block: Vec<usize>,
    /// Layers of each transformer of a level; the mid block has those of the last level.
    pub transformer_layers_per_block: Vec<usize>,
    /// Heads of each level (published as `attention_head_dim`, a misnomer that diffusers keeps).
    pub attention_heads: Vec<usize>,
    /// Whether transformers are entered and left by matrices (SDXL) or by 1×1 convolutions (SD 1.5).
    pub use_linear_projection: bool,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Epsilon of the resnets' norms; the transformers' is 1e-6 always.
    pub norm_eps: f32,
    /// Cosines before sines.
    pub flip_sin_to_cos: bool,
    /// Subtracted from the number of frequencies in the exponent's divisor.
    pub freq_shift: f32,
    /// Size and pooled-text conditioning, if the network has it (SDXL has, SD 1.5 has not).
    pub text_time: Option<TextTimeConfig>,
}

/// What a block is made of (in Stable Video Diffusion: of its spatio-temporal kin).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Resnets alone: `DownBlock2D`, `UpBlock2D`.
    Plain,
    /// A transformer after every resnet: `CrossAttnDownBlock2D`, `CrossAttnUpBlock2D`.
    CrossAttention,
}

/// `addition_embed_type: text_time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextTimeConfig {
    /// Width of the embedding of each size number.
    pub time_embed_dim: usize,
    /// Width of pooled text and all embedded size numbers together.
    pub input_dim: usize,
}

impl UNetConfig {
    /// Number of levels.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Channels of the smallest level.
    pub(super) fn last_channels(&self) -> usize {
        self.block_out_channels.last().copied().unwrap_or_default()
    }

    /// Width of the time embedding.
    pub(super) fn time_channels(&self) -> usize {
        4 * self.block_out_channels.first().copied().unwrap_or_default()
    }
}

impl TryFrom<Map<String, Value>> for UNetConfig {
    type Error = Error;

    fn try_from(values: Map<String, Value>) -> Result<Self> {
        let mut settings = Settings::new("unet", values);
        pin_single_implementations(&mut settings)?;

        let block_out_channels = settings
            .integers("block_out_channels", 1..=MAX_CHANNELS, None)?
            .ok_or_else(|| settings.refuse("block_out_channels", "missing; expected a list of channel numbers"))?;
        let levels = block_out_channels.len();
        let down_blocks = block_kinds(&mut settings, "down_block_types", ["DownBlock2D", "CrossAttnDownBlock2D"], levels)?;
        let up_blocks = block_kinds(&mut settings, "up_block_types", ["UpBlock2D", "CrossAttnUpBlock2D"], levels)?;

        let norm_num_groups = settings.integer("norm_num_groups", 1..=MAX_CHANNELS, Some(32))?;
        if let Some(channels) = block_out_channels.iter().find(|channels| !channels.is_multiple_of(norm_num_groups)) {
            return Err(
                settings.refuse("norm_num_groups", format!("{norm_num_groups} does not divide block_out_channels {channels}"))
            );
        }
        let heads_key = "num_attention_heads";
        let attention_heads = match settings.integers(heads_key, 1..=MAX_CHANNELS, Some(levels))? {
            Some(heads) => heads,
            None => settings.integers("attention_head_dim", 1..=MAX_CHANNELS, Some(levels))?.unwrap_or_else(|| vec![8; levels]),
        };
        settings.ignore(&["attention_head_dim"]);
        check_heads(&settings, "attention_head_dim", &block_out_channels, &attention_heads, (&down_blocks, &up_blocks))?;

        let layers = |settings: &mut Settings, key, default| {
            Ok::<_, Error>(settings.integers(key, 1..=MAX_LAYERS, Some(levels))?.unwrap_or_else(|| vec![default; levels]))
        };
        let freq_shift = settings.number("freq_shift", 0.0..=1.0, 0.0)? as f32;
        let text_time = text_time(&mut settings)?;
        let config = Self {
            in_channels: settings.integer("in_channels", 1..=MAX_CHANNELS, Some(4))?,
            out_channels: settings.integer("out_channels", 1..=MAX_CHANNELS, Some(4))?,
            sample_size: settings.integer("sample_size", 1..=65_536, Some(64))?,
            cross_attention_dim: settings.integer("cross_attention_dim", 1..=65_536, Some(1280))?,
            layers_per_block: layers(&mut settings, "layers_per_block", 2)?,
            transformer_layers_per_block: layers(&mut settings, "transformer_layers_per_block", 1)?,
            use_linear_projection: settings.flag("use_linear_projection", false)?,
            norm_eps: settings.number("norm_eps", 0.0..=1.0, 1e-5)? as f32,
            flip_sin_to_cos: settings.flag("flip_sin_to_cos", true)?,
            block_out_channels,
            down_blocks,
            up_blocks,
            attention_heads,
            norm_num_groups,
            freq_shift,
            text_time,
        };
        if config.time_channels() < 16 {
            return Err(settings.refuse("block_out_channels", "the first level needs at least 4 channels"));
        }
        settings.finish()?;
        Ok(config)
    }
}

/// Settings that change the network and of which there is one implementation here, and those that do not touch it.
fn pin_single_implementations(settings: &mut Settings) -> Result<()> {
    settings.pin("act_fn", &[json!("silu"), json!("swish")])?;
    settings.pin("attention_type", &[json!("default")])?;
    settings.pin("center_input_sample", &[json!(false)])?;
    settings.pin("class_embed_type", &[])?;
    settings.pin("class_embeddings_concat", &[json!(false)])?;
    settings.pin("conv_in_kernel", &[json!(3)])?;
    settings.pin("conv_out_kernel", &[json!(3)])?;
    settings.pin("cross_attention_norm", &[])?;
    settings.pin("downsample_padding", &[json!(1)])?;
    settings.pin("dual_cross_attention", &[json!(false)])?;
    settings.pin("encoder_hid_dim", &[])?;
    settings.pin("encoder_hid_dim_type", &[])?;
    settings.pin("mid_block_only_cross_attention", &[json!(false)])?;
    settings.pin("mid_block_scale_factor", &[json!(1)])?;
    settings.pin("num_class_embeds", &[])?;
    settings.pin("only_cross_attention", &[json!(false)])?;
    settings.pin("resnet_out_scale_factor", &[json!(1)])?;
    settings.pin("resnet_skip_time_act", &[json!(false)])?;
    settings.pin("resnet_time_scale_shift", &[json!("default")])?;
    settings.pin("reverse_transformer_layers_per_block", &[])?;
    settings.pin("time_cond_proj_dim", &[])?;
    settings.pin("time_embedding_act_fn", &[])?;
    settings.pin("time_embedding_dim", &[])?;
    settings.pin("time_embedding_type", &[json!("positional")])?;
    settings.pin("timestep_post_act", &[])?;
    // Scores are accumulated in f32 in any case, so `upcast_attention` has nothing to say; dropout is for training; the heads of
    // `addition_embed_type: text` are not ours.
    settings.ignore(&["upcast_attention", "dropout", "addition_embed_type_num_heads"]);

    let mid = settings.word("mid_block_type")?;
    if mid.as_deref() != Some("UNetMidBlock2DCrossAttn") {
        let given = mid.map_or("null or missing".to_owned(), |mid| format!("{mid:?}"));
        return Err(settings.refuse("mid_block_type", format!("{given} is not supported (supported: UNetMidBlock2DCrossAttn)")));
    }
    Ok(())
}

/// The kind of each block; `names` are those of a plain one and of one with attention.
pub(crate) fn block_kinds(settings: &mut Settings, key: &'static str, names: [&str; 2], levels: usize) -> Result<Vec<BlockKind>> {
    let words = settings.words(key)?;
    if words.len() != levels {
        return Err(settings.refuse(key, format!("{} entries, block_out_channels has {levels}", words.len())));
    }
    let [plain, cross_attention] = names;
    words
        .iter()
        .map(|word| match word.as_str() {
            word if word == plain => Ok(BlockKind::Plain),
            word if word == cross_attention => Ok(BlockKind::CrossAttention),
            other => Err(settings.refuse(key, format!("{other:?} is not supported (supported: {plain}, {cross_attention})"))),
        })
        .collect()
}

/// Heads must divide the channels wherever there is attention; the mid block has it always.
pub(crate) fn check_heads(
    settings: &Settings,
    key: &str,
    channels: &[usize],
    heads: &[usize],
    (down, up): (&[BlockKind], &[BlockKind]),
) -> Result<()> {
    let levels = channels.len();
    for (level, (channels, heads)) in channels.iter().zip(heads).enumerate() {
        let attends = [down[level], up[levels - 1 - level]].contains(&BlockKind::CrossAttention) || level + 1 == levels;
        if attends && !channels.is_multiple_of(*heads) {
            return Err(settings.refuse(key, format!("{heads} heads do not divide {channels} channels")));
        }
    }
    Ok(())
}

fn text_time(settings: &mut Settings) -> Result<Option<TextTimeConfig>> {
    settings.pin("addition_embed_type", &[json!("text_time")])?;
    if settings.word("addition_embed_type")?.is_none() {
        settings.ignore(&["addition_time_embed_dim", "projection_class_embeddings_input_dim"]);
        return Ok(None);
    }
    let time_embed_dim = settings.integer("addition_time_embed_dim", 4..=MAX_CHANNELS, None)?;
    let input_dim = settings.integer("projection_class_embeddings_input_dim", 1..=65_536, None)?;
    Ok(Some(TextTimeConfig { time_embed_dim, input_dim }))
}

#[cfg(test)]
#[path = "config_tests.rs"]
pub(super) mod tests;
