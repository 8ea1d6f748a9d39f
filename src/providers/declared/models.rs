//! Models as a declaration tells them, and the tables that they become.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::template::is_value_name;
use super::words::{FormatWord, KindWord, MOST_ENTRIES, RatioText, SecondsSection, SizeText, SwitchWord, TierText, kind_word};
use crate::providers::capabilities::{
    CustomSizes, FrameRule, Mode, Model, OWN_PROMPT_BOUND, PictureRule, PictureSlot, PromptRule, SecondsRule, Switch, kept,
    kept_text,
};
use crate::providers::request::{GenerationKind, PictureFormat, PictureRole};

/// Most characters of a model's name.
const MOST_NAME_CHARACTERS: usize = 200;
/// Longest film that can be told, seconds.
const MOST_SECONDS: u32 = 3600;
/// Most results of a request that can be told.
const MOST_RESULTS: u32 = 16;
/// Most pictures of a role that can be told.
const MOST_PICTURES: usize = 16;
/// Largest picture that can be told, MiB.
const MOST_PICTURE_MIB: u64 = 64;

/// A model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelSection {
    name: ModelName,
    #[serde(default)]
    aliases: Vec<ModelName>,
    /// Values of its own, which templates name.
    #[serde(default)]
    values: Values,
    kinds: Vec<KindSection>,
}

/// A model's name, which may stand in a path.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct ModelName(String);

impl TryFrom<String> for ModelName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let right = (1..=MOST_NAME_CHARACTERS).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/@".contains(&byte))
            && name.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
        if right {
            return Ok(Self(name));
        }
        Err(format!("must be 1 to {MOST_NAME_CHARACTERS} letters, digits, '-', '_', '.', ':', '@' and '/' between them"))
    }
}

/// Values of a model's own: texts, numbers, true and false.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, Value>")]
pub(super) struct Values(pub(super) BTreeMap<String, Value>);

impl TryFrom<BTreeMap<String, Value>> for Values {
    type Error = String;

    fn try_from(values: BTreeMap<String, Value>) -> Result<Self, String> {
        if let Some(name) = values.keys().find(|name| !is_value_name(name)) {
            let name: String = name.chars().take(60).collect();
            return Err(format!("must have names of 1 to 60 letters, digits and '_'; '{name}' is none"));
        }
        if let Some((name, _)) = values.iter().find(|(_, value)| !is_plain(value)) {
            return Err(format!("must be texts of visible ASCII, numbers, true or false; {name} is not"));
        }
        Ok(Self(values))
    }
}

/// Whether a value may stand anywhere in a call, also in its head.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= 1000 && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()),
        Value::Number(_) | Value::Bool(_) => true,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The rules of one kind of request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KindSection {
    kind: KindWord,
    prompt_required: Option<bool>,
    prompt_characters: Option<u32>,
    negative_prompt_characters: Option<u32>,
    #[serde(default)]
    sizes: Vec<SizeText>,
    default_size: Option<SizeText>,
    custom_sizes: Option<CustomSection>,
    #[serde(default)]
    tiers: Vec<TierText>,
    default_tier: Option<TierText>,
    #[serde(default)]
    ratios: Vec<RatioText>,
    default_ratio: Option<RatioText>,
    seconds: Option<SecondsSection>,
    default_seconds: Option<u32>,
    #[serde(default)]
    frames_per_second: Vec<u32>,
    most_seed: Option<u64>,
    most_results: Option<u32>,
    #[serde(default)]
    pictures: PicturesSection,
    audio: Option<SwitchWord>,
    #[serde(default)]
    audio_link: bool,
    watermark: Option<SwitchWord>,
    prompt_extension: Option<SwitchWord>,
    fast_pretreatment: Option<SwitchWord>,
    #[serde(default)]
    qualities: Vec<String>,
    #[serde(default)]
    styles: Vec<String>,
    #[serde(default)]
    movement_amplitudes: Vec<String>,
    #[serde(default)]
    shot_types: Vec<String>,
    #[serde(default)]
    camera: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomSection {
    fewest_side: u32,
    most_side: u32,
    multiple: Option<u32>,
    most_pixels: Option<u64>,
}

/// The pictures that a kind takes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PicturesSection {
    first_frame: Option<SlotSection>,
    last_frame: Option<SlotSection>,
    reference: Option<SlotSection>,
    formats: Vec<FormatWord>,
    most_mib: Option<u64>,
    fewest_side: Option<u32>,
    most_side: Option<u32>,
    most_aspect_percent: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotSection {
    fewest: usize,
    most: usize,
}

impl ModelSection {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name.0
    }

    /// Its name and the others that it has.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.aliases).map(|name| name.0.as_str())
    }

    /// Its own values.
    pub(super) fn values(&self) -> &Values {
        &self.values
    }

    /// The kinds that it makes.
    pub(super) fn kinds(&self) -> impl Iterator<Item = GenerationKind> {
        self.kinds.iter().map(|section| section.kind.into())
    }

    /// Whether all of it can be. Fails with the field and a sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.kinds.is_empty() {
            return Err("kinds: must have at least one".to_owned());
        }
        for (index, section) in self.kinds.iter().enumerate() {
            if self.kinds[..index].iter().any(|other| other.kind == section.kind) {
                return Err(format!("kinds: {} is there twice", kind_word(section.kind.into())));
            }
            section.check().map_err(|why| format!("kinds: {}: {why}", kind_word(section.kind.into())))?;
        }
        Ok(())
    }

    /// Its table, for a section that was checked.
    pub(super) fn table(&self) -> Model {
        let aliases = self.aliases.iter().map(|alias| kept_text(alias.0.clone())).collect();
        Model {
            name: kept_text(self.name.0.clone()),
            aliases: kept(aliases),
            modes: kept(self.kinds.iter().map(KindSection::mode).collect()),
        }
    }
}

