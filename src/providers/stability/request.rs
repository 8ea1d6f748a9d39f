//! Creates for Stability.

use super::models::is_named;
use crate::providers::payload::Part;
use crate::providers::validate::{FrameChoice, Validated};

/// The fields.
pub(super) fn parts(model: &str, checked: &Validated<'_>) -> Vec<Part> {
    let request = checked.request;
    let mut parts: Vec<Part> = checked.prompt().map(|prompt| Part::field("prompt", prompt)).into_iter().collect();
    if is_named(model) {
        parts.push(Part::field("model", model));
    }
    if let Some(negative) = request.negative_prompt.as_deref().filter(|negative| !negative.is_empty()) {
        parts.push(Part::field("negative_prompt", negative));
    }
    if let FrameChoice::TierAndRatio(_, Some(ratio)) = checked.frame {
        parts.push(Part::field("aspect_ratio", ratio.to_string()));
    }
    parts.extend(request.seed.map(|seed| Part::field("seed", seed.to_string())));
    parts.push(Part::field("output_format", "png"));
    parts
}
