//! CogVideoX, Vidu and CogView with their limits.

use crate::providers::capabilities::{
    CustomSizes, FrameRule, Mode, Model, OWN_PROMPT_BOUND, PictureRule, PictureSlot, PromptRule, SecondsRule, SizeRow, Switch,
};
use crate::providers::frame::{PixelSize, Ratio, Tier};
use crate::providers::request::{GenerationKind, PictureFormat, PictureRole};
use GenerationKind::{FirstLastFrame, ImageToVideo, SubjectReference, TextToImage, TextToVideo};

const PROMPT_CHARACTERS: usize = 512;

const SQUARE: SizeRow = SizeRow::new(None, 1024, 1024, (1, 1));
const FULL_HD: SizeRow = SizeRow::new(Some(Tier::P1080), 1920, 1080, (16, 9));
const FULL_HD_TALL: SizeRow = SizeRow::new(Some(Tier::P1080), 1080, 1920, (9, 16));
const CINEMA: SizeRow = SizeRow::new(None, 2048, 1080, (256, 135));
const ULTRA_HD: SizeRow = SizeRow::new(Some(Tier::K4), 3840, 2160, (16, 9));
const HD: SizeRow = SizeRow::new(Some(Tier::P720), 1280, 720, (16, 9));
const HD_TALL: SizeRow = SizeRow::new(Some(Tier::P720), 720, 1280, (9, 16));

static COGVIDEOX_3_SIZES: [SizeRow; 7] = [FULL_HD, FULL_HD_TALL, HD, HD_TALL, SQUARE, CINEMA, ULTRA_HD];
static COGVIDEOX_2_SIZES: [SizeRow; 8] = [
    FULL_HD,
    FULL_HD_TALL,
    SizeRow::new(Some(Tier::P480), 720, 480, (3, 2)),
    SQUARE,
    SizeRow::new(None, 1280, 960, (4, 3)),
    SizeRow::new(None, 960, 1280, (3, 4)),
    CINEMA,
    ULTRA_HD,
];
static COGVIEW_SIZES: [SizeRow; 7] = [
    SQUARE,
    SizeRow::new(None, 768, 1344, (4, 7)),
    SizeRow::new(None, 864, 1152, (3, 4)),
    SizeRow::new(None, 1344, 768, (7, 4)),
    SizeRow::new(None, 1152, 864, (4, 3)),
    SizeRow::new(None, 1440, 720, (2, 1)),
    SizeRow::new(None, 720, 1440, (1, 2)),
];
static GLM_SIZES: [SizeRow; 1] = [SizeRow::new(None, 1280, 1280, (1, 1))];
static ONLY_FULL_HD: [SizeRow; 1] = [FULL_HD];
static ONLY_HD: [SizeRow; 1] = [HD];
static HD_OR_SMALL: [SizeRow; 2] = [HD, SizeRow::new(None, 480, 360, (4, 3))];

/// Where shape and size are told apart, these are known to be the same thing.
static FULL_HD_SHAPES: [SizeRow; 2] = [FULL_HD, FULL_HD_TALL];

const ONE: &[PictureSlot] = &[PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 }];
const FIRST_AND_LAST: &[PictureSlot] = &[
    PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 },
    PictureSlot { role: PictureRole::LastFrame, fewest: 1, most: 1 },
];
const ONE_TO_THREE: &[PictureSlot] = &[PictureSlot { role: PictureRole::Reference, fewest: 1, most: 3 }];

const QUALITIES: &[&str] = &["speed", "quality"];
const AMPLITUDES: &[&str] = &["auto", "small", "medium", "large"];
const SHAPES: &[Ratio] = &[Ratio::new(16, 9), Ratio::new(9, 16), Ratio::new(1, 1)];

const fn list(rows: &'static [SizeRow], default: Option<PixelSize>) -> FrameRule {
    FrameRule::Sizes { rows, default, custom: None }
}

const fn cogvideox(kind: GenerationKind, rows: &'static [SizeRow], seconds: SecondsRule) -> Mode {
    let required = matches!(kind, TextToVideo);
    let mut mode = Mode::plain(kind, PromptRule { required, most_characters: PROMPT_CHARACTERS });
    mode.frame = list(rows, None);
    mode.seconds = seconds;
    mode.frames_per_second = &[30, 60];
    mode.qualities = QUALITIES;
    mode.audio = Switch::Free;
    mode.watermark = Switch::Free;
    let slots: &'static [PictureSlot] = match kind {
        ImageToVideo => ONE,
        FirstLastFrame => FIRST_AND_LAST,
        _ => &[],
    };
    mode.pictures = PictureRule { slots, most_bytes: 5 << 20, ..PictureRule::NONE };
    mode
}

const COGVIDEOX_3_SECONDS: SecondsRule = SecondsRule::Listed { allowed: &[5, 10], default: 5 };

