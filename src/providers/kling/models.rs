//! Kling's models with their limits.

use crate::providers::capabilities::{FrameRule, Mode, Model, PictureRule, PictureSlot, PromptRule, SecondsRule, Switch};
use crate::providers::frame::Ratio;
use crate::providers::request::{GenerationKind, PictureFormat, PictureRole};
use GenerationKind::{FirstLastFrame, ImageToVideo, TextToVideo};

const PROMPT_CHARACTERS: usize = 2500;

const RATIOS: &[Ratio] = &[Ratio::new(16, 9), Ratio::new(9, 16), Ratio::new(1, 1)];

const FIRST: &[PictureSlot] = &[PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 }];
const FIRST_AND_LAST: &[PictureSlot] = &[
    PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 },
    PictureSlot { role: PictureRole::LastFrame, fewest: 1, most: 1 },
];

const STANDARD_OR_PROFESSIONAL: &[&str] = &["std", "pro"];
const PROFESSIONAL: &[&str] = &["pro"];
/// Models that have but one.
const NO_QUALITY: &[&str] = &[];

const FIVE_OR_TEN: SecondsRule = SecondsRule::Listed { allowed: &[5, 10], default: 5 };
const FIVE: SecondsRule = SecondsRule::Always { seconds: 5, sent: true };

const fn kling(kind: GenerationKind, qualities: &'static [&'static str], seconds: SecondsRule) -> Mode {
    let text_only = matches!(kind, TextToVideo);
    let mut mode = Mode::plain(kind, PromptRule { required: text_only, most_characters: PROMPT_CHARACTERS });
    mode.negative_prompt_characters = Some(PROMPT_CHARACTERS);
    // The shape of a picture is the film's.
    if text_only {
        mode.frame = FrameRule::TiersAndRatios { tiers: &[], default_tier: None, ratios: RATIOS, default_ratio: None, rows: &[] };
    }
    mode.seconds = seconds;
    mode.qualities = qualities;
    let slots = match kind {
        ImageToVideo => FIRST,
        FirstLastFrame => FIRST_AND_LAST,
        _ => &[],
    };
    mode.pictures = PictureRule {
        slots,
        formats: &[PictureFormat::Jpeg, PictureFormat::Png],
        most_bytes: 10_000_000,
        fewest_side: 300,
        most_aspect_percent: 250,
        ..PictureRule::NONE
    };
    mode
}

const fn with_sound(mut mode: Mode) -> Mode {
    mode.audio = Switch::Free;
    mode
}

const fn named(name: &'static str, modes: &'static [Mode]) -> Model {
    Model { name, aliases: &[], modes }
}

static MASTER: [Mode; 2] = [kling(TextToVideo, NO_QUALITY, FIVE_OR_TEN), kling(ImageToVideo, NO_QUALITY, FIVE_OR_TEN)];
static FROM_PICTURES: [Mode; 2] =
    [kling(ImageToVideo, STANDARD_OR_PROFESSIONAL, FIVE_OR_TEN), kling(FirstLastFrame, PROFESSIONAL, FIVE_OR_TEN)];
static FROM_ALL: [Mode; 3] = [
    kling(TextToVideo, STANDARD_OR_PROFESSIONAL, FIVE_OR_TEN),
    kling(ImageToVideo, STANDARD_OR_PROFESSIONAL, FIVE_OR_TEN),
    kling(FirstLastFrame, PROFESSIONAL, FIVE_OR_TEN),
];

/// All that are known.
pub(super) static MODELS: [Model; 8] = [
    named(
        "kling-v1",
        &[
            kling(TextToVideo, STANDARD_OR_PROFESSIONAL, FIVE_OR_TEN),
            kling(ImageToVideo, STANDARD_OR_PROFESSIONAL, FIVE_OR_TEN),
            kling(FirstLastFrame, STANDARD_OR_PROFESSIONAL, FIVE),
        ],
    ),
    named("kling-v1-5", &FROM_PICTURES),
    named("kling-v1-6", &FROM_ALL),
    named("kling-v2-master", &MASTER),
    named("kling-v2-1", &FROM_PICTURES),
    named("kling-v2-1-master", &MASTER),
    named("kling-v2-5-turbo", &FROM_ALL),
    named(
        "kling-v2-6",
        &[
            with_sound(kling(TextToVideo, STANDARD_OR_PROFESSIONAL, FIVE_OR_TEN)),
            with_sound(kling(ImageToVideo, STANDARD_OR_PROFESSIONAL, FIVE_OR_TEN)),
            kling(FirstLastFrame, PROFESSIONAL, FIVE_OR_TEN),
        ],
    ),
];
