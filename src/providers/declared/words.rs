//! The words of a declaration: kinds, switches, sizes, lengths, formats, classes of failures.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::providers::capabilities::{SizeRow, Switch};
use crate::providers::failure::FailureClass;
use crate::providers::frame::{Frame, PixelSize, Ratio, Tier};
use crate::providers::outcome::ResultKind;
use crate::providers::request::{GenerationKind, PictureFormat};
use crate::providers::wire::Method;

/// Most entries of a list.
pub(super) const MOST_ENTRIES: usize = 200;

/// What is made from what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KindWord {
    TextToVideo,
    ImageToVideo,
    FirstLastFrame,
    SubjectReference,
    TextToImage,
}

impl From<KindWord> for GenerationKind {
    fn from(word: KindWord) -> Self {
        match word {
            KindWord::TextToVideo => Self::TextToVideo,
            KindWord::ImageToVideo => Self::ImageToVideo,
            KindWord::FirstLastFrame => Self::FirstLastFrame,
            KindWord::SubjectReference => Self::SubjectReference,
            KindWord::TextToImage => Self::TextToImage,
        }
    }
}

/// How a kind is written in a declaration, and what `{{kind}}` stands for.
pub(super) const fn kind_word(kind: GenerationKind) -> &'static str {
    match kind {
        GenerationKind::TextToVideo => "text_to_video",
        GenerationKind::ImageToVideo => "image_to_video",
        GenerationKind::FirstLastFrame => "first_last_frame",
        GenerationKind::SubjectReference => "subject_reference",
        GenerationKind::TextToImage => "text_to_image",
    }
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SwitchWord {
    Never,
    Always,
    Untold,
    Free,
    SentTrue,
    SentFalse,
}

impl From<SwitchWord> for Switch {
    fn from(word: SwitchWord) -> Self {
        match word {
            SwitchWord::Never => Self::Never,
            SwitchWord::Always => Self::Always,
            SwitchWord::Untold => Self::Untold,
            SwitchWord::Free => Self::Free,
            SwitchWord::SentTrue => Self::Sent(true),
            SwitchWord::SentFalse => Self::Sent(false),
        }
    }
}

/// A size, with the tier and the shape that it stands for: `1088x832 720P 4:3`. Without a shape it is that of its pixels.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct SizeText(pub(super) SizeRow);

impl TryFrom<String> for SizeText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        const WRONG: &str = "must be a size such as 1280x720, with a tier, a ratio or both behind it where it has other names";
        let (first, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let Ok(Frame::Size(size)) = Frame::from_str(first) else { return Err(WRONG) };
        let (tier, ratio) = match (rest.trim().is_empty(), Frame::from_str(rest)) {
            (true, _) => (None, None),
            (false, Ok(Frame::Tier(tier))) => (Some(tier), None),
            (false, Ok(Frame::Ratio(ratio))) => (None, Some(ratio)),
            (false, Ok(Frame::TierAndRatio(tier, ratio))) => (Some(tier), Some(ratio)),
            _ => return Err(WRONG),
        };
        Ok(Self(SizeRow { size, tier, ratio: ratio.unwrap_or_else(|| shape(size)) }))
    }
}

/// The shape of pixels, in lowest terms.
fn shape(size: PixelSize) -> Ratio {
    let (mut divisor, mut rest) = (size.width, size.height);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    Ratio::new(size.width / divisor.max(1), size.height / divisor.max(1))
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct TierText(pub(super) Tier);

impl TryFrom<String> for TierText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match Frame::from_str(&text) {
            Ok(Frame::Tier(tier)) => Ok(Self(tier)),
            _ => Err(format!("must be one of {}", Tier::ALL.map(Tier::name).join(", "))),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct RatioText(pub(super) Ratio);

impl TryFrom<String> for RatioText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        match Frame::from_str(&text) {
            Ok(Frame::Ratio(ratio)) => Ok(Self(ratio)),
            _ => Err("must be a ratio such as 16:9"),
        }
    }
}

/// Lengths: a list, or from one to another.
#[derive(Clone, Debug)]
pub(super) enum SecondsSection {
    Listed(Vec<u32>),
    Between(u32, u32),
}

impl<'de> Deserialize<'de> for SecondsSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrRange;
        impl<'de> Visitor<'de> for ListOrRange {
            type Value = SecondsSection;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of seconds, or { from: 2, to: 15 }")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<SecondsSection, A::Error> {
                let mut listed = Vec::new();
                while let Some(seconds) = sequence.next_element()? {
                    if listed.len() == MOST_ENTRIES {
                        return Err(Error::custom(format!("must have at most {MOST_ENTRIES} entries")));
                    }
                    listed.push(seconds);
                }
                Ok(SecondsSection::Listed(listed))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecondsSection, A::Error> {
                let (mut from, mut to) = (None, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "from" => from = Some(map.next_value()?),
                        "to" => to = Some(map.next_value()?),
                        _ => return Err(Error::unknown_field(&key, &["from", "to"])),
                    }
                }
                match from.zip(to) {
                    Some((from, to)) => Ok(SecondsSection::Between(from, to)),
                    None => Err(Error::custom("seconds: must have both from and to")),
                }
            }
        }
        deserializer.deserialize_any(ListOrRange)
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FormatWord {
    Jpeg,
    Png,
    Webp,
    Bmp,
}

impl From<FormatWord> for PictureFormat {
    fn from(word: FormatWord) -> Self {
        match word {
            FormatWord::Jpeg => Self::Jpeg,
            FormatWord::Png => Self::Png,
            FormatWord::Webp => Self::Webp,
            FormatWord::Bmp => Self::Bmp,
        }
    }
}

/// An HTTP method.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum MethodWord {
    Get,
    Post,
    Put,
    Delete,
}

impl From<MethodWord> for Method {
    fn from(word: MethodWord) -> Self {
        match word {
            MethodWord::Get => Self::Get,
            MethodWord::Post => Self::Post,
            MethodWord::Put => Self::Put,
            MethodWord::Delete => Self::Delete,
        }
    }
}

/// What a result is.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ResultWord {
    Video,
    Picture,
}

impl From<ResultWord> for ResultKind {
    fn from(word: ResultWord) -> Self {
        match word {
            ResultWord::Video => Self::Video,
            ResultWord::Picture => Self::Picture,
        }
    }
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StateWord {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

/// A class of failures.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClassWord {
    InvalidRequest,
    Moderation,
    Authentication,
    Permission,
    Billing,
    Quota,
    RateLimit,
    Transient,
    Duplicate,
    TaskFailed,
}

impl From<ClassWord> for FailureClass {
    fn from(word: ClassWord) -> Self {
        match word {
            ClassWord::InvalidRequest => Self::InvalidRequest,
            ClassWord::Moderation => Self::Moderation,
            ClassWord::Authentication => Self::Authentication,
            ClassWord::Permission => Self::Permission,
            ClassWord::Billing => Self::Billing,
            ClassWord::Quota => Self::Quota,
            ClassWord::RateLimit => Self::RateLimit,
            ClassWord::Transient => Self::Transient,
            ClassWord::Duplicate => Self::Duplicate,
            ClassWord::TaskFailed => Self::TaskFailed,
        }
    }
}
