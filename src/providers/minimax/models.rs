//! Hailuo and its elders with their limits, and the second generation of the API.

use crate::providers::capabilities::{
    FrameRule, Mode, Model, OWN_PROMPT_BOUND, PictureRule, PictureSlot, PromptRule, SecondsRule, Switch,
};
use crate::providers::frame::{Ratio, Tier};
use crate::providers::request::{GenerationKind, PictureFormat, PictureRole};
use GenerationKind::{FirstLastFrame, ImageToVideo, SubjectReference, TextToVideo};
use Tier::{K2, P480, P512, P720, P768, P1080};

const PROMPT_CHARACTERS: usize = 2000;

const FIRST: &[PictureSlot] = &[PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 }];
/// Here the last frame is the one that must be there.
const LAST: &[PictureSlot] = &[
    PictureSlot { role: PictureRole::FirstFrame, fewest: 0, most: 1 },
    PictureSlot { role: PictureRole::LastFrame, fewest: 1, most: 1 },
];
const FIRST_AND_LAST: &[PictureSlot] = &[
    PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 },
    PictureSlot { role: PictureRole::LastFrame, fewest: 1, most: 1 },
];
const SUBJECT: &[PictureSlot] = &[PictureSlot { role: PictureRole::Reference, fewest: 1, most: 1 }];

const fn pictures(kind: GenerationKind, slots: &'static [PictureSlot]) -> PictureRule {
    PictureRule {
        slots: if matches!(kind, TextToVideo) { &[] } else { slots },
        formats: &[PictureFormat::Jpeg, PictureFormat::Png, PictureFormat::Webp],
        // Less than 20 MB, more than 300 pixels.
        most_bytes: (20 << 20) - 1,
        fewest_side: 301,
        most_aspect_percent: 250,
        ..PictureRule::NONE
    }
}

/// What all modes of the first generation have.
const fn first_generation(kind: GenerationKind, slots: &'static [PictureSlot]) -> Mode {
    let required = matches!(kind, TextToVideo);
    let mut mode = Mode::plain(kind, PromptRule { required, most_characters: PROMPT_CHARACTERS });
    mode.prompt_extension = Switch::Free;
    mode.watermark = Switch::Free;
    mode.pictures = pictures(kind, slots);
    mode
}

/// Tiers, and the seconds of each.
type Matrix = &'static [(Tier, &'static [u32])];

const COMMON: Matrix = &[(P768, &[6, 10]), (P1080, &[6])];
const WITH_512: Matrix = &[(P512, &[6, 10]), (P768, &[6, 10]), (P1080, &[6])];

const fn hailuo(kind: GenerationKind, slots: &'static [PictureSlot], tiers: &'static [Tier], matrix: Matrix) -> Mode {
    let mut mode = first_generation(kind, slots);
    mode.frame = FrameRule::Tiers { tiers, default: Some(P768) };
    mode.seconds = SecondsRule::ByTier { allowed: matrix, default: 6 };
    mode.fast_pretreatment = if matches!(kind, FirstLastFrame) { Switch::Never } else { Switch::Free };
    mode.camera = true;
    mode
}

const TIERS: &[Tier] = &[P768, P1080];

const fn elder(kind: GenerationKind, camera: bool) -> Mode {
    let mut mode = first_generation(kind, FIRST);
    mode.frame = FrameRule::Tiers { tiers: &[P720], default: Some(P720) };
    mode.seconds = SecondsRule::Always { seconds: 6, sent: true };
    mode.camera = camera;
    mode
}

/// Neither size nor length has a field here.
const fn subject() -> Mode {
    let mut mode = first_generation(SubjectReference, SUBJECT);
    mode.seconds = SecondsRule::Always { seconds: 6, sent: false };
    mode
}

const RATIOS: &[Ratio] =
    &[Ratio::new(21, 9), Ratio::new(16, 9), Ratio::new(4, 3), Ratio::new(1, 1), Ratio::new(3, 4), Ratio::new(9, 16)];

/// The second generation. Without pictures there must be a ratio; with some, it is theirs unless one is named.
const fn second_generation(kind: GenerationKind, slots: &'static [PictureSlot], tiers: &'static [Tier]) -> Mode {
    let text_only = matches!(kind, TextToVideo);
    let mut mode = Mode::plain(kind, PromptRule { required: text_only, most_characters: OWN_PROMPT_BOUND });
    mode.frame = FrameRule::TiersAndRatios {
        tiers,
        default_tier: None,
        ratios: RATIOS,
        default_ratio: if text_only { Some(Ratio::new(16, 9)) } else { None },
        rows: &[],
    };
    mode.seconds = SecondsRule::Between { fewest: 4, most: 15, default: None };
    mode.audio = Switch::Untold;
    // The limits of its pictures are not known: the loosest of the tables stand in for them.
    mode.pictures = PictureRule {
        slots: if text_only { &[] } else { slots },
        formats: &[PictureFormat::Jpeg, PictureFormat::Png, PictureFormat::Webp],
        ..PictureRule::NONE
    };
    mode
}

const fn named(name: &'static str, modes: &'static [Mode]) -> Model {
    Model { name, aliases: &[], modes }
}

const H3: &[Tier] = &[P768, K2];
const H3_MAX: &[Tier] = &[P480, P768];

/// All that are known.
pub(super) static MODELS: [Model; 11] = [
    named("MiniMax-Hailuo-2.3", &[hailuo(TextToVideo, FIRST, TIERS, COMMON), hailuo(ImageToVideo, FIRST, TIERS, COMMON)]),
    named("MiniMax-Hailuo-2.3-Fast", &[hailuo(ImageToVideo, FIRST, TIERS, COMMON)]),
    named(
        "MiniMax-Hailuo-02",
        &[
            hailuo(TextToVideo, FIRST, TIERS, COMMON),
            hailuo(ImageToVideo, FIRST, &[P512, P768, P1080], WITH_512),
            hailuo(FirstLastFrame, LAST, TIERS, COMMON),
        ],
    ),
    named("T2V-01-Director", &[elder(TextToVideo, true)]),
    named("T2V-01", &[elder(TextToVideo, false)]),
    named("I2V-01-Director", &[elder(ImageToVideo, true)]),
    named("I2V-01-live", &[elder(ImageToVideo, false)]),
    named("I2V-01", &[elder(ImageToVideo, false)]),
    named("S2V-01", &[subject()]),
    named(
        "MiniMax-H3",
        &[
            second_generation(TextToVideo, FIRST, H3),
            second_generation(ImageToVideo, FIRST, H3),
            second_generation(FirstLastFrame, FIRST_AND_LAST, H3),
        ],
    ),
    named(
        "MiniMax-H3-Max",
        &[
            second_generation(TextToVideo, FIRST, H3_MAX),
            second_generation(ImageToVideo, FIRST, H3_MAX),
            second_generation(FirstLastFrame, FIRST_AND_LAST, H3_MAX),
        ],
    ),
];

/// Whether a model has the routes of the second generation.
pub(super) fn is_second_generation(model: &str) -> bool {
    model.starts_with("MiniMax-H3")
}
