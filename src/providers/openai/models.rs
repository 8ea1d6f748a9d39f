//! Models in OpenAI's documents with their limits, and any others with ours.

use crate::providers::capabilities::{
    CustomSizes, FrameRule, Mode, Model, OWN_PROMPT_BOUND, PictureRule, PictureSlot, PromptRule, SecondsRule, SizeRow, kept,
    kept_text,
};
use crate::providers::described::DescriptionError;
use crate::providers::frame::{PixelSize, Tier};
use crate::providers::request::{GenerationKind, PictureFormat, PictureRole};
use GenerationKind::{FirstLastFrame, ImageToVideo, SubjectReference, TextToImage, TextToVideo};

/// How pictures come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFormat {
    /// Behind links.
    Url,
    /// In the answer.
    Base64,
}

impl ResponseFormat {
    /// As it is told.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Base64 => "b64_json",
        }
    }
}

/// A model that a service has.
#[derive(Clone, Debug)]
pub struct ServedModel {
    /// Its name there.
    pub name: String,
    /// What it makes, with its limits; they may be changed before the account is made.
    pub modes: Vec<Mode>,
    /// How its pictures shall come; none: as it has them, since some models take no word about it.
    pub response_format: Option<ResponseFormat>,
}

impl ServedModel {
    /// A model that makes `kinds`, with the limits of OpenAI's documents where it stands in them, and else with ours. Fails with
    /// [`DescriptionError`] for kinds that the dialect has no words for, or that a known model does not make.
    pub fn new(name: impl Into<String>, kinds: &[GenerationKind]) -> Result<Self, DescriptionError> {
        let name = name.into();
        let known = KNOWN.iter().find(|model| model.is_called(&name));
        let mode = |kind: &GenerationKind| match (known, kind) {
            (_, FirstLastFrame | SubjectReference) => None,
            (Some(known), kind) => known.mode(*kind).copied(),
            (None, kind) => Some(unknown(*kind)),
        };
        let modes: Option<Vec<Mode>> = kinds.iter().map(mode).collect();
        match modes {
            Some(modes) => Ok(Self { name, modes, response_format: None }),
            None => Err(DescriptionError::Kinds(name)),
        }
    }
}

/// Models as they were told, checked. Fails with [`DescriptionError`].
pub(super) fn told(served: Vec<ServedModel>) -> Result<(Vec<Model>, Vec<Option<ResponseFormat>>), DescriptionError> {
    let (mut models, mut formats): (Vec<Model>, Vec<Option<ResponseFormat>>) = (Vec::new(), Vec::new());
    for ServedModel { name, modes, response_format } in served {
        // It stands in a body alone, so anything visible will do: gateways have slashes and colons in their names.
        if name.is_empty() || name.len() > 200 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(DescriptionError::Name { name, form: "1 to 200 visible ASCII characters" });
        }
        if modes.is_empty() {
            return Err(DescriptionError::Kinds(name));
        }
        if models.iter().any(|model| model.is_called(&name)) {
            return Err(DescriptionError::Twice(name));
        }
        models.push(Model { name: kept_text(name), aliases: &[], modes: kept(modes) });
        formats.push(response_format);
    }
    Ok((models, formats))
}

const OWN_SIZES: CustomSizes = CustomSizes { fewest_side: 16, most_side: 8192, multiple: 1, most_pixels: 1 << 25 };
const ONE: &[PictureSlot] = &[PictureSlot { role: PictureRole::FirstFrame, fewest: 1, most: 1 }];

/// A mode of which nothing is known.
const fn unknown(kind: GenerationKind) -> Mode {
    let mut mode = Mode::plain(kind, PromptRule { required: true, most_characters: OWN_PROMPT_BOUND });
    mode.frame = FrameRule::Sizes { rows: &[], default: None, custom: Some(OWN_SIZES) };
    if matches!(kind, TextToImage) {
        mode.most_results = 10;
        mode.qualities = &["auto", "low", "medium", "high", "standard", "hd"];
        mode.styles = &["vivid", "natural"];
    } else {
        mode.seconds = SecondsRule::Between { fewest: 1, most: 120, default: None };
        mode.pictures = pictures(kind);
    }
    mode
}

