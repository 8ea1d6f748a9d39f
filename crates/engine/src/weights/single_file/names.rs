//! Where each name of a single file belongs.

use super::{autoencoder, image_encoder, unet};

/// A network of Stable Video Diffusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SvdComponent {
    /// The network that is evaluated.
    UNet,
    /// The autoencoder.
    Vae,
    /// The encoder of the picture.
    ImageEncoder,
}

impl SvdComponent {
    /// The name of its folder in the layout of diffusers: `unet`, `vae`, `image_encoder`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UNet => "unet",
            Self::Vae => "vae",
            Self::ImageEncoder => "image_encoder",
        }
    }
}

/// In which form a tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is used.
    Whole,
    /// Queries (0), keys (1) or values (2) of all three together.
    Third(usize),
    /// Inputs before outputs.
    Transposed,
}

/// A tensor of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) component: SvdComponent,
    /// diffusers' name.
    pub(super) name: String,
    pub(super) form: Form,
}

/// What becomes of a stored tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stands for these.
    Places(Vec<Place>),
    /// Nobody needs it.
    Leftover,
    /// It is of no network that is known here.
    Unknown,
}

/// What places depend on besides names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Resnets of each level on the way down.
    pub(super) layers: usize,
    /// Levels of the autoencoder.
    pub(super) vae_levels: usize,
}

const UNET: &str = "model.diffusion_model.";
/// The encoder that makes the latents which condition a clip: its own copy, with the last convolution that the other one lacks.
const ENCODER: &str = "conditioner.embedders.3.encoder.encoder.";
const QUANT_CONV: &str = "conditioner.embedders.3.encoder.quant_conv.";
const DECODER: &str = "first_stage_model.decoder.";
const IMAGE_ENCODER: &str = "conditioner.embedders.0.open_clip.model.visual.";

/// Beginnings of names that published files hold and no network takes, and why they are harmless.
const LEFTOVERS: [(&str, &str); 10] = [
    ("first_stage_model.encoder.", "a second encoder, which conditions nothing and lacks its last convolution"),
    ("conditioner.embedders.3.encoder.decoder.", "the decoder of the first one, for pictures alone"),
    ("conditioner.embedders.3.encoder.post_quant_conv.", "the same"),
    ("conditioner.embedders.0.open_clip.model.token_embedding.", "CLIP's other half, for text"),
    ("conditioner.embedders.0.open_clip.model.positional_embedding", "the same"),
    ("conditioner.embedders.0.open_clip.model.transformer.", "the same"),
    ("conditioner.embedders.0.open_clip.model.ln_final.", "the same"),
    ("conditioner.embedders.0.open_clip.model.text_projection", "the same"),
    ("conditioner.embedders.0.open_clip.model.logit_scale", "CLIP's training temperature"),
    ("model_ema.", "averages of the weights and how many there were"),
];

impl Layout {
    /// What the names say; `None` when they are not those of this model.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Option<Self> {
        let (mut over_frames, mut halving, mut last_input, mut last_up) = (false, None, 0, None);
        for name in names {
            if let Some(rest) = name.strip_prefix(UNET) {
                over_frames |= rest.contains(".time_stack.");
                if let Some((number, rest)) = rest.strip_prefix("input_blocks.").and_then(numbered) {
                    last_input = last_input.max(number);
                    if rest.starts_with("0.op.") {
                        halving = Some(halving.map_or(number, |first: usize| first.min(number)));
                    }
                }
            } else if let Some((number, _)) =
                name.strip_prefix(DECODER).and_then(|rest| rest.strip_prefix("up.")).and_then(numbered)
            {
                last_up = Some(last_up.map_or(number, |last: usize| last.max(number)));
            }
        }
        // Block 0 is the first convolution; a level's resnets are followed by the convolution that halves.
        let layers = halving.map_or(last_input, |first| first.saturating_sub(1));
        (over_frames && layers > 0).then_some(Self { layers, vae_levels: last_up? + 1 })
    }
}

/// Where the tensor called `name` belongs.
pub(super) fn fate(name: &str, layout: Layout) -> Fate {
    let place = |component: SvdComponent, name: Option<String>| match name {
        Some(name) => Fate::Places(vec![Place { component, name, form: Form::Whole }]),
        None => Fate::Unknown,
    };
    if let Some(rest) = name.strip_prefix(UNET) {
        place(SvdComponent::UNet, unet::name(rest, layout.layers))
    } else if let Some(rest) = name.strip_prefix(ENCODER) {
        place(SvdComponent::Vae, autoencoder::encoder_name(rest))
    } else if let Some(rest) = name.strip_prefix(QUANT_CONV) {
        place(SvdComponent::Vae, is_parameter(rest).then(|| format!("quant_conv.{rest}")))
    } else if let Some(rest) = name.strip_prefix(DECODER) {
        place(SvdComponent::Vae, autoencoder::decoder_name(rest, layout.vae_levels))
    } else if let Some(rest) = name.strip_prefix(IMAGE_ENCODER) {
        let places = image_encoder::places(rest);
        if places.is_empty() { Fate::Unknown } else { Fate::Places(places) }
    } else if LEFTOVERS.iter().any(|(beginning, _)| name.starts_with(beginning)) {
        Fate::Leftover
    } else {
        Fate::Unknown
    }
}

/// `3.rest` as 3 and `rest`.
pub(super) fn numbered(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// Whether a name is that of a layer's own tensor.
pub(super) fn is_parameter(name: &str) -> bool {
    matches!(name, "weight" | "bias")
}

/// `name` with its beginning replaced, where it begins with one of the `pairs`' first and ends with a layer's own tensor.
pub(super) fn renamed(name: &str, pairs: &[(&str, &str)]) -> Option<String> {
    let (layer, parameter) = name.rsplit_once('.')?;
    let (_, renamed) = pairs.iter().find(|(stored, _)| *stored == layer)?;
    is_parameter(parameter).then(|| format!("{renamed}.{parameter}"))
}
