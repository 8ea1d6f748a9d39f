//! What the server knows of a model without loading it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ids::ModelId;

/// What a model makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Pictures.
    Image,
    /// Clips that begin with a picture.
    Video,
}

/// Ranges and defaults of a model's parameters; refusals quote these.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelLimits {
    /// Smallest side, pixels.
    pub min_side: u32,
    /// Largest side, pixels.
    pub max_side: u32,
    /// Sides must be multiples of this.
    pub side_multiple: u32,
    /// Most pictures of one job.
    pub max_images: u32,
    /// Most steps with the checkpoint's own sampler.
    pub max_steps: u32,
    /// Largest guidance scale.
    pub max_guidance_scale: f32,
    /// Longest prompt, characters.
    pub max_prompt_characters: u32,
    /// Default width.
    pub default_width: u32,
    /// Default height.
    pub default_height: u32,
    /// Default steps.
    pub default_steps: u32,
    /// Default guidance scale.
    pub default_guidance_scale: f32,
    /// Default strength for picture to picture.
    pub default_strength: f32,
    /// Sampler names.
    pub samplers: Vec<String>,
    /// Most steps with each of these samplers.
    pub max_steps_by_sampler: BTreeMap<String, u32>,
}

/// Ranges and defaults of what only video models have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VideoLimits {
    /// Fewest frames of a clip.
    pub min_frames: u32,
    /// Most frames of a clip.
    pub max_frames: u32,
    /// Frames that the model was made for.
    pub default_num_frames: u32,
    /// Largest frame rate that the model can be told.
    pub max_fps: u32,
    /// Frame rate that its clips are meant for.
    pub default_fps: u32,
    /// Largest amount of motion.
    pub max_motion_bucket_id: u32,
    /// Default amount of motion.
    pub default_motion_bucket_id: u32,
    /// Most noise added to the first picture.
    pub max_noise_aug_strength: f32,
    /// Default noise added to the first picture.
    pub default_noise_aug_strength: f32,
    /// Default guidance of the first frame.
    pub default_min_guidance_scale: f32,
    /// Default guidance of the last frame.
    pub default_max_guidance_scale: f32,
    /// Default number of frames that are decoded together.
    pub default_decode_chunk_size: u32,
}

/// How a model repaints a masked part of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Inpainting {
    /// Channels of its network's input: 4, and what is kept is put back between its evaluations; or 9, and it is shown what is kept.
    pub input_channels: u32,
    /// Whether it makes nothing without a mask.
    pub mask_required: bool,
}

/// A model that can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelDescription {
    /// Its name.
    pub id: ModelId,
    /// What it makes.
    pub kind: ModelKind,
    /// `sdxl`, `svd`.
    pub family: String,
    /// `local`, or who makes it in this server's stead.
    pub provider: String,
    /// Parameters in all.
    pub parameters: u64,
    /// Bytes of the weight files.
    pub weight_file_bytes: u64,
    /// When the files were last changed, Unix seconds.
    pub created: i64,
    /// Ranges and defaults; of a video model, those of its clips' pictures.
    pub limits: ModelLimits,
    /// How it takes a mask; absent where it takes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inpainting: Option<Inpainting>,
    /// What only video models have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoLimits>,
}