const fn pictures(kind: GenerationKind) -> PictureRule {
    PictureRule {
        slots: if matches!(kind, ImageToVideo) { ONE } else { &[] },
        formats: &[PictureFormat::Jpeg, PictureFormat::Png, PictureFormat::Webp],
        ..PictureRule::NONE
    }
}

const SQUARE: SizeRow = SizeRow::new(None, 1024, 1024, (1, 1));

static GPT_SIZES: [SizeRow; 3] = [SQUARE, SizeRow::new(None, 1536, 1024, (3, 2)), SizeRow::new(None, 1024, 1536, (2, 3))];
static DALL_E_3_SIZES: [SizeRow; 3] = [SQUARE, SizeRow::new(None, 1792, 1024, (7, 4)), SizeRow::new(None, 1024, 1792, (4, 7))];
static DALL_E_2_SIZES: [SizeRow; 3] = [SQUARE, SizeRow::new(None, 512, 512, (1, 1)), SizeRow::new(None, 256, 256, (1, 1))];
static SORA_SIZES: [SizeRow; 4] = [
    SizeRow::new(Some(Tier::P720), 720, 1280, (9, 16)),
    SizeRow::new(Some(Tier::P720), 1280, 720, (16, 9)),
    SizeRow::new(None, 1024, 1792, (4, 7)),
    SizeRow::new(None, 1792, 1024, (7, 4)),
];

/// Any size in steps of 16, of up to 3:1, which [`super::request`] checks.
const ANY_SIZE: CustomSizes = CustomSizes { fewest_side: 16, most_side: 3840, multiple: 16, most_pixels: 3840 * 2160 };

/// Whether a model's sizes have a shape of 3:1 at most.
pub(super) fn has_bounded_shape(model: &str) -> bool {
    model.starts_with("gpt-image-2")
}

const fn image(
    rows: &'static [SizeRow],
    custom: Option<CustomSizes>,
    prompt_characters: usize,
    most_results: u32,
    qualities: &'static [&'static str],
) -> Mode {
    let mut mode = Mode::plain(TextToImage, PromptRule { required: true, most_characters: prompt_characters });
    mode.frame = FrameRule::Sizes { rows, default: None, custom };
    mode.most_results = most_results;
    mode.qualities = qualities;
    mode
}

const fn with_styles(mut mode: Mode) -> Mode {
    mode.styles = &["vivid", "natural"];
    mode
}

const GPT_QUALITIES: &[&str] = &["auto", "low", "medium", "high"];
static GPT: [Mode; 1] = [image(&GPT_SIZES, None, 32_000, 10, GPT_QUALITIES)];

/// The size is always told, since the provider's own is a tall one.
const fn sora(kind: GenerationKind) -> Mode {
    let mut mode = Mode::plain(kind, PromptRule { required: true, most_characters: 32_000 });
    mode.frame = FrameRule::Sizes { rows: &SORA_SIZES, default: Some(PixelSize::new(1280, 720)), custom: None };
    mode.seconds = SecondsRule::Listed { allowed: &[4, 8, 12], default: 4 };
    mode.pictures = pictures(kind);
    mode
}

static SORA: [Mode; 2] = [sora(TextToVideo), sora(ImageToVideo)];

const fn named(name: &'static str, modes: &'static [Mode]) -> Model {
    Model { name, aliases: &[], modes }
}

/// Those in OpenAI's documents.
static KNOWN: [Model; 8] = [
    named("gpt-image-1", &GPT),
    named("gpt-image-1-mini", &GPT),
    named("gpt-image-1.5", &GPT),
    named("gpt-image-2", &[image(&GPT_SIZES, Some(ANY_SIZE), 32_000, 10, GPT_QUALITIES)]),
    named("dall-e-3", &[with_styles(image(&DALL_E_3_SIZES, None, 4000, 1, &["standard", "hd"]))]),
    named("dall-e-2", &[image(&DALL_E_2_SIZES, None, 1000, 10, &["standard"])]),
    named("sora-2", &SORA),
    named("sora-2-pro", &SORA),
];