static COGVIDEOX_2: [Mode; 2] = [
    cogvideox(TextToVideo, &COGVIDEOX_2_SIZES, SecondsRule::Untold),
    cogvideox(ImageToVideo, &COGVIDEOX_2_SIZES, SecondsRule::Untold),
];

const fn vidu(kind: GenerationKind, seconds: u32, frame: FrameRule) -> Mode {
    let required = matches!(kind, TextToVideo | SubjectReference);
    let mut mode = Mode::plain(kind, PromptRule { required, most_characters: PROMPT_CHARACTERS });
    mode.frame = frame;
    mode.seconds = SecondsRule::Always { seconds, sent: true };
    mode.movement_amplitudes = AMPLITUDES;
    let slots: &'static [PictureSlot] = match kind {
        ImageToVideo => ONE,
        FirstLastFrame => FIRST_AND_LAST,
        SubjectReference => ONE_TO_THREE,
        _ => &[],
    };
    mode.pictures = PictureRule {
        slots,
        formats: &[PictureFormat::Jpeg, PictureFormat::Png, PictureFormat::Webp],
        most_bytes: 50 << 20,
        fewest_side: if matches!(kind, SubjectReference) { 128 } else { 1 },
        most_aspect_percent: 400,
        first_by_last_percent: if matches!(kind, FirstLastFrame) { Some((80, 125)) } else { None },
        ..PictureRule::NONE
    };
    mode
}

const fn with_sound(mut mode: Mode) -> Mode {
    mode.audio = Switch::Free;
    mode
}

const fn with_styles(mut mode: Mode) -> Mode {
    mode.styles = &["general", "anime"];
    mode
}

/// A size that is always sent, and a shape beside it.
const fn shaped(tiers: &'static [Tier], rows: &'static [SizeRow]) -> FrameRule {
    FrameRule::TiersAndRatios { tiers, default_tier: Some(tiers[0]), ratios: SHAPES, default_ratio: None, rows }
}

const fn image(rows: &'static [SizeRow]) -> Mode {
    let mut mode = Mode::plain(TextToImage, PromptRule { required: true, most_characters: OWN_PROMPT_BOUND });
    let custom = CustomSizes { fewest_side: 512, most_side: 2048, multiple: 16, most_pixels: 1 << 21 };
    mode.frame = FrameRule::Sizes { rows, default: Some(rows[0].size), custom: Some(custom) };
    mode.qualities = &["standard", "hd"];
    mode.watermark = Switch::Free;
    mode
}

static COGVIEW: [Mode; 1] = [image(&COGVIEW_SIZES)];

const IMAGE_BY_TASK: &str = "glm-image";

const fn named(name: &'static str, modes: &'static [Mode]) -> Model {
    Model { name, aliases: &[], modes }
}

/// All that are known.
pub(super) static MODELS: [Model; 13] = [
    named(
        "cogvideox-3",
        &[
            cogvideox(TextToVideo, &COGVIDEOX_3_SIZES, COGVIDEOX_3_SECONDS),
            cogvideox(ImageToVideo, &COGVIDEOX_3_SIZES, COGVIDEOX_3_SECONDS),
            cogvideox(FirstLastFrame, &COGVIDEOX_3_SIZES, COGVIDEOX_3_SECONDS),
        ],
    ),
    named("cogvideox-2", &COGVIDEOX_2),
    named("cogvideox-flash", &COGVIDEOX_2),
    named("viduq1-text", &[with_styles(vidu(TextToVideo, 5, shaped(&[Tier::P1080], &FULL_HD_SHAPES)))]),
    named("viduq1-image", &[vidu(ImageToVideo, 5, list(&ONLY_FULL_HD, Some(FULL_HD.size)))]),
    named("viduq1-start-end", &[vidu(FirstLastFrame, 5, list(&ONLY_FULL_HD, Some(FULL_HD.size)))]),
    named("vidu2-image", &[with_sound(vidu(ImageToVideo, 4, list(&ONLY_HD, Some(HD.size))))]),
    named("vidu2-start-end", &[with_sound(vidu(FirstLastFrame, 4, list(&HD_OR_SMALL, Some(HD.size))))]),
    named("vidu2-reference", &[with_sound(vidu(SubjectReference, 4, shaped(&[Tier::P720], &ONLY_HD)))]),
    named("cogview-4-250304", &COGVIEW),
    named("cogview-4", &COGVIEW),
    named("cogview-3-flash", &COGVIEW),
    named(IMAGE_BY_TASK, &[image(&GLM_SIZES)]),
];

/// Whether a model makes pictures.
pub(super) fn makes_pictures(model: &str) -> bool {
    let known = MODELS.iter().find(|known| known.is_called(model));
    known.is_some_and(|model| model.mode(TextToImage).is_some())
}

/// Whether a model's pictures come with the call itself. Those of one come by a task.
pub(super) fn answers_at_once(model: &str) -> bool {
    makes_pictures(model) && !model.starts_with(IMAGE_BY_TASK)
}
