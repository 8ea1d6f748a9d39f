//! Wan's models and their limits.

use crate::providers::capabilities::{
    CustomSizes, FrameRule, Mode, Model, PictureRule, PictureSlot, PromptRule, SecondsRule, SizeRow, Switch,
};
use crate::providers::frame::{PixelSize, Ratio, Tier};
use crate::providers::request::{GenerationKind, PictureFormat, PictureRole};
use Tier::{P480, P720, P1080};

const WIDE: (u32, u32) = (16, 9);
const TALL: (u32, u32) = (9, 16);
const SQUARE: (u32, u32) = (1, 1);
const BROAD: (u32, u32) = (4, 3);
const UPRIGHT: (u32, u32) = (3, 4);

/// Text to video takes pixels, of this list.
const SIZES: [SizeRow; 13] = [
    SizeRow::new(Some(P480), 832, 480, WIDE),
    SizeRow::new(Some(P480), 480, 832, TALL),
    SizeRow::new(Some(P480), 624, 624, SQUARE),
    SizeRow::new(Some(P720), 1280, 720, WIDE),
    SizeRow::new(Some(P720), 720, 1280, TALL),
    SizeRow::new(Some(P720), 960, 960, SQUARE),
    SizeRow::new(Some(P720), 1088, 832, BROAD),
    SizeRow::new(Some(P720), 832, 1088, UPRIGHT),
    SizeRow::new(Some(P1080), 1920, 1080, WIDE),
    SizeRow::new(Some(P1080), 1080, 1920, TALL),
    SizeRow::new(Some(P1080), 1440, 1440, SQUARE),
    SizeRow::new(Some(P1080), 1632, 1248, BROAD),
    SizeRow::new(Some(P1080), 1248, 1632, UPRIGHT),
];
const fn rows<const N: usize>(from: usize) -> [SizeRow; N] {
    let mut rows = [SIZES[0]; N];
    let mut index = 0;
    while index < N {
        rows[index] = SIZES[from + index];
        index += 1;
    }
    rows
}
static SIZES_480_TO_720: [SizeRow; 8] = rows(0);
static SIZES_720: [SizeRow; 5] = rows(3);
static SIZES_480_AND_1080: [SizeRow; 8] = [SIZES[0], SIZES[1], SIZES[2], SIZES[8], SIZES[9], SIZES[10], SIZES[11], SIZES[12]];
static SIZES_480_TO_1080: [SizeRow; 13] = SIZES;
static SIZES_720_TO_1080: [SizeRow; 10] = rows(3);

const HD: PixelSize = PixelSize::new(1280, 720);
const FULL_HD: PixelSize = PixelSize::new(1920, 1080);

const MOST_SEED: u64 = 2_147_483_647;
const NEGATIVE_CHARACTERS: usize = 500;
/// Prompts up to 2.2, up to 2.6, from 2.7 on. The provider cuts silently what is longer.
const SHORT: usize = 800;
const LONG: usize = 1500;
const LONGEST: usize = 5000;

const fn sizes(rows: &'static [SizeRow], default: PixelSize) -> FrameRule {
    FrameRule::Sizes { rows, default: Some(default), custom: None }
}

const fn tiers(tiers: &'static [Tier], default: Tier) -> FrameRule {
    FrameRule::Tiers { tiers, default: Some(default) }
}

/// What all modes of the family have.
const fn wan(kind: GenerationKind, required: bool, most_characters: usize, frame: FrameRule, seconds: SecondsRule) -> Mode {
    let mut mode = Mode::plain(kind, PromptRule { required, most_characters });
    mode.negative_prompt_characters = Some(NEGATIVE_CHARACTERS);
    mode.frame = frame;
    mode.seconds = seconds;
    mode.most_seed = Some(MOST_SEED);
    mode.watermark = Switch::Free;
    mode.prompt_extension = Switch::Free;
    mode
}

