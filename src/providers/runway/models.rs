//! Runway's models with their limits.

use crate::providers::capabilities::{
    FrameRule, Mode, Model, PictureRule, PictureSlot, PromptRule, SecondsRule, SizeRow, Switch,
};
use crate::providers::frame::{PixelSize, Tier};
use crate::providers::request::{GenerationKind, PictureFormat, PictureRole};
use GenerationKind::{FirstLastFrame, ImageToVideo, TextToVideo};

/// UTF-16 code units, as the provider counts. Fewer where a prompt has characters of two.
pub(super) const PROMPT_UNITS: usize = 1000;

const HD: SizeRow = SizeRow::new(Some(Tier::P720), 1280, 720, (16, 9));
const HD_TALL: SizeRow = SizeRow::new(Some(Tier::P720), 720, 1280, (9, 16));

static WIDE_OR_TALL: [SizeRow; 2] = [HD, HD_TALL];
static OWN_SIZES: [SizeRow; 6] = [
    HD,
    HD_TALL,
    SizeRow::new(Some(Tier::P720), 1104, 832, (4, 3)),
    SizeRow::new(Some(Tier::P720), 960, 960, (1, 1)),
    SizeRow::new(Some(Tier::P720), 832, 1104, (3, 4)),
    SizeRow::new(Some(Tier::P720), 1584, 672, (21, 9)),
];
static VEO_SIZES: [SizeRow; 4] =
    [HD, HD_TALL, SizeRow::new(Some(Tier::P1080), 1920, 1080, (16, 9)), SizeRow::new(Some(Tier::P1080), 1080, 1920, (9, 16))];

const FIRST: &[PictureSlot] = &[PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 }];
const FIRST_AND_LAST: &[PictureSlot] = &[
    PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 },
    PictureSlot { role: PictureRole::LastFrame, fewest: 1, most: 1 },
];

const fn runway(kind: GenerationKind, prompt_required: bool, rows: &'static [SizeRow], seconds: SecondsRule) -> Mode {
    let mut mode = Mode::plain(kind, PromptRule { required: prompt_required, most_characters: PROMPT_UNITS });
    // A size must always be told.
    mode.frame = FrameRule::Sizes { rows, default: Some(PixelSize::new(1280, 720)), custom: None };
    mode.seconds = seconds;
    let slots = match kind {
        ImageToVideo => FIRST,
        FirstLastFrame => FIRST_AND_LAST,
        _ => &[],
    };
    mode.pictures = PictureRule {
        slots,
        formats: &[PictureFormat::Jpeg, PictureFormat::Png, PictureFormat::Webp],
        // 5 MB as a `data:` URL, in which four bytes hold three.
        most_bytes: 3_700_000,
        ..PictureRule::NONE
    };
    mode
}

const fn with_seed(mut mode: Mode) -> Mode {
    mode.most_seed = Some(4_294_967_295);
    mode
}

/// Sound is billed.
const fn with_sound(mut mode: Mode) -> Mode {
    mode.audio = Switch::Free;
    mode
}

const fn named(name: &'static str, modes: &'static [Mode]) -> Model {
    Model { name, aliases: &[], modes }
}

/// Those that all revisions of the document have; it has come to allow more.
const FIVE_OR_TEN: SecondsRule = SecondsRule::Listed { allowed: &[5, 10], default: 5 };
const TWO_TO_TEN: SecondsRule = SecondsRule::Between { fewest: 2, most: 10, default: Some(5) };
const FOUR_SIX_EIGHT: SecondsRule = SecondsRule::Listed { allowed: &[4, 6, 8], default: 8 };
const EIGHT: SecondsRule = SecondsRule::Always { seconds: 8, sent: true };

static VEO_3_1: [Mode; 3] = [
    with_sound(runway(TextToVideo, true, &VEO_SIZES, FOUR_SIX_EIGHT)),
    with_sound(runway(ImageToVideo, false, &VEO_SIZES, FOUR_SIX_EIGHT)),
    with_sound(runway(FirstLastFrame, false, &VEO_SIZES, FOUR_SIX_EIGHT)),
];

/// All that are known.
pub(super) static MODELS: [Model; 5] = [
    named("gen4_turbo", &[with_seed(runway(ImageToVideo, false, &OWN_SIZES, FIVE_OR_TEN))]),
    named(
        "gen4.5",
        &[
            with_seed(runway(TextToVideo, true, &WIDE_OR_TALL, TWO_TO_TEN)),
            with_seed(runway(ImageToVideo, true, &OWN_SIZES, TWO_TO_TEN)),
        ],
    ),
    named("veo3.1", &VEO_3_1),
    named("veo3.1_fast", &VEO_3_1),
    named("veo3", &[runway(TextToVideo, true, &VEO_SIZES, EIGHT), runway(ImageToVideo, false, &VEO_SIZES, EIGHT)]),
];
