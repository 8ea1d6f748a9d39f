//! A loaded model.

use std::path::Path;

use super::conditioning::{PromptCache, PromptKey, TextStack};
use super::generation::{Beginning, Generation, Guidance};
use super::info::ModelInfo;
use super::inpainting::{Inpainting, Mask};
use super::request::ImageRequest;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::latent::Latent;
use crate::noise::Generator;
use crate::ops::{DeviceFacts, Interrupt, Ops};
use crate::pipelines::driver::Evaluator;
use crate::pipelines::machine::{Conditioning, Row};
use crate::pipelines::memory::vae_precision;
use crate::pipelines::model_files;
use crate::pipelines::preview::PreviewFactors;
use crate::samplers::Sampler;
use crate::unet::{UNet, UNetConfig, UNetRow};
use crate::vae::{DecodePlan, Vae, VaeConfig, decode_plan};
use crate::vision::resize::resize_lanczos;
use crate::vision::{Picture, RgbPicture};
use crate::weights::packed::{Identity, Packed};
use crate::weights::{Checkpoint, PackedCache, PackedUse, Variant};

/// The folders that weights are read from, and the stem of their files.
const WEIGHTS: [(&str, &str); 4] = [
    ("text_encoder", "model"),
    ("text_encoder_2", "model"),
    ("unet", "diffusion_pytorch_model"),
    ("vae", "diffusion_pytorch_model"),
];

/// Numbers of SDXL's size conditioning.
const TIME_IDS: usize = 6;

/// A loaded SDXL model.
#[derive(Debug)]
pub struct SdxlModel {
    info: ModelInfo,
    ops: Ops,
    /// The VAE's, which may need more precision than the rest.
    vae_ops: Ops,
    text: TextStack,
    unet: UNet,
    vae: Vae,
    preview: PreviewFactors,
    prompts: PromptCache,
}

/// A decoded picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Values around −1…1, not clamped.
    pub picture: Picture,
    /// Whether memory forced it into tiles, whose colours may differ a little.
    pub tiled: bool,
}

impl SdxlModel {
    /// Loads every component of a directory in the diffusers layout: text encoders, UNet, VAE. `interrupt` is looked at before
    /// every tensor.
    pub fn load(directory: &Path, ops: &Ops, variant: Variant, interrupt: &Interrupt) -> Result<Self> {
        Self::build(directory, ops, variant, None, interrupt)
    }

    /// [`Self::load`] with weights that all processes of the machine share: a file of `cache` is mapped, which is packed first where
    /// there is none. Pictures are the same bit for bit. Where the weights cannot be shared, because the device is not the CPU or
    /// the file cannot be written, the model has weights of its own, and [`PackedUse`] says why.
    ///
    /// Loading marks the file as used. A process that finds another one packing waits for it; `interrupt` ends the wait.
    pub fn load_shared(
        directory: &Path,
        ops: &Ops,
        variant: Variant,
        cache: &PackedCache,
        interrupt: &Interrupt,
    ) -> Result<(Self, PackedUse)> {
        let Some(kernels) = DeviceFacts::of(ops).kernels else {
            let reason = "the weights are in the device's own memory";
            return Ok((Self::load(directory, ops, variant, interrupt)?, PackedUse::owned(reason)));
        };
        let identity = Identity::read(directory, WEIGHTS, variant, kernels, ops.precision())?;
        cache.share(&identity, interrupt, |packed| Self::build(directory, ops, variant, packed, interrupt))
    }

    fn build(directory: &Path, ops: &Ops, variant: Variant, packed: Option<Packed<'_>>, interrupt: &Interrupt) -> Result<Self> {
        let info = ModelInfo::read(directory)?;
        let text = TextStack::load(directory, ops, variant, packed, interrupt)?;

        let (config, checkpoint) = component::<UNetConfig>(directory, "unet", variant)?;
        check_context(&config, &text)?;
        let unet = checkpoint.fill(packed, interrupt, |scope| UNet::load(ops, scope, &config))?;

        let (config, checkpoint) = component::<VaeConfig>(directory, "vae", variant)?;
        let vae_ops = match vae_precision(ops.precision(), config.force_upcast) {
            precision if precision == ops.precision() => ops.clone(),
            precision => ops.with_precision(precision)?,
        };
        let vae = checkpoint.fill(packed, interrupt, |scope| Vae::load(&vae_ops, scope, &config))?;

        let preview = PreviewFactors::read(&directory.join("preview.json"), config.latent_channels, PreviewFactors::sdxl())?;
        Ok(Self { info, ops: ops.clone(), vae_ops, text, unet, vae, preview, prompts: PromptCache::default() })
    }

