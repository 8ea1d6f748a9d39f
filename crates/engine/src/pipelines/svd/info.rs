//! What can be known of a model without loading it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use super::files::{COMPONENTS, Configuration, Defaults, ModelFiles};
use super::memory::{self, Demand, Layout};
use super::request::VideoRequest;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::ops::{DeviceFacts, Ops};
use crate::pipelines::memory::{MemoryEstimate, Weights};
use crate::samplers::SchedulerConfig;
use crate::svd::{SvdUNetConfig, TemporalVaeConfig};
use crate::vision::{ImageEncoderConfig, Normalisation, RgbPicture};
use crate::weights::{SvdComponent, Variant};

/// diffusers' defaults.
const DEFAULT_STEPS: usize = 25;
const DEFAULT_FPS: usize = 7;
const DEFAULT_MOTION_BUCKET_ID: usize = 127;
const DEFAULT_GUIDANCE_SCALES: (f32, f32) = (1.0, 3.0);
const DEFAULT_NOISE_AUG_STRENGTH: f32 = 0.02;
/// Frames that a decode takes together unless asked otherwise: more look no steadier, and 14 are what one published model makes at all.
const DEFAULT_DECODE_CHUNK_SIZE: usize = 14;
/// Sides in latent positions: below 4 the network's smallest level has nothing left; 256 are 2048 pixels of SVD.
const LATENT_SIDES: RangeInclusive<usize> = 4..=256;
/// Five times what the published models were trained on.
const FRAMES: RangeInclusive<usize> = 1..=128;
const FRAMES_PER_SECOND: RangeInclusive<usize> = 1..=120;
/// The models were trained on 0 to 255.
const MOTION_BUCKETS: RangeInclusive<usize> = 0..=1023;
const GUIDANCE_SCALES: RangeInclusive<f32> = 0.0..=100.0;
const NOISE_AUG_STRENGTHS: RangeInclusive<f32> = 0.0..=10.0;
/// Pixels on a side of the initial picture.
const MOST_INIT_IMAGE_SIDE: usize = 16_384;
/// What SVD was trained at, which is not the square that its configuration says. Width and height in pixels.
const PUBLISHED_SIZE: (usize, usize) = (1024, 576);

/// What can be known of a model without loading weights: configuration, limits, defaults.
#[derive(Clone, Debug)]
pub struct VideoModelInfo {
    /// Default width and height in pixels.
    pub default_size: (usize, usize),
    /// Sides must be multiples of this.
    pub size_multiple: usize,
    /// Frames that the model was trained to make.
    pub default_num_frames: usize,
    /// Default number of steps.
    pub default_steps: usize,
    /// Default frames a second.
    pub default_fps: usize,
    /// Default motion bucket.
    pub default_motion_bucket_id: usize,
    /// Default guidance of the first frame.
    pub default_min_guidance_scale: f32,
    /// Default guidance of the last frame.
    pub default_max_guidance_scale: f32,
    /// Default strength of the noise on the initial picture.
    pub default_noise_aug_strength: f32,
    /// Bytes of all weight files.
    pub weight_file_bytes: u64,
    /// Parameters in all.
    pub parameters: u64,
    pub(super) scheduler: SchedulerConfig,
    pub(super) image_encoder: ImageEncoderConfig,
    pub(super) normalisation: Normalisation,
    pub(super) layout: Layout,
    pub(super) fingerprint: u64,
}

