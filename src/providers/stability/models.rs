//! Stability's models of pictures with their limits.

use crate::providers::capabilities::{FrameRule, Mode, Model, PromptRule};
use crate::providers::frame::Ratio;
use crate::providers::request::GenerationKind;

const PROMPT_CHARACTERS: usize = 10_000;

const RATIOS: &[Ratio] = &[
    Ratio::new(16, 9),
    Ratio::new(1, 1),
    Ratio::new(21, 9),
    Ratio::new(2, 3),
    Ratio::new(3, 2),
    Ratio::new(4, 5),
    Ratio::new(5, 4),
    Ratio::new(9, 16),
    Ratio::new(9, 21),
];

const fn image(negative_prompt: bool) -> Mode {
    let mut mode = Mode::plain(GenerationKind::TextToImage, PromptRule { required: true, most_characters: PROMPT_CHARACTERS });
    mode.negative_prompt_characters = if negative_prompt { Some(PROMPT_CHARACTERS) } else { None };
    mode.frame = FrameRule::TiersAndRatios {
        tiers: &[],
        default_tier: None,
        ratios: RATIOS,
        default_ratio: Some(Ratio::new(1, 1)),
        rows: &[],
    };
    mode.most_seed = Some(4_294_967_294);
    mode
}

static IMAGE: [Mode; 1] = [image(true)];
static TURBO: [Mode; 1] = [image(false)];

const fn named(name: &'static str, modes: &'static [Mode]) -> Model {
    Model { name, aliases: &[], modes }
}

const CORE: &str = "stable-image-core";
const ULTRA: &str = "stable-image-ultra";

/// All that are known.
pub(super) static MODELS: [Model; 5] = [
    named(CORE, &IMAGE),
    named(ULTRA, &IMAGE),
    named("sd3.5-large", &IMAGE),
    named("sd3.5-large-turbo", &TURBO),
    named("sd3.5-medium", &IMAGE),
];

/// The route of a model.
pub(super) fn path(model: &str) -> &'static str {
    match model {
        CORE => "/v2beta/stable-image/generate/core",
        ULTRA => "/v2beta/stable-image/generate/ultra",
        _ => "/v2beta/stable-image/generate/sd3",
    }
}

/// Whether a model shares its route with others and must be named.
pub(super) fn is_named(model: &str) -> bool {
    !matches!(model, CORE | ULTRA)
}
