//! What can be known of a model without loading it.

use std::ops::RangeInclusive;
use std::path::Path;

use super::files::{self, Defaults, ModelIndex};
use super::memory::{self, Demand, Layout};
use super::request::ImageRequest;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::ops::{DeviceFacts, Ops};
use crate::pipelines::memory::{MemoryEstimate, Weights};
use crate::pipelines::model_files;
use crate::samplers::SchedulerConfig;
use crate::unet::UNetConfig;
use crate::vae::VaeConfig;
use crate::weights::{Checkpoint, Variant};

/// SDXL's usual settings.
const DEFAULT_STEPS: usize = 30;
const DEFAULT_GUIDANCE_SCALE: f32 = 5.0;
/// Sides in latent positions: below 4 the network's smallest level has nothing left; 256 are 2048 pixels of SDXL.
const LATENT_SIDES: RangeInclusive<usize> = 4..=256;
/// Characters of a prompt. The model reads 77 tokens; what is longer than this is a mistake or an attack.
const MOST_PROMPT_CHARACTERS: usize = 10_000;
const GUIDANCE_SCALES: RangeInclusive<f32> = 0.0..=100.0;
/// Pixels on a side of an initial picture, or of a mask.
const MOST_INIT_IMAGE_SIDE: usize = 16_384;

/// What can be known of a model directory without loading weights: configuration, limits, defaults.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// Default width and height in pixels.
    pub default_size: (usize, usize),
    /// Sides must be multiples of this.
    pub size_multiple: usize,
    /// Default number of steps.
    pub default_steps: usize,
    /// Default guidance.
    pub default_guidance_scale: f32,
    /// Bytes of all weight files.
    pub weight_file_bytes: u64,
    /// Parameters in all.
    pub parameters: u64,
    pub(super) index: ModelIndex,
    pub(super) scheduler: SchedulerConfig,
    pub(super) layout: Layout,
    pub(super) fingerprint: u64,
}

impl ModelInfo {
    /// Reads the JSON files and safetensors headers of a directory in the diffusers layout. An optional `framewright.json`
    /// (`{"default_steps": 20, "default_guidance_scale": 3.0}`) replaces SDXL's defaults.
    pub fn read(directory: &Path) -> Result<Self> {
        let mut fingerprint = Fingerprint::default();
        let mut text_of = |name: &str| {
            let path = directory.join(name);
            let text = model_files::read(&path)?;
            fingerprint.bytes(text.as_bytes());
            Ok::<_, Error>((path, text))
        };
        let (path, text) = text_of("model_index.json")?;
        let index = files::model_index(&text, &path)?;
        let (_, text) = text_of("scheduler/scheduler_config.json")?;
        let scheduler = SchedulerConfig::from_json(&text)?;
        let (path, text) = text_of("unet/config.json")?;
        let unet: UNetConfig = model_files::parse(&path, &text)?;
        let (path, text) = text_of("vae/config.json")?;
        let vae: VaeConfig = model_files::parse(&path, &text)?;
        text_of("text_encoder/config.json")?;
        text_of("text_encoder_2/config.json")?;
        check_channels(&unet, &vae)?;

        let mut weight_file_bytes = 0;
        let mut count = |component: &str, stem: &str, weights: &mut Weights| {
            let checkpoint = Checkpoint::open(component, &directory.join(component), stem, Variant::Plain)?;
            for (path, length_bytes) in checkpoint.files() {
                weight_file_bytes += length_bytes;
                fingerprint.bytes(path.file_name().unwrap_or_default().as_encoded_bytes());
                fingerprint.number(length_bytes);
            }
            for (name, shape) in checkpoint.tensors() {
                weights.add(name, shape);
            }
            Ok::<_, Error>(checkpoint.parameters())
        };
        let (mut networks, mut autoencoder) = (Weights::default(), Weights::default());
        let parameters = count("text_encoder", "model", &mut networks)?
            + count("text_encoder_2", "model", &mut networks)?
            + count("unet", "diffusion_pytorch_model", &mut networks)?
            + count("vae", "diffusion_pytorch_model", &mut autoencoder)?;

        let factor = vae.factor();
        let defaults = defaults(&directory.join("framewright.json"))?;
        let side = unet.sample_size.clamp(*LATENT_SIDES.start(), *LATENT_SIDES.end()) * factor;
        Ok(Self {
            default_size: (side, side),
            size_multiple: factor,
            default_steps: defaults.default_steps.unwrap_or(DEFAULT_STEPS).min(scheduler.most_steps()),
            default_guidance_scale: defaults.default_guidance_scale.unwrap_or(DEFAULT_GUIDANCE_SCALE),
            weight_file_bytes,
            parameters,
            index,
            scheduler,
            layout: Layout { networks, autoencoder, unet, vae },
            fingerprint: fingerprint.finish(),
        })
    }

    /// The sides in pixels that [`Self::check`] takes, both included; of these, multiples of [`Self::size_multiple`].
    pub fn side_range(&self) -> RangeInclusive<usize> {
        LATENT_SIDES.start() * self.size_multiple..=LATENT_SIDES.end() * self.size_multiple
    }

    /// Channels of the UNet's input: the latents', or those and what a network for inpainting is shown besides.
    pub fn input_channels(&self) -> usize {
        self.layout.unet.in_channels
    }

    /// Whether it is a network for inpainting, which makes no picture without a mask.
    pub fn needs_mask(&self) -> bool {
        self.input_channels() != self.layout.vae.latent_channels
    }

    /// The checkpoint's scheduler configuration.
    pub fn scheduler(&self) -> &SchedulerConfig {
        &self.scheduler
    }