impl VideoModelInfo {
    /// Reads the JSON files and safetensors headers of a directory in the diffusers layout, or the header of one file
    /// (`svd_xt.safetensors`), whose configuration follows from its shapes. A directory's `framewright.json`
    /// (`{"default_steps": 20, "default_fps": 8, "default_motion_bucket_id": 60, "default_min_guidance_scale": 1.0,
    /// "default_max_guidance_scale": 2.5}`, all of it optional) replaces diffusers' defaults.
    pub fn read(model: &Path) -> Result<Self> {
        let files = ModelFiles::open(model)?;
        let Configuration { scheduler, unet, vae, image_encoder, normalisation, defaults, fingerprint: texts } =
            files.configuration()?;
        check_fit(&unet, &vae, &image_encoder)?;
        check_defaults(&defaults, &files.optional("framewright.json").unwrap_or_default())?;

        let mut fingerprint = Fingerprint::default();
        fingerprint.number(texts);
        let (mut networks, mut autoencoder) = (Weights::default(), Weights::default());
        let mut parameters = 0;
        // One file may hold several components.
        let mut weight_files = BTreeMap::new();
        for component in COMPONENTS {
            let checkpoint = files.checkpoint(component, Variant::Plain)?;
            for (path, length_bytes) in checkpoint.files() {
                fingerprint.bytes(path.file_name().unwrap_or_default().as_encoded_bytes());
                fingerprint.number(length_bytes);
                weight_files.insert(path, length_bytes);
            }
            let weights = if component == SvdComponent::Vae { &mut autoencoder } else { &mut networks };
            for (name, shape) in checkpoint.tensors() {
                weights.add(name, shape);
            }
            parameters += checkpoint.parameters();
        }
        Ok(Self {
            default_size: default_size(&unet, &vae),
            size_multiple: vae.factor(),
            default_num_frames: unet.num_frames.clamp(*FRAMES.start(), *FRAMES.end()),
            default_steps: defaults.steps.unwrap_or(DEFAULT_STEPS).min(scheduler.most_steps()),
            default_fps: defaults.fps.unwrap_or(DEFAULT_FPS),
            default_motion_bucket_id: defaults.motion_bucket_id.unwrap_or(DEFAULT_MOTION_BUCKET_ID),
            default_min_guidance_scale: defaults.min_guidance_scale.unwrap_or(DEFAULT_GUIDANCE_SCALES.0),
            default_max_guidance_scale: defaults.max_guidance_scale.unwrap_or(DEFAULT_GUIDANCE_SCALES.1),
            default_noise_aug_strength: DEFAULT_NOISE_AUG_STRENGTH,
            weight_file_bytes: weight_files.values().sum(),
            parameters,
            scheduler,
            image_encoder,
            normalisation,
            layout: Layout { networks, autoencoder, unet, vae },
            fingerprint: fingerprint.finish(),
        })
    }

    /// The sides in pixels that [`Self::check`] takes, both included; of these, multiples of [`Self::size_multiple`].
    pub fn side_range(&self) -> RangeInclusive<usize> {
        LATENT_SIDES.start() * self.size_multiple..=LATENT_SIDES.end() * self.size_multiple
    }

    /// The numbers of frames that [`Self::check`] takes.
    pub fn frame_range(&self) -> RangeInclusive<usize> {
        FRAMES
    }

    /// The checkpoint's scheduler configuration.
    pub fn scheduler(&self) -> &SchedulerConfig {
        &self.scheduler
    }

    /// A request with the model's defaults.
    pub fn request(&self, init_image: Arc<RgbPicture>, seed: u64) -> VideoRequest {
        VideoRequest {
            init_image,
            width: self.default_size.0,
            height: self.default_size.1,
            num_frames: self.default_num_frames,
            num_inference_steps: self.default_steps,
            min_guidance_scale: self.default_min_guidance_scale,
            max_guidance_scale: self.default_max_guidance_scale,
            fps: self.default_fps,
            motion_bucket_id: self.default_motion_bucket_id,
            noise_aug_strength: self.default_noise_aug_strength,
            decode_chunk_size: self.default_num_frames.min(DEFAULT_DECODE_CHUNK_SIZE),
            seed,
        }
    }

    /// Checks a request against this model; the error names the field and the allowed range.
    pub fn check(&self, request: &VideoRequest) -> Result<()> {
        let picture = &request.init_image;
        let sides = 1..=MOST_INIT_IMAGE_SIDE;
        if !picture.is_whole() || !sides.contains(&picture.width) || !sides.contains(&picture.height) {
            return Err(Error::request("init_image", format!("its sides must be 1 to {MOST_INIT_IMAGE_SIDE} pixels")));
        }
        self.check_side("width", request.width)?;
        self.check_side("height", request.height)?;
        check_within("num_frames", request.num_frames, &FRAMES)?;
        check_within("min_guidance_scale", request.min_guidance_scale, &GUIDANCE_SCALES)?;
        check_within("max_guidance_scale", request.max_guidance_scale, &GUIDANCE_SCALES)?;
        if request.min_guidance_scale > 1.0 && !request.is_guided() {
            let reason = format!(
                "{} has no effect with a max_guidance_scale of {}, which turns guidance off; raise that above 1",
                request.min_guidance_scale, request.max_guidance_scale
            );
            return Err(Error::request("min_guidance_scale", reason));
        }
        check_within("fps", request.fps, &FRAMES_PER_SECOND)?;
        check_within("motion_bucket_id", request.motion_bucket_id, &MOTION_BUCKETS)?;
        check_within("noise_aug_strength", request.noise_aug_strength, &NOISE_AUG_STRENGTHS)?;
        if request.decode_chunk_size == 0 {
            return Err(Error::request("decode_chunk_size", "0 is below 1"));
        }
        self.scheduler.sampler(request.num_inference_steps, None)?;
        Ok(())
    }

