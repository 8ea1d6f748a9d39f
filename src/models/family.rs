//! What is known of a model without loading it, whatever its family.

use std::path::Path;
use std::sync::Arc;

use framewright_engine::ops::DeviceFacts;
use framewright_engine::pipelines::sdxl::{ImageRequest, ModelInfo};
use framewright_engine::pipelines::svd::VideoModelInfo;
use framewright_engine::samplers::SchedulerConfig;
use framewright_engine::vision::RgbPicture;
use serde::Deserialize;

use crate::domain::{Inpainting, LOCAL_PROVIDER, ModelDescription, ModelId, ModelKind, ModelLimits, VideoLimits};

/// Most steps of a request, whatever the sampler could do.
const MOST_STEPS: usize = 150;
/// Largest guidance scale that the engine takes.
const MOST_GUIDANCE_SCALE: f32 = 100.0;
/// Longest prompt, characters.
const MOST_PROMPT_CHARACTERS: u32 = 10_000;
/// Largest amount of motion: what Stable Video Diffusion was trained with, and as much beyond.
const MOST_MOTION_BUCKET_ID: u32 = 511;
/// Most noise added to a clip's first picture.
const MOST_NOISE_AUG_STRENGTH: f32 = 10.0;
/// Frames that are decoded together unless a request says otherwise: enough for no border to show, few enough for a small device.
const DECODE_CHUNK_SIZE: usize = 8;
/// How much of a picture is noised away unless a request says otherwise …
const STRENGTH: f32 = 0.75;
/// … and by networks for inpainting, which are shown what is kept, and fill a hole best when little of what was there is left.
const INPAINTING_STRENGTH: f32 = 0.99;
/// A file longer than this is no `model_index.json`.
const MOST_INDEX_BYTES: u64 = 1 << 20;

/// A model's files, as far as they can be read without its weights.
#[derive(Clone, Debug)]
pub enum FamilyInfo {
    /// Pictures by SDXL.
    Sdxl(Box<ModelInfo>),
    /// Clips by Stable Video Diffusion.
    Svd(Box<VideoModelInfo>),
}

/// The part of `model_index.json` that names the family.
#[derive(Deserialize)]
struct Index {
    #[serde(rename = "_class_name")]
    class_name: Option<String>,
}

impl FamilyInfo {
    /// Reads a model's directory, or the single file of one. Blocking.
    pub fn read(model: &Path) -> Result<Self, framewright_engine::Error> {
        if model.is_file() || is_svd(&model.join("model_index.json")) {
            return VideoModelInfo::read(model).map(|info| Self::Svd(Box::new(info)));
        }
        // What has no family that is known is told what SDXL's files lack.
        ModelInfo::read(model).map(|info| Self::Sdxl(Box::new(info)))
    }

    /// What can be asked of the model; `created` is when its files were last changed, Unix seconds.
    pub fn describe(&self, id: &ModelId, created: i64) -> ModelDescription {
        match self {
            Self::Sdxl(info) => describe_sdxl(id, info, created),
            Self::Svd(info) => describe_svd(id, info, created),
        }
    }

    /// Bytes of the weights on a device that computes like `numerics`.
    pub fn weights_bytes(&self, numerics: DeviceFacts) -> u64 {
        match self {
            Self::Sdxl(info) => {
                let (width, height) = info.default_size;
                info.memory_estimate_on(&picture(width, height, false), numerics).weights_bytes
            }
            Self::Svd(info) => info.memory_estimate_on(&info.request(no_picture(), 0), numerics).weights_bytes,
        }
    }

    /// Bytes that the first row of an evaluation works in, and each further one, at a size in pixels. Of a clip: at its usual number of
    /// frames, whose rows are evaluated one after the other where memory is short.
    pub fn activation_bytes(&self, (width, height): (u32, u32), numerics: DeviceFacts) -> (u64, u64) {
        let (width, height) = (width as usize, height as usize);
        match self {
            Self::Sdxl(info) => {
                let of = |guided| info.memory_estimate_on(&picture(width, height, guided), numerics).least_activations_bytes;
                (of(false), of(true).saturating_sub(of(false)))
            }
            Self::Svd(info) => {
                let mut request = info.request(no_picture(), 0);
                (request.width, request.height) = (width, height);
                (info.memory_estimate_on(&request, numerics).least_activations_bytes, 0)
            }
        }
    }
}

fn is_svd(index: &Path) -> bool {
    let is_small = std::fs::metadata(index).is_ok_and(|metadata| metadata.len() <= MOST_INDEX_BYTES);
    let read = || serde_json::from_slice::<Index>(&std::fs::read(index).ok()?).ok()?.class_name;
    is_small && read().is_some_and(|name| name.starts_with("StableVideoDiffusion"))
}