const fn text_to_video(most_characters: usize, rows: &'static [SizeRow], default: PixelSize, seconds: SecondsRule) -> Mode {
    wan(GenerationKind::TextToVideo, true, most_characters, sizes(rows, default), seconds)
}

const fn pictures(slots: &'static [PictureSlot]) -> PictureRule {
    PictureRule {
        slots,
        formats: &[PictureFormat::Jpeg, PictureFormat::Png, PictureFormat::Bmp, PictureFormat::Webp],
        most_bytes: 10 << 20,
        fewest_side: 360,
        most_side: 2000,
        oss_links: true,
        ..PictureRule::NONE
    }
}

const FIRST: &[PictureSlot] = &[PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 }];
const FIRST_AND_LAST: &[PictureSlot] = &[
    PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 },
    PictureSlot { role: PictureRole::LastFrame, fewest: 1, most: 1 },
];

const fn image_to_video(most_characters: usize, frame: FrameRule, seconds: SecondsRule) -> Mode {
    let mut mode = wan(GenerationKind::ImageToVideo, false, most_characters, frame, seconds);
    mode.pictures = pictures(FIRST);
    mode
}

const fn between_frames(frame: FrameRule) -> Mode {
    let seconds = SecondsRule::Always { seconds: 5, sent: false };
    let mut mode = wan(GenerationKind::FirstLastFrame, false, SHORT, frame, seconds);
    mode.pictures = pictures(FIRST_AND_LAST);
    mode
}

/// Models whose films have sound, with or without a link to some.
const fn sounding(mut mode: Mode) -> Mode {
    mode.audio = Switch::Always;
    mode.audio_link = true;
    mode
}

const fn with_shots(mut mode: Mode) -> Mode {
    mode.shot_types = &["single", "multi"];
    mode
}

/// From 2.7 on: a tier and a ratio. The documents disagree on the default mark, so it is always sent.
const fn by_tier_and_ratio(kind: GenerationKind, ratios: &'static [Ratio], default_ratio: Option<Ratio>) -> Mode {
    let frame = FrameRule::TiersAndRatios { tiers: &[P720, P1080], default_tier: Some(P1080), ratios, default_ratio, rows: &[] };
    let seconds = SecondsRule::Between { fewest: 2, most: 15, default: Some(5) };
    let mut mode = wan(kind, matches!(kind, GenerationKind::TextToVideo), LONGEST, frame, seconds);
    mode.watermark = Switch::Sent(false);
    mode.audio = Switch::Untold;
    mode.audio_link = true;
    mode
}

const fn with_pictures(mut mode: Mode, slots: &'static [PictureSlot]) -> Mode {
    mode.pictures = pictures(slots);
    mode
}

const RATIOS: &[Ratio] = &[Ratio::new(16, 9), Ratio::new(9, 16), Ratio::new(1, 1), Ratio::new(4, 3), Ratio::new(3, 4)];

const FIVE: SecondsRule = SecondsRule::Always { seconds: 5, sent: true };
const FIVE_OR_TEN: SecondsRule = SecondsRule::Listed { allowed: &[5, 10], default: 5 };

static IMAGE_SIZES: [SizeRow; 1] = [SizeRow::new(None, 1024, 1024, SQUARE)];

/// One to four pictures; the provider's default is four, each billed.
const fn text_to_image() -> Mode {
    let custom = CustomSizes { fewest_side: 512, most_side: 1440, multiple: 1, most_pixels: 2 << 20 };
    let frame = FrameRule::Sizes { rows: &IMAGE_SIZES, default: Some(PixelSize::new(1024, 1024)), custom: Some(custom) };
    let mut mode = wan(GenerationKind::TextToImage, true, SHORT, frame, SecondsRule::Untold);
    mode.most_results = 4;
    mode
}

static IMAGE: [Mode; 1] = [text_to_image()];

const fn named(name: &'static str, modes: &'static [Mode]) -> Model {
    Model { name, aliases: &[], modes }
}

