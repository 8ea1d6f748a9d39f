//! Which tasks may share a model evaluation.

use super::ids::ModelId;
use super::image_request::ImageRequest;

/// Tasks with equal keys may run in one batch: prompts, seeds, steps, guidance and samplers may differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchKey {
    /// The model.
    pub model: ModelId,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl BatchKey {
    /// The key of a request.
    pub fn of(request: &ImageRequest) -> Self {
        Self { model: request.model.clone(), width: request.width, height: request.height }
    }
}

/// How many rows an evaluation of the request takes: one a picture, two where it is guided.
pub fn rows(request: &ImageRequest) -> u32 {
    let guided = if request.guidance_scale > 1.0 { 2 } else { 1 };
    request.num_images * guided
}
