//! A loaded model.

use std::path::Path;
use std::sync::Arc;

use super::files::{COMPONENTS, ModelFiles, stem};
use super::generation::{Branch, ClipConditioning, Decoding, Generation, Guidance};
use super::guidance::scales;
use super::info::VideoModelInfo;
use super::request::VideoRequest;
use crate::error::Result;
use crate::fingerprint::Fingerprint;
use crate::latent::Latent;
use crate::noise::Generator;
use crate::ops::{DeviceFacts, Interrupt, Ops};
use crate::pipelines::driver::Evaluator;
use crate::pipelines::machine::Row;
use crate::pipelines::memory::vae_precision;
use crate::pipelines::preview::PreviewFactors;
use crate::svd::{SvdRow, SvdUNet, TemporalVae};
use crate::vision::resize::resize_lanczos;
use crate::vision::{ImageEncoder, Picture, RgbPicture};
use crate::weights::packed::{Identity, Packed};
use crate::weights::{PackedCache, PackedUse, SvdComponent, Variant};

/// A loaded SVD model.
#[derive(Debug)]
pub struct SvdModel {
    info: VideoModelInfo,
    ops: Ops,
    /// The VAE's, which may need more precision than the rest.
    vae_ops: Ops,
    image_encoder: ImageEncoder,
    unet: SvdUNet,
    vae: TemporalVae,
    preview: PreviewFactors,
}

impl SvdModel {
    /// Loads every component of a directory in the diffusers layout, or of one file: image encoder, UNet, VAE. `interrupt` is looked at
    /// before every tensor. A file is of no variant.
    pub fn load(model: &Path, ops: &Ops, variant: Variant, interrupt: &Interrupt) -> Result<Self> {
        Self::build(model, ops, variant, None, interrupt)
    }

    /// [`Self::load`] with weights that all processes of the machine share, as [`crate::pipelines::sdxl::SdxlModel::load_shared`] has
    /// them: a file of `cache` is mapped, which is packed first where there is none. Clips are the same bit for bit.
    pub fn load_shared(
        model: &Path,
        ops: &Ops,
        variant: Variant,
        cache: &PackedCache,
        interrupt: &Interrupt,
    ) -> Result<(Self, PackedUse)> {
        let Some(kernels) = DeviceFacts::of(ops).kernels else {
            let reason = "the weights are in the device's own memory";
            return Ok((Self::load(model, ops, variant, interrupt)?, PackedUse::owned(reason)));
        };
        let components = COMPONENTS.map(|component| (component.name(), stem(component)));
        let identity = Identity::read(model, components, variant, kernels, ops.precision())?;
        cache.share(&identity, interrupt, |packed| Self::build(model, ops, variant, packed, interrupt))
    }

    fn build(model: &Path, ops: &Ops, variant: Variant, packed: Option<Packed<'_>>, interrupt: &Interrupt) -> Result<Self> {
        let info = VideoModelInfo::read(model)?;
        let files = ModelFiles::open(model)?;
        let (unet_config, vae_config) = (&info.layout.unet, &info.layout.vae);

        let image_encoder = files
            .checkpoint(SvdComponent::ImageEncoder, variant)?
            .fill(packed, interrupt, |scope| ImageEncoder::load(ops, scope, &info.image_encoder))?;
        let unet = files
            .checkpoint(SvdComponent::UNet, variant)?
            .fill(packed, interrupt, |scope| SvdUNet::load(ops, scope, unet_config))?;
        let vae_ops = match vae_precision(ops.precision(), vae_config.force_upcast) {
            precision if precision == ops.precision() => ops.clone(),
            precision => ops.with_precision(precision)?,
        };
        let vae = files
            .checkpoint(SvdComponent::Vae, variant)?
            .fill(packed, interrupt, |scope| TemporalVae::load(&vae_ops, scope, vae_config))?;

        let preview = match files.optional("preview.json") {
            Some(path) => PreviewFactors::read(&path, vae_config.latent_channels, PreviewFactors::stable_diffusion())?,
            None => PreviewFactors::stable_diffusion(),
        };
        Ok(Self { info, ops: ops.clone(), vae_ops, image_encoder, unet, vae, preview })
    }

    /// What is known of it.
    pub fn info(&self) -> &VideoModelInfo {
        &self.info
    }

