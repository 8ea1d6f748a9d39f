//! A request for pictures with every default filled in: what a job stores and a device runs.

use serde::{Deserialize, Serialize};

use super::ids::ModelId;

/// What pictures to make. Immutable once its job is accepted; values have been checked against the model's limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRequest {
    /// The model.
    pub model: ModelId,
    /// What the picture shows.
    pub prompt: String,
    /// What it must not show. Absent and empty differ for checkpoints with `force_zeros_for_empty_prompt`.
    pub negative_prompt: Option<String>,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Sampler steps.
    pub num_inference_steps: u32,
    /// Classifier-free guidance; at most 1 turns it off.
    pub guidance_scale: f32,
    /// Seed of the first picture; picture i uses `seed + i` (wrapping).
    pub seed: u64,
    /// A sampler's name; absent means the checkpoint's own.
    pub sampler: Option<String>,
    /// How many pictures.
    pub num_images: u32,
    /// Storage key of the picture to start from (re-encoded as PNG when it was accepted).
    pub init_image: Option<String>,
    /// How much of the initial picture is noised away (0…1]; 1 without an initial picture.
    pub strength: f32,
}
