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
    /// Storage key of the mask of the initial picture, a grey PNG: where it is white is repainted. Left out of the JSON where there is
    /// none, so that requests from before there were masks are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_from_before_there_were_masks_are_the_same() {
        let before = r#"{"model":"m","prompt":"x","negative_prompt":null,"width":64,"height":64,"num_inference_steps":4,"guidance_scale":1.0,"seed":1,"sampler":null,"num_images":1,"init_image":null,"strength":1.0}"#;
        let request: ImageRequest = serde_json::from_str(before).unwrap();
        assert_eq!(request.mask, None);
        assert_eq!(serde_json::to_string(&request).unwrap(), before);
        let masked = ImageRequest { mask: Some("inputs/a-mask.png".to_owned()), ..request };
        let text = serde_json::to_string(&masked).unwrap();
        assert_eq!(serde_json::from_str::<ImageRequest>(&text).unwrap(), masked);
    }
}