    /// Checks the request, encodes the initial picture and sets up the machine of one clip.
    ///
    /// The seed's generator draws in diffusers' order: the noise on the initial picture, then the initial latents, then whatever the
    /// sampler draws in its steps.
    pub fn begin(&self, request: &VideoRequest, interrupt: &Interrupt) -> Result<Generation> {
        self.info.check(request)?;
        // Whatever came before is done; between the chunks of one clip nothing is.
        self.vae_ops.settle_scratch();
        let sampler = self.info.scheduler.sampler(request.num_inference_steps, None)?;
        let embedding = self.image_encoder.embed(&self.ops, &request.init_image, &self.info.normalisation, interrupt)?;

        let mut generator = Generator::new(request.seed);
        let image_latents = self.image_latents(request, &mut generator, interrupt)?;
        let (height, width) = self.info.latent_size(request);
        let scale = sampler.initial_noise_scale();
        let latents = generator.latent(request.num_frames, height, width, image_latents.channels).map(|value| value * scale);

        // The model was trained on one less than the frames a second.
        let added_ids = [(request.fps - 1) as f32, request.motion_bucket_id as f32, request.noise_aug_strength];
        let branch = |embedding: &[f32], image_latents: Latent| {
            let context = self.unet.context(&self.ops, embedding, interrupt)?;
            Ok::<_, crate::Error>(Branch { conditioning: Arc::new(ClipConditioning { context, added_ids }), image_latents })
        };
        let negative =
            if request.is_guided() { Some(branch(&vec![0.0; embedding.len()], image_latents.map(|_| 0.0))?) } else { None };
        let guidance = Guidance {
            positive: branch(&embedding, image_latents)?,
            negative,
            scales: scales(request.min_guidance_scale, request.max_guidance_scale, request.num_frames),
        };
        let decoding = Decoding { chunk_frames: request.chunk_frames(), scaling_factor: self.vae.config().scaling_factor };
        Ok(Generation::new(sampler, generator, latents, guidance, decoding, self.fingerprint(request)))
    }

    /// The mode of the VAE's posterior of the initial picture with noise on it, unscaled.
    fn image_latents(&self, request: &VideoRequest, generator: &mut Generator, interrupt: &Interrupt) -> Result<Latent> {
        let (height, width) = (request.height, request.width);
        let mut picture = resize_lanczos(&request.init_image, height, width).to_picture();
        let noise = generator.latent(1, height, width, picture.channels);
        for (value, noise) in picture.values.iter_mut().zip(&noise.values) {
            *value += request.noise_aug_strength * noise;
        }
        Ok(self.vae.encode(&self.vae_ops, &picture, interrupt)?.mean)
    }

    /// Evaluates rows of equal size and length together.
    pub fn evaluate(&self, rows: &[Row<ClipConditioning>], interrupt: &Interrupt) -> Result<Vec<Latent>> {
        let rows: Vec<SvdRow<'_>> = rows
            .iter()
            .map(|row| SvdRow {
                sample: &row.sample,
                timestep: row.timestep,
                context: &row.conditioning.context,
                added_ids: row.conditioning.added_ids,
            })
            .collect();
        self.unet.evaluate(&self.ops, &rows, interrupt)
    }

    /// Decodes unscaled latents of some frames together; as many pictures, with values around −1…1, not clamped.
    pub fn decode(&self, latents: &Latent, interrupt: &Interrupt) -> Result<Vec<Picture>> {
        self.vae.decode(&self.vae_ops, latents, interrupt)
    }

    /// A small picture of predicted latents, one pixel per latent position: of the frame in the middle, which shows both how the clip
    /// looks and how far it moves.
    pub fn preview(&self, predicted: &Latent) -> RgbPicture {
        let middle = predicted.frames / 2;
        self.preview.picture(&predicted.frame_range(middle..middle + 1))
    }

    /// What a saved generation must agree with to be resumed here: the model's files, the device and its precision, the request.
    fn fingerprint(&self, request: &VideoRequest) -> u64 {
        let mut hash = Fingerprint::default();
        hash.number(self.info.fingerprint);
        hash.bytes(self.ops.description().as_bytes());
        hash.number(request.fingerprint());
        hash.finish()
    }
}

impl Evaluator for SvdModel {
    type Conditioning = ClipConditioning;
    type Decoded = Vec<Picture>;

    fn evaluate(&self, rows: &[Row<ClipConditioning>], interrupt: &Interrupt) -> Result<Vec<Latent>> {
        Self::evaluate(self, rows, interrupt)
    }

    fn decode(&self, latents: &Latent, interrupt: &Interrupt) -> Result<Vec<Picture>> {
        Self::decode(self, latents, interrupt)
    }
}