    /// What is known of it.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Checks the request, encodes the prompts (and the initial picture) and sets up the machine of one picture.
    ///
    /// The seed's generator draws in diffusers' order. Text to picture: the initial latents. Picture to picture: the VAE's posterior
    /// sample, then the noise. With a mask, a third time for the posterior sample of what is kept. After that, whatever the sampler
    /// draws in its steps.
    pub fn begin(&self, request: &ImageRequest, interrupt: &Interrupt) -> Result<Generation> {
        self.info.check(request)?;
        let strength = request.effective_strength();
        let sampler = self.info.scheduler_for(request)?.sampler(request.num_inference_steps, strength)?;

        let key = |text: Option<String>| PromptKey { text, height: request.height, width: request.width };
        let mut keys = vec![key(Some(request.prompt.clone()))];
        if request.is_guided() {
            let zeros = request.negative_prompt.is_none() && self.info.index.force_zeros_for_empty_prompt;
            keys.push(key((!zeros).then(|| request.negative_prompt.clone().unwrap_or_default())));
        }
        let mut prompts = self.text.condition(&keys, &self.prompts, &self.unet, &self.ops, interrupt)?.into_iter();
        let Some(positive) = prompts.next() else {
            return Err(Error::Device("the text encoders gave nothing for the prompt".to_owned()));
        };
        let guidance = Guidance {
            positive: positive.conditioning,
            negative: prompts.next().map(|prompt| prompt.conditioning),
            scale: request.guidance_scale,
            rescale: request.guidance_rescale,
        };

        let mut generator = Generator::new(request.seed);
        let beginning = self.beginning(request, &*sampler, &mut generator, interrupt)?;
        let scaling_factor = self.vae.config().scaling_factor;
        let fingerprint = self.fingerprint(request);
        Ok(Generation::new(sampler, generator, beginning, guidance, scaling_factor, positive.truncated, fingerprint))
    }

    /// What the machine of a checked request begins with.
    fn beginning(
        &self,
        request: &ImageRequest,
        sampler: &dyn Sampler,
        generator: &mut Generator,
        interrupt: &Interrupt,
    ) -> Result<Beginning> {
        let factor = self.vae.factor();
        let (height, width) = (request.height / factor, request.width / factor);
        let mut draw = || generator.latent(1, height, width, self.vae.config().latent_channels);
        let pure = |noise: &Latent| {
            let scale = sampler.initial_noise_scale();
            noise.map(|value| value * scale)
        };
        let encode = |picture: &Picture, noise: &Latent| {
            let scale = self.vae.config().scaling_factor;
            Ok::<_, Error>(self.vae.encode(&self.vae_ops, picture, interrupt)?.sample(noise).map(|value| scale * value))
        };
        let Some(picture) = &request.init_image else { return Ok(Beginning { latents: pure(&draw()), inpainting: None }) };
        let picture = resize_lanczos(picture, request.height, request.width).to_picture();
        let Some(mask) = &request.mask else {
            let clean = encode(&picture, &draw())?;
            return Ok(Beginning { latents: sampler.add_noise(&clean, &draw()), inpainting: None });
        };
        let mask = Mask::new(mask, request.height, request.width);
        let repainted = mask.at_latents(factor);
        // With full strength nothing of the picture is in the latents that the run begins with.
        let is_pure = request.strength >= 1.0;
        if self.info.needs_mask() {
            let clean = if is_pure { None } else { Some(encode(&picture, &draw())?) };
            let noise = draw();
            let latents = clean.map_or_else(|| pure(&noise), |clean| sampler.add_noise(&clean, &noise));
            let hidden = encode(&mask.hidden(picture), &draw())?;
            return Ok(Beginning { latents, inpainting: Some(Inpainting::shown(&repainted, &hidden)) });
        }
        let clean = encode(&picture, &draw())?;
        let noise = draw();
        let latents = if is_pure { pure(&noise) } else { sampler.add_noise(&clean, &noise) };
        // diffusers encodes what is kept here too, and does not use it: the draw alone is left of that.
        draw();
        Ok(Beginning { latents, inpainting: Some(Inpainting::Blended { repainted, clean, noise }) })
    }