    /// Predicted memory of a request that [`Self::check`] takes, on the device of `ops`.
    pub fn memory_estimate(&self, request: &VideoRequest, ops: &Ops) -> MemoryEstimate {
        self.memory_estimate_on(request, DeviceFacts::of(ops))
    }

    /// [`Self::memory_estimate`] for a device that need not be here.
    pub fn memory_estimate_on(&self, request: &VideoRequest, facts: DeviceFacts) -> MemoryEstimate {
        let demand = Demand {
            latent: self.latent_size(request),
            frames: request.num_frames,
            chunk_frames: request.chunk_frames(),
            guided: request.is_guided(),
            init_pixels: request.init_image.width as u64 * request.init_image.height as u64,
        };
        memory::estimate(&self.layout, demand, facts)
    }

    /// Predicted memory of one evaluation of `rows` rows of clips of the request's size and length, bytes, weights not included: what
    /// bounds how many rows share an evaluation.
    pub fn evaluation_bytes(&self, request: &VideoRequest, rows: usize, ops: &Ops) -> u64 {
        memory::evaluation_bytes(&self.layout, self.latent_size(request), request.num_frames, rows, DeviceFacts::of(ops))
    }

    /// Height and width in latent positions.
    pub(super) fn latent_size(&self, request: &VideoRequest) -> (usize, usize) {
        (request.height / self.size_multiple, request.width / self.size_multiple)
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

fn check_within<T: Copy + PartialOrd + Display>(field: &'static str, value: T, range: &RangeInclusive<T>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::request(field, format!("{value} is outside {} to {}", range.start(), range.end())))
}

/// SVD's published size for its published shape, else a square of the side that the model was trained at.
fn default_size(unet: &SvdUNetConfig, vae: &TemporalVaeConfig) -> (usize, usize) {
    if unet.sample_size == 96 && unet.block_out_channels == [320, 640, 1280, 1280] && vae.factor() == 8 {
        return PUBLISHED_SIZE;
    }
    let side = unet.sample_size.clamp(*LATENT_SIDES.start(), *LATENT_SIDES.end()) * vae.factor();
    (side, side)
}

/// Whether the networks' channels fit together.
fn check_fit(unet: &SvdUNetConfig, vae: &TemporalVaeConfig, image_encoder: &ImageEncoderConfig) -> Result<()> {
    if vae.in_channels != 3 || vae.out_channels != 3 {
        let reason = format!("in_channels {}, out_channels {}: only RGB is supported", vae.in_channels, vae.out_channels);
        return Err(Error::checkpoint("vae", reason));
    }
    if unet.in_channels != 2 * vae.latent_channels || unet.out_channels != vae.latent_channels {
        let reason = format!(
            "in_channels {} and out_channels {} do not fit the VAE's {} latent channels, of a frame and of the picture",
            unet.in_channels, unet.out_channels, vae.latent_channels
        );
        return Err(Error::checkpoint("unet", reason));
    }
    if unet.cross_attention_dim != image_encoder.projection_dim {
        let reason = format!(
            "cross_attention_dim {} for an image encoder whose projection_dim is {}",
            unet.cross_attention_dim, image_encoder.projection_dim
        );
        return Err(Error::checkpoint("unet", reason));
    }
    Ok(())
}

fn check_defaults(defaults: &Defaults, path: &Path) -> Result<()> {
    let count = |value: Option<usize>, range: &RangeInclusive<usize>| value.is_none_or(|value| range.contains(&value));
    let scale = |value: Option<f32>| value.is_none_or(|value| GUIDANCE_SCALES.contains(&value));
    let proper = count(defaults.steps, &(1..=1000))
        && count(defaults.fps, &FRAMES_PER_SECOND)
        && count(defaults.motion_bucket_id, &MOTION_BUCKETS)
        && scale(defaults.min_guidance_scale)
        && scale(defaults.max_guidance_scale);
    if proper {
        return Ok(());
    }
    let reason = format!(
        "default_steps must be 1 to 1000, default_fps {} to {}, default_motion_bucket_id {} to {}, guidance scales {} to {}",
        FRAMES_PER_SECOND.start(),
        FRAMES_PER_SECOND.end(),
        MOTION_BUCKETS.start(),
        MOTION_BUCKETS.end(),
        GUIDANCE_SCALES.start(),
        GUIDANCE_SCALES.end()
    );
    Err(Error::Malformed { path: path.to_owned(), reason })
}
