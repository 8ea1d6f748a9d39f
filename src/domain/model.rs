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

/// A model that can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelDescription {
    /// Its name.
    pub id: ModelId,
    /// What it makes.
    pub kind: ModelKind,
    /// `sdxl`.
    pub family: String,
    /// Parameters in all.
    pub parameters: u64,
    /// Bytes of the weight files.
    pub weight_file_bytes: u64,
    /// When the files were last changed, Unix seconds.
    pub created: i64,
    /// Ranges and defaults.
    pub limits: ModelLimits,
}