fn no_picture() -> Arc<RgbPicture> {
    Arc::new(RgbPicture { height: 1, width: 1, bytes: vec![0; 3] })
}

/// As far as memory depends on a request.
fn picture(width: usize, height: usize, guided: bool) -> ImageRequest {
    ImageRequest {
        prompt: String::new(),
        negative_prompt: None,
        width,
        height,
        num_inference_steps: 1,
        guidance_scale: if guided { 2.0 } else { 1.0 },
        guidance_rescale: 0.0,
        sampler: None,
        seed: 0,
        init_image: None,
        strength: 1.0,
        mask: None,
    }
}

/// The most steps that a sampler takes with this checkpoint; `None` when it takes none at all.
fn most_steps(scheduler: &SchedulerConfig) -> Option<u32> {
    let most = (1..=scheduler.most_steps().min(MOST_STEPS)).rev().find(|&steps| scheduler.sampler(steps, None).is_ok());
    most.map(|steps| steps as u32)
}

fn describe_sdxl(id: &ModelId, info: &ModelInfo, created: i64) -> ModelDescription {
    let steps_of = |name: String| {
        let most = info.scheduler().with_sampler(&name).ok().as_ref().and_then(most_steps)?;
        Some((name, most))
    };
    let samplers: Vec<(String, u32)> = SchedulerConfig::names().into_iter().filter_map(steps_of).collect();
    let max_steps = most_steps(info.scheduler()).unwrap_or(1);
    let sides = info.side_range();
    ModelDescription {
        id: id.clone(),
        kind: ModelKind::Image,
        family: "sdxl".to_owned(),
        provider: LOCAL_PROVIDER.to_owned(),
        parameters: info.parameters,
        weight_file_bytes: info.weight_file_bytes,
        created,
        limits: ModelLimits {
            min_side: *sides.start() as u32,
            max_side: *sides.end() as u32,
            side_multiple: info.size_multiple as u32,
            max_images: 10,
            max_steps,
            max_guidance_scale: MOST_GUIDANCE_SCALE,
            max_prompt_characters: MOST_PROMPT_CHARACTERS,
            default_width: info.default_size.0 as u32,
            default_height: info.default_size.1 as u32,
            default_steps: (info.default_steps as u32).min(max_steps),
            default_guidance_scale: info.default_guidance_scale,
            default_strength: if info.needs_mask() { INPAINTING_STRENGTH } else { STRENGTH },
            samplers: samplers.iter().map(|(name, _)| name.clone()).collect(),
            max_steps_by_sampler: samplers.into_iter().collect(),
        },
        inpainting: Some(Inpainting { input_channels: info.input_channels() as u32, mask_required: info.needs_mask() }),
        video: None,
    }
}

fn describe_svd(id: &ModelId, info: &VideoModelInfo, created: i64) -> ModelDescription {
    let max_steps = most_steps(info.scheduler()).unwrap_or(1);
    let (sides, frames) = (info.side_range(), info.frame_range());
    ModelDescription {
        id: id.clone(),
        kind: ModelKind::Video,
        family: "svd".to_owned(),
        provider: LOCAL_PROVIDER.to_owned(),
        parameters: info.parameters,
        weight_file_bytes: info.weight_file_bytes,
        created,
        limits: ModelLimits {
            min_side: *sides.start() as u32,
            max_side: *sides.end() as u32,
            side_multiple: info.size_multiple as u32,
            max_images: 1,
            max_steps,
            max_guidance_scale: MOST_GUIDANCE_SCALE,
            max_prompt_characters: MOST_PROMPT_CHARACTERS,
            default_width: info.default_size.0 as u32,
            default_height: info.default_size.1 as u32,
            default_steps: (info.default_steps as u32).min(max_steps),
            default_guidance_scale: info.default_max_guidance_scale,
            default_strength: 1.0,
            samplers: Vec::new(),
            max_steps_by_sampler: std::collections::BTreeMap::new(),
        },
        inpainting: None,
        video: Some(VideoLimits {
            min_frames: *frames.start() as u32,
            max_frames: *frames.end() as u32,
            default_num_frames: info.default_num_frames as u32,
            max_fps: crate::domain::frame_rate::MAX_FRAMES_PER_SECOND,
            default_fps: info.default_fps as u32,
            max_motion_bucket_id: MOST_MOTION_BUCKET_ID,
            default_motion_bucket_id: info.default_motion_bucket_id as u32,
            max_noise_aug_strength: MOST_NOISE_AUG_STRENGTH,
            default_noise_aug_strength: info.default_noise_aug_strength,
            default_min_guidance_scale: info.default_min_guidance_scale,
            default_max_guidance_scale: info.default_max_guidance_scale,
            default_decode_chunk_size: info.default_num_frames.min(DECODE_CHUNK_SIZE) as u32,
        }),
    }
}