    /// Evaluates rows of equal latent size together.
    pub fn evaluate(&self, rows: &[Row], interrupt: &Interrupt) -> Result<Vec<Latent>> {
        let rows: Vec<UNetRow<'_>> = rows
            .iter()
            .map(|row| UNetRow {
                sample: &row.sample,
                timestep: row.timestep,
                context: &row.conditioning.context,
                pooled: &row.conditioning.pooled,
                time_ids: &row.conditioning.time_ids,
                residuals: None,
            })
            .collect();
        self.unet.evaluate(&self.ops, &rows, interrupt)
    }

    /// Decodes unscaled latents, whole.
    pub fn decode(&self, latent: &Latent, interrupt: &Interrupt) -> Result<Picture> {
        Ok(self.decode_within(latent, u64::MAX, interrupt)?.picture)
    }

    /// Decodes unscaled latents whole where that takes no more than `available_bytes`, else in tiles. What earlier work left in the
    /// scratch arena is used first and is not part of `available_bytes`.
    pub fn decode_within(&self, latent: &Latent, available_bytes: u64, interrupt: &Interrupt) -> Result<Decoded> {
        let available_bytes = available_bytes.saturating_add(self.vae_ops.kept_scratch_bytes());
        let facts = DeviceFacts::of(&self.vae_ops);
        let plan = decode_plan(self.vae.config(), (latent.height, latent.width), facts, available_bytes);
        let picture = match plan {
            DecodePlan::Whole => self.vae.decode(&self.vae_ops, latent, interrupt),
            DecodePlan::Tiled => {
                // Pieces of other sizes would stand in the way.
                self.vae_ops.release_scratch();
                self.vae.decode_tiled(&self.vae_ops, latent, interrupt)
            }
        };
        self.vae_ops.settle_scratch();
        Ok(Decoded { picture: picture?, tiled: plan == DecodePlan::Tiled })
    }

    /// A small picture of predicted latents, one pixel per latent position.
    pub fn preview(&self, predicted: &Latent) -> RgbPicture {
        self.preview.picture(predicted)
    }

    /// What a saved generation must agree with to be resumed here: the model's files, the device and its precision, the request.
    fn fingerprint(&self, request: &ImageRequest) -> u64 {
        let mut hash = Fingerprint::default();
        hash.number(self.info.fingerprint);
        hash.bytes(self.ops.description().as_bytes());
        hash.number(request.fingerprint());
        hash.finish()
    }
}

impl Evaluator for SdxlModel {
    type Conditioning = Conditioning;
    type Decoded = Picture;

    fn evaluate(&self, rows: &[Row], interrupt: &Interrupt) -> Result<Vec<Latent>> {
        Self::evaluate(self, rows, interrupt)
    }

    fn decode(&self, latent: &Latent, interrupt: &Interrupt) -> Result<Picture> {
        Self::decode(self, latent, interrupt)
    }
}

fn component<C: serde::de::DeserializeOwned>(directory: &Path, name: &str, variant: Variant) -> Result<(C, Checkpoint)> {
    let directory = directory.join(name);
    let path = directory.join("config.json");
    let config = model_files::parse(&path, &model_files::read(&path)?)?;
    Ok((config, Checkpoint::open(name, &directory, "diffusion_pytorch_model", variant)?))
}

/// Whether the encoders' outputs are what the UNet takes.
fn check_context(unet: &UNetConfig, text: &TextStack) -> Result<()> {
    if unet.cross_attention_dim != text.context_width() {
        let reason =
            format!("cross_attention_dim {} for text encoders of {} together", unet.cross_attention_dim, text.context_width());
        return Err(Error::checkpoint("unet", reason));
    }
    let Some(added) = unet.text_time else {
        return Err(Error::checkpoint("unet", "addition_embed_type is not text_time, as every SDXL network's is"));
    };
    let expected = text.pooled_width() + TIME_IDS * added.time_embed_dim;
    if added.input_dim != expected {
        let reason = format!("projection_class_embeddings_input_dim {} where the inputs make {expected}", added.input_dim);
        return Err(Error::checkpoint("unet", reason));
    }
    Ok(())
}