/// All that are known. Those of 2.1 have another name in Singapore.
pub(super) static MODELS: [Model; 20] = [
    Model {
        name: "wanx2.1-t2v-turbo",
        aliases: &["wan2.1-t2v-turbo"],
        modes: &[text_to_video(SHORT, &SIZES_480_TO_720, HD, FIVE)],
    },
    Model { name: "wanx2.1-t2v-plus", aliases: &["wan2.1-t2v-plus"], modes: &[text_to_video(SHORT, &SIZES_720, HD, FIVE)] },
    named("wan2.2-t2v-plus", &[text_to_video(SHORT, &SIZES_480_AND_1080, FULL_HD, FIVE)]),
    named("wan2.5-t2v-preview", &[sounding(text_to_video(LONG, &SIZES_480_TO_1080, FULL_HD, FIVE_OR_TEN))]),
    named(
        "wan2.6-t2v",
        &[with_shots(sounding(text_to_video(
            LONG,
            &SIZES_720_TO_1080,
            FULL_HD,
            SecondsRule::Between { fewest: 2, most: 15, default: Some(5) },
        )))],
    ),
    named("wan2.7-t2v", &[by_tier_and_ratio(GenerationKind::TextToVideo, RATIOS, Some(Ratio::new(16, 9)))]),
    Model {
        name: "wanx2.1-i2v-turbo",
        aliases: &["wan2.1-i2v-turbo"],
        modes: &[image_to_video(SHORT, tiers(&[P480, P720], P720), SecondsRule::Listed { allowed: &[3, 4, 5], default: 5 })],
    },
    Model {
        name: "wanx2.1-i2v-plus",
        aliases: &["wan2.1-i2v-plus"],
        modes: &[image_to_video(SHORT, tiers(&[P720], P720), FIVE)],
    },
    named("wan2.2-i2v-flash", &[image_to_video(SHORT, tiers(&[P480, P720, P1080], P720), FIVE)]),
    named("wan2.2-i2v-plus", &[image_to_video(SHORT, tiers(&[P480, P1080], P1080), FIVE)]),
    named("wan2.5-i2v-preview", &[sounding(image_to_video(LONG, tiers(&[P480, P720, P1080], P1080), FIVE_OR_TEN))]),
    named(
        "wan2.6-i2v",
        &[with_shots(sounding(image_to_video(
            LONG,
            tiers(&[P720, P1080], P1080),
            SecondsRule::Listed { allowed: &[5, 10, 15], default: 5 },
        )))],
    ),
    named(
        "wan2.7-i2v",
        &[
            with_pictures(by_tier_and_ratio(GenerationKind::ImageToVideo, &[], None), FIRST),
            with_pictures(by_tier_and_ratio(GenerationKind::FirstLastFrame, &[], None), FIRST_AND_LAST),
        ],
    ),
    Model { name: "wanx2.1-kf2v-plus", aliases: &["wan2.1-kf2v-plus"], modes: &[between_frames(tiers(&[P720], P720))] },
    named("wan2.2-kf2v-flash", &[between_frames(tiers(&[P480, P720, P1080], P720))]),
    Model { name: "wanx2.1-t2i-turbo", aliases: &["wan2.1-t2i-turbo"], modes: &IMAGE },
    Model { name: "wanx2.1-t2i-plus", aliases: &["wan2.1-t2i-plus"], modes: &IMAGE },
    named("wan2.2-t2i-flash", &IMAGE),
    named("wan2.2-t2i-plus", &IMAGE),
    named("wan2.5-t2i-preview", &IMAGE),
];

/// Whether a model speaks the protocol that began with 2.7: pictures as `media`, sizes as tier and ratio.
pub(super) fn speaks_media(model: &str) -> bool {
    model.starts_with("wan2.7-")
}

/// Whether a model is made to fill what lies between two pictures; it has a route of its own.
pub(super) fn is_between_frames(model: &str) -> bool {
    model.contains("kf2v")
}