impl KindSection {
    fn check(&self) -> Result<(), String> {
        let lists = [
            ("sizes", self.sizes.len()),
            ("tiers", self.tiers.len()),
            ("ratios", self.ratios.len()),
            ("frames_per_second", self.frames_per_second.len()),
            ("qualities", self.qualities.len()),
            ("styles", self.styles.len()),
            ("movement_amplitudes", self.movement_amplitudes.len()),
            ("shot_types", self.shot_types.len()),
        ];
        if let Some((field, _)) = lists.into_iter().find(|(_, length)| *length > MOST_ENTRIES) {
            return Err(format!("{field}: must have at most {MOST_ENTRIES} entries"));
        }
        if self.prompt_characters == Some(0) {
            return Err("prompt_characters: must be 1 or more".to_owned());
        }
        if !(1..=MOST_RESULTS).contains(&self.most_results.unwrap_or(1)) {
            return Err(format!("most_results: must be 1 to {MOST_RESULTS}"));
        }
        self.check_frame()?;
        self.check_seconds()?;
        self.pictures.check(self.kind.into())
    }

    fn check_frame(&self) -> Result<(), String> {
        let by_pixels = !self.sizes.is_empty() || self.custom_sizes.is_some();
        if by_pixels && (!self.tiers.is_empty() || !self.ratios.is_empty()) {
            return Err(
                "sizes: must not stand beside tiers or ratios; write 1280x720 720P 16:9 to give a size these names".to_owned()
            );
        }
        if self.sizes.is_empty() && self.custom_sizes.is_none() && self.default_size.is_some() {
            return Err("default_size: must stand beside sizes".to_owned());
        }
        if let Some(custom) = self.custom_sizes
            && (custom.fewest_side == 0 || custom.fewest_side > custom.most_side || custom.multiple == Some(0))
        {
            return Err("custom_sizes: must have a fewest_side of 1 to most_side, and a multiple of 1 or more".to_owned());
        }
        if let Some(SizeText(default)) = self.default_size
            && !self.sizes.iter().any(|row| row.0.size == default.size)
            && !self.custom_sizes.is_some_and(|custom| custom.rule().contains(default.size))
        {
            return Err("default_size: must be one of the sizes".to_owned());
        }
        if let Some(TierText(default)) = self.default_tier
            && !self.tiers.iter().any(|tier| tier.0 == default)
        {
            return Err("default_tier: must be one of the tiers".to_owned());
        }
        if let Some(RatioText(default)) = self.default_ratio
            && !self.ratios.iter().any(|ratio| ratio.0 == default)
        {
            return Err("default_ratio: must be one of the ratios".to_owned());
        }
        Ok(())
    }

    fn check_seconds(&self) -> Result<(), String> {
        let allowed = |seconds: u32| match &self.seconds {
            None => false,
            Some(SecondsSection::Listed(listed)) => listed.contains(&seconds),
            Some(SecondsSection::Between(from, to)) => (*from..=*to).contains(&seconds),
        };
        let bounds = match &self.seconds {
            None => Some((1, 1)),
            Some(SecondsSection::Listed(listed)) => listed.iter().min().copied().zip(listed.iter().max().copied()),
            Some(SecondsSection::Between(from, to)) => Some((*from, *to)),
        };
        if !bounds.is_some_and(|(fewest, most)| fewest >= 1 && fewest <= most && most <= MOST_SECONDS) {
            return Err(format!("seconds: must be lengths of 1 to {MOST_SECONDS}"));
        }
        match self.default_seconds {
            Some(default) if !allowed(default) => Err("default_seconds: must be one of the seconds".to_owned()),
            _ => Ok(()),
        }
    }

