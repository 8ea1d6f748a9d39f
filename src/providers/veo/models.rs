//! Veo's models with their limits.

use crate::providers::capabilities::{
    FrameRule, Mode, Model, OWN_PROMPT_BOUND, PictureRule, PictureSlot, PromptRule, SecondsRule, Switch,
};
use crate::providers::frame::{Ratio, Tier};
use crate::providers::request::{GenerationKind, PictureFormat, PictureRole};
use GenerationKind::{FirstLastFrame, ImageToVideo, TextToVideo};

const RATIOS: &[Ratio] = &[Ratio::new(16, 9), Ratio::new(9, 16)];

const FIRST: &[PictureSlot] = &[PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 }];
const FIRST_AND_LAST: &[PictureSlot] = &[
    PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 },
    PictureSlot { role: PictureRole::LastFrame, fewest: 1, most: 1 },
];

const fn veo(kind: GenerationKind) -> Mode {
    let text_only = matches!(kind, TextToVideo);
    let mut mode = Mode::plain(kind, PromptRule { required: text_only, most_characters: OWN_PROMPT_BOUND });
    mode.negative_prompt_characters = Some(OWN_PROMPT_BOUND);
    mode.frame = FrameRule::TiersAndRatios {
        tiers: &[Tier::P720, Tier::P1080],
        default_tier: Some(Tier::P720),
        ratios: RATIOS,
        default_ratio: None,
        rows: &[],
    };
    // The larger films have one length.
    mode.seconds = SecondsRule::ByTier { allowed: &[(Tier::P720, &[4, 6, 8]), (Tier::P1080, &[8])], default: 8 };
    // There always is some, and no field for it.
    mode.audio = Switch::Always;
    let slots = match kind {
        ImageToVideo => FIRST,
        FirstLastFrame => FIRST_AND_LAST,
        _ => &[],
    };
    mode.pictures = PictureRule {
        slots,
        formats: &[PictureFormat::Jpeg, PictureFormat::Png, PictureFormat::Webp],
        links: false,
        ..PictureRule::NONE
    };
    mode
}

static VEO_3_1: [Mode; 3] = [veo(TextToVideo), veo(ImageToVideo), veo(FirstLastFrame)];

const fn named(name: &'static str) -> Model {
    Model { name, aliases: &[], modes: &VEO_3_1 }
}

/// All that are known.
pub(super) static MODELS: [Model; 2] = [named("veo-3.1-generate-preview"), named("veo-3.1-fast-generate-preview")];