    /// Checks a request against this model; the error names the field and the allowed range.
    pub fn check(&self, request: &ImageRequest) -> Result<()> {
        check_prompt("prompt", &request.prompt)?;
        check_prompt("negative_prompt", request.negative_prompt.as_deref().unwrap_or_default())?;
        self.check_side("width", request.width)?;
        self.check_side("height", request.height)?;
        check_number("guidance_scale", request.guidance_scale, &GUIDANCE_SCALES)?;
        check_number("guidance_rescale", request.guidance_rescale, &(0.0..=1.0))?;
        if let Some(picture) = &request.init_image {
            check_picture("init_image", picture.is_whole(), (picture.width, picture.height))?;
        }
        if let Some(mask) = &request.mask {
            check_picture("mask", mask.is_whole(), (mask.width, mask.height))?;
        }
        match (&request.init_image, &request.mask) {
            (None, Some(_)) => return Err(Error::request("mask", "needs init_image, the picture of which a part is repainted")),
            (_, None) if self.needs_mask() => {
                let reason = format!(
                    "is missing: this model ({} input channels) repaints a part of a picture; give init_image and mask, \
                     which is white where to repaint, or name another model",
                    self.input_channels()
                );
                return Err(Error::request("mask", reason));
            }
            _ => {}
        }
        self.scheduler_for(request)?.sampler(request.num_inference_steps, request.effective_strength())?;
        Ok(())
    }

    /// Predicted memory of a request that [`Self::check`] takes, on the device of `ops`.
    pub fn memory_estimate(&self, request: &ImageRequest, ops: &Ops) -> MemoryEstimate {
        self.memory_estimate_on(request, DeviceFacts::of(ops))
    }

    /// [`Self::memory_estimate`] for a device that need not be here.
    pub fn memory_estimate_on(&self, request: &ImageRequest, facts: DeviceFacts) -> MemoryEstimate {
        let demand = Demand {
            latent: (request.height / self.size_multiple, request.width / self.size_multiple),
            guided: request.is_guided(),
            encodes: request.init_image.is_some(),
        };
        memory::estimate(&self.layout, demand, facts)
    }

    /// Predicted memory of one evaluation of `rows` rows of a picture of `width × height` pixels, bytes, weights not included: what
    /// bounds how many pictures share an evaluation.
    pub fn evaluation_bytes(&self, width: usize, height: usize, rows: usize, ops: &Ops) -> u64 {
        let latent = (height / self.size_multiple, width / self.size_multiple);
        memory::evaluation_bytes(&self.layout, latent, rows, DeviceFacts::of(ops))
    }

    /// The scheduler configuration with the request's sampler.
    pub(super) fn scheduler_for(&self, request: &ImageRequest) -> Result<SchedulerConfig> {
        match &request.sampler {
            Some(name) => self.scheduler.with_sampler(name),
            None => Ok(self.scheduler.clone()),
        }
    }

    fn check_side(&self, field: &'static str, side: usize) -> Result<()> {
        let (range, multiple) = (self.side_range(), self.size_multiple);
        if range.contains(&side) && side.is_multiple_of(multiple) {
            return Ok(());
        }
        let reason = format!("{side} is not a multiple of {multiple} from {} to {}", range.start(), range.end());
        Err(Error::request(field, reason))
    }
}

fn check_prompt(field: &'static str, prompt: &str) -> Result<()> {
    let characters = prompt.chars().count();
    if characters > MOST_PROMPT_CHARACTERS {
        return Err(Error::request(field, format!("{characters} characters; at most {MOST_PROMPT_CHARACTERS} are allowed")));
    }
    Ok(())
}

fn check_number(field: &'static str, value: f32, range: &RangeInclusive<f32>) -> Result<()> {
    // Not a number is in no range.
    if !range.contains(&value) {
        return Err(Error::request(field, format!("{value} is outside {} to {}", range.start(), range.end())));
    }
    Ok(())
}

fn check_picture(field: &'static str, is_whole: bool, (width, height): (usize, usize)) -> Result<()> {
    let sides = 1..=MOST_INIT_IMAGE_SIDE;
    if is_whole && sides.contains(&width) && sides.contains(&height) {
        return Ok(());
    }
    Err(Error::request(field, format!("its sides must be 1 to {MOST_INIT_IMAGE_SIDE} pixels")))
}

/// Beside the latents a network for inpainting takes the mask and the latents of what is kept.
fn check_channels(unet: &UNetConfig, vae: &VaeConfig) -> Result<()> {
    if vae.in_channels != 3 || vae.out_channels != 3 {
        let reason = format!("in_channels {}, out_channels {}: only RGB is supported", vae.in_channels, vae.out_channels);
        return Err(Error::checkpoint("vae", reason));
    }
    let latents = vae.latent_channels;
    if ![latents, 2 * latents + 1].contains(&unet.in_channels) || unet.out_channels != latents {
        let reason = format!(
            "in_channels {} and out_channels {} do not fit the VAE's {} latent channels",
            unet.in_channels, unet.out_channels, vae.latent_channels
        );
        return Err(Error::checkpoint("unet", reason));
    }
    Ok(())
}

fn defaults(path: &Path) -> Result<Defaults> {
    let Some(text) = model_files::read_optional(path)? else { return Ok(Defaults::default()) };
    let defaults: Defaults = model_files::parse(path, &text)?;
    let proper_steps = defaults.default_steps.is_none_or(|steps| (1..=1000).contains(&steps));
    if !proper_steps || defaults.default_guidance_scale.is_some_and(|scale| !GUIDANCE_SCALES.contains(&scale)) {
        let reason = "default_steps must be 1 to 1000, default_guidance_scale 0 to 100".to_owned();
        return Err(Error::Malformed { path: path.to_owned(), reason });
    }
    Ok(defaults)
}