    fn mode(&self) -> Mode {
        let kind = GenerationKind::from(self.kind);
        // Without a picture there is nothing else to go by.
        let required = self.prompt_required.unwrap_or(matches!(kind, GenerationKind::TextToVideo | GenerationKind::TextToImage));
        let most_characters = self.prompt_characters.map_or(OWN_PROMPT_BOUND, |most| most as usize);
        let words = |words: &[String]| kept(words.iter().map(|word| kept_text(word.clone())).collect());
        let mut mode = Mode::plain(kind, PromptRule { required, most_characters });
        mode.negative_prompt_characters = self.negative_prompt_characters.map(|most| most as usize);
        mode.frame = self.frame();
        mode.seconds = self.seconds();
        mode.frames_per_second = kept(self.frames_per_second.clone());
        mode.most_seed = self.most_seed;
        mode.most_results = self.most_results.unwrap_or(1);
        mode.pictures = self.pictures.rule();
        mode.audio = self.audio.map_or(Switch::Never, Into::into);
        mode.audio_link = self.audio_link;
        mode.watermark = self.watermark.map_or(Switch::Untold, Into::into);
        mode.prompt_extension = self.prompt_extension.map_or(Switch::Never, Into::into);
        mode.fast_pretreatment = self.fast_pretreatment.map_or(Switch::Never, Into::into);
        mode.qualities = words(&self.qualities);
        mode.styles = words(&self.styles);
        mode.movement_amplitudes = words(&self.movement_amplitudes);
        mode.shot_types = words(&self.shot_types);
        mode.camera = self.camera;
        mode
    }

    fn frame(&self) -> FrameRule {
        if !self.sizes.is_empty() || self.custom_sizes.is_some() {
            return FrameRule::Sizes {
                rows: kept(self.sizes.iter().map(|row| row.0).collect()),
                default: self.default_size.map(|row| row.0.size),
                custom: self.custom_sizes.map(CustomSection::rule),
            };
        }
        let tiers = kept(self.tiers.iter().map(|tier| tier.0).collect());
        let default_tier = self.default_tier.map(|tier| tier.0);
        match (tiers.is_empty(), self.ratios.is_empty()) {
            (true, true) => FrameRule::Untold,
            (false, true) => FrameRule::Tiers { tiers, default: default_tier },
            (_, false) => FrameRule::TiersAndRatios {
                tiers,
                default_tier,
                ratios: kept(self.ratios.iter().map(|ratio| ratio.0).collect()),
                default_ratio: self.default_ratio.map(|ratio| ratio.0),
                rows: &[],
            },
        }
    }

    fn seconds(&self) -> SecondsRule {
        match &self.seconds {
            None => SecondsRule::Untold,
            Some(SecondsSection::Listed(listed)) => match (listed.as_slice(), self.default_seconds) {
                ([only], _) => SecondsRule::Always { seconds: *only, sent: true },
                (_, default) => SecondsRule::Listed {
                    allowed: kept(listed.clone()),
                    default: default.or(listed.first().copied()).unwrap_or(1),
                },
            },
            Some(SecondsSection::Between(fewest, most)) => {
                SecondsRule::Between { fewest: *fewest, most: *most, default: self.default_seconds }
            }
        }
    }
}

impl CustomSection {
    fn rule(self) -> CustomSizes {
        CustomSizes {
            fewest_side: self.fewest_side,
            most_side: self.most_side,
            multiple: self.multiple.unwrap_or(1),
            most_pixels: self.most_pixels.unwrap_or(u64::MAX),
        }
    }
}

impl PicturesSection {
    fn slots(&self) -> impl Iterator<Item = (&'static str, PictureSlot)> {
        [
            ("first_frame", PictureRole::FirstFrame, self.first_frame),
            ("last_frame", PictureRole::LastFrame, self.last_frame),
            ("reference", PictureRole::Reference, self.reference),
        ]
        .into_iter()
        .filter_map(|(field, role, slot)| slot.map(|slot| (field, PictureSlot { role, fewest: slot.fewest, most: slot.most })))
    }

    fn check(&self, kind: GenerationKind) -> Result<(), String> {
        for (field, slot) in self.slots() {
            if slot.fewest > slot.most || !(1..=MOST_PICTURES).contains(&slot.most) {
                return Err(format!("pictures: {field}: must have a most of 1 to {MOST_PICTURES}, and a fewest of 0 to most"));
            }
        }
        let from_text = matches!(kind, GenerationKind::TextToVideo | GenerationKind::TextToImage);
        if from_text == self.slots().next().is_some() {
            let must = if from_text { "must have no pictures" } else { "must have first_frame, last_frame or reference" };
            return Err(format!("pictures: {must}"));
        }
        if !(1..=MOST_PICTURE_MIB).contains(&self.most_mib.unwrap_or(1)) {
            return Err(format!("pictures: most_mib: must be 1 to {MOST_PICTURE_MIB}"));
        }
        if self.most_aspect_percent.is_some_and(|percent| percent < 100) {
            return Err("pictures: most_aspect_percent: must be 100 or more".to_owned());
        }
        Ok(())
    }

    fn rule(&self) -> PictureRule {
        let usual = PictureRule::NONE;
        let formats: Vec<PictureFormat> = self.formats.iter().copied().map(Into::into).collect();
        PictureRule {
            slots: kept(self.slots().map(|(_, slot)| slot).collect()),
            formats: if formats.is_empty() { usual.formats } else { kept(formats) },
            most_bytes: self.most_mib.map_or(usual.most_bytes, |most| most << 20),
            fewest_side: self.fewest_side.unwrap_or(usual.fewest_side),
            most_side: self.most_side.unwrap_or(usual.most_side),
            most_aspect_percent: self.most_aspect_percent.unwrap_or(usual.most_aspect_percent),
            ..usual
        }
    }
}
