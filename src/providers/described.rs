//! Models of which the code has no table: what the operator says that they take, and by which names.
//!
//! Services that run anybody's models have as many forms of input as models. So a model's inputs are named one by one: what has a name can
//! be asked for, within the limits that are told or else our own, and what has none is refused before anything is sent.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::body::{MOST_RESULTS, link, side};
use super::capabilities::{
    CustomSizes, FrameRule, Mode, Model, OWN_PROMPT_BOUND, PictureRule, PictureSlot, PromptRule, SecondsRule, Switch, kept,
    kept_text,
};
use super::frame::{PixelSize, Ratio, Tier};
use super::outcome::{RemoteResult, ResultKind, ResultSource};
use super::request::{GenerationKind, Picture, PictureFormat, PictureRole};
use super::validate::{FrameChoice, RequestRefusal, Validated};

/// Longest film that is asked of a model whose limits nobody told, seconds.
const OWN_MOST_SECONDS: u32 = 120;
/// Largest seed where nobody told one: what every language reads as a whole number.
const OWN_MOST_SEED: u64 = 4_294_967_295;
/// Sizes where nobody told limits.
const OWN_SIZES: CustomSizes = CustomSizes { fewest_side: 16, most_side: 8192, multiple: 1, most_pixels: 1 << 25 };
/// How deep results are looked for: in an array, in objects of it, behind a name of these.
const RESULT_DEPTH: u32 = 4;

/// How a model's inputs are called. What is `None` it has not.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// The prompt.
    pub prompt: String,
    /// What should not be seen.
    pub negative_prompt: Option<String>,
    /// How large.
    pub size: Option<SizeInput>,
    /// How long.
    pub seconds: Option<SecondsInput>,
    /// The seed.
    pub seed: Option<String>,
    /// How many, with the most of them.
    pub count: Option<(String, u32)>,
    /// The picture that a film begins with.
    pub first_frame: Option<String>,
    /// The picture that it ends with.
    pub last_frame: Option<String>,
    /// Pictures of what appears, an array, with the most of them.
    pub references: Option<(String, usize)>,
    /// Sound that the model makes, on or off.
    pub audio: Option<String>,
    /// What is always sent. What a request says by one of the names above stands in its place.
    pub fixed: Map<String, Value>,
}

impl Default for Inputs {
    /// A prompt called `prompt`, and nothing else.
    fn default() -> Self {
        Self {
            prompt: "prompt".to_owned(),
            negative_prompt: None,
            size: None,
            seconds: None,
            seed: None,
            count: None,
            first_frame: None,
            last_frame: None,
            references: None,
            audio: None,
            fixed: Map::new(),
        }
    }
}

/// How a model is told a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SizeInput {
    /// As two numbers.
    WidthAndHeight {
        /// The input for the width.
        width: String,
        /// The input for the height.
        height: String,
    },
    /// As a text, `1024x1024`.
    Text(String),
    /// As an object with `width` and `height`.
    Object(String),
    /// As a tier (`720p`), a ratio (`16:9`), or both.
    Words {
        /// The input for the tier, with those it takes.
        tier: Option<(String, Vec<Tier>)>,
        /// The input for the ratio, with those it takes.
        ratio: Option<(String, Vec<Ratio>)>,
    },
}

/// How a model is told a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondsInput {
    /// The input.
    pub name: String,
    /// Whether it is a text rather than a number.
    pub as_text: bool,
    /// The lengths it takes; empty: any, within our bound.
    pub allowed: Vec<u32>,
}

/// A model as the operator describes it.
#[derive(Clone, Debug)]
pub struct DescribedModel {
    /// Its name at the provider.
    pub name: String,
    /// How its inputs are called.
    pub inputs: Inputs,
    /// What it makes, with its limits. [`Self::new`] makes them of the names alone; where more is known, they may be narrowed.
    pub modes: Vec<Mode>,
    /// Where in its output its results are, as a JSON pointer; none: where they usually are.
    pub results: Option<String>,
}

/// A description that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// No name of a model here.
    #[error("model: '{name}' is no name of a model here; write it as {form}")]
    Name {
        /// As it was told.
        name: String,
        /// As names are written.
        form: &'static str,
    },
    /// Two models of one name.
    #[error("model: '{0}' is described twice")]
    Twice(String),
    /// Nothing that it makes, or both pictures and films.
    #[error("model '{0}': name what it makes, either pictures or films")]
    Kinds(String),
    /// A kind that needs an input which has no name.
    #[error("model '{model}': {kind} needs a name for the input '{input}'")]
    Missing {
        /// The model.
        model: String,
        /// What it should make.
        kind: &'static str,
        /// The input.
        input: &'static str,
    },
    /// An input's name that is empty, or two inputs of one.
    #[error("model '{model}': the name '{name}' of an input is empty or stands for two")]
    Input {
        /// The model.
        model: String,
        /// The name.
        name: String,
    },
    /// No JSON pointer.
    #[error("model '{0}': results: write a JSON pointer, like /video/url")]
    Pointer(String),
}

impl DescribedModel {
    /// A model that makes `kinds`, of which nothing is known but its inputs' names. Fails with [`DescriptionError`].
    pub fn new(name: impl Into<String>, kinds: &[GenerationKind], inputs: Inputs) -> Result<Self, DescriptionError> {
        let name = name.into();
        inputs.check(&name)?;
        let modes = kinds.iter().map(|kind| inputs.mode(&name, *kind)).collect::<Result<_, _>>()?;
        Ok(Self { name, inputs, modes, results: None })
    }
}

impl Inputs {
    fn names(&self) -> Vec<&str> {
        let mut names = vec![self.prompt.as_str()];
        let single = [&self.negative_prompt, &self.seed, &self.first_frame, &self.last_frame, &self.audio];
        names.extend(single.into_iter().flatten().map(String::as_str));
        names.extend(self.count.iter().map(|(name, _)| name.as_str()));
        names.extend(self.references.iter().map(|(name, _)| name.as_str()));
        names.extend(self.seconds.iter().map(|seconds| seconds.name.as_str()));
        match &self.size {
            None => {}
            Some(SizeInput::WidthAndHeight { width, height }) => names.extend([width.as_str(), height.as_str()]),
            Some(SizeInput::Text(name) | SizeInput::Object(name)) => names.push(name),
            Some(SizeInput::Words { tier, ratio }) => {
                names.extend(tier.iter().map(|(name, _)| name.as_str()));
                names.extend(ratio.iter().map(|(name, _)| name.as_str()));
            }
        }
        names
    }

    fn check(&self, model: &str) -> Result<(), DescriptionError> {
        let mut seen = HashSet::new();
        match self.names().into_iter().find(|name| name.is_empty() || !seen.insert(*name)) {
            None => Ok(()),
            Some(name) => Err(DescriptionError::Input { model: model.to_owned(), name: name.to_owned() }),
        }
    }

    /// The rules that follow from the names.
    fn mode(&self, model: &str, kind: GenerationKind) -> Result<Mode, DescriptionError> {
        let missing = |input| DescriptionError::Missing { model: model.to_owned(), kind: kind.name(), input };
        let from_text = matches!(kind, GenerationKind::TextToVideo | GenerationKind::TextToImage);
        let mut mode = Mode::plain(kind, PromptRule { required: from_text, most_characters: OWN_PROMPT_BOUND });
        mode.negative_prompt_characters = self.negative_prompt.as_ref().map(|_| OWN_PROMPT_BOUND);
        mode.frame = self.size.as_ref().map_or(FrameRule::Untold, SizeInput::rule);
        if kind != GenerationKind::TextToImage {
            mode.seconds = self.seconds.as_ref().map_or(SecondsRule::Untold, SecondsInput::rule);
        }
        mode.most_seed = self.seed.as_ref().map(|_| OWN_MOST_SEED);
        mode.most_results = self.count.as_ref().map_or(1, |(_, most)| (*most).max(1));
        mode.audio = if self.audio.is_some() { Switch::Free } else { Switch::Untold };
        let slot = |role, fewest, most| PictureSlot { role, fewest, most };
        let mut slots = Vec::new();
        if matches!(kind, GenerationKind::ImageToVideo | GenerationKind::FirstLastFrame) {
            self.first_frame.as_ref().ok_or_else(|| missing("first_frame"))?;
            slots.push(slot(PictureRole::FirstFrame, 1, 1));
        }
        if kind == GenerationKind::FirstLastFrame {
            self.last_frame.as_ref().ok_or_else(|| missing("last_frame"))?;
            slots.push(slot(PictureRole::LastFrame, 1, 1));
        }
        if kind == GenerationKind::SubjectReference {
            let (_, most) = self.references.as_ref().ok_or_else(|| missing("references"))?;
            slots.push(slot(PictureRole::Reference, 1, (*most).max(1)));
        }
        mode.pictures = PictureRule {
            slots: kept(slots),
            formats: &[PictureFormat::Jpeg, PictureFormat::Png, PictureFormat::Webp],
            ..PictureRule::NONE
        };
        Ok(mode)
    }

    /// The input object of a checked request. Fails with [`RequestRefusal`] for what a told limit allows and no input can say.
    pub(super) fn write(&self, model: &str, checked: &Validated<'_>) -> Result<Map<String, Value>, RequestRefusal> {
        let request = checked.request;
        let mut object = self.fixed.clone();
        let mut put = |field: &'static str, name: Option<&str>, value: Option<Value>| match (name, value) {
            (_, None) => Ok(()),
            (Some(name), Some(value)) => {
                object.insert(name.to_owned(), value);
                Ok(())
            }
            (None, Some(_)) => {
                Err(RequestRefusal::new(field, "a value", model, "none: the model's description has no input for it"))
            }
        };
        put("prompt", Some(&self.prompt), checked.prompt().map(Value::from))?;
        let negative = request.negative_prompt.clone().filter(|negative| !negative.is_empty());
        put("negative_prompt", self.negative_prompt.as_deref(), negative.map(Value::from))?;
        put("seed", self.seed.as_deref(), request.seed.map(Value::from))?;
        let count = (checked.mode.most_results > 1).then(|| Value::from(request.count.unwrap_or(1)));
        put("n", self.count.as_ref().map(|(name, _)| name.as_str()), count)?;
        put("audio", self.audio.as_deref(), Validated::switch(checked.mode.audio, request.audio).map(Value::from))?;
        let as_text = self.seconds.as_ref().is_some_and(|seconds| seconds.as_text);
        let seconds = checked.seconds.map(|seconds| if as_text { seconds.to_string().into() } else { Value::from(seconds) });
        put("seconds", self.seconds.as_ref().map(|seconds| seconds.name.as_str()), seconds)?;
        put("pictures", self.first_frame.as_deref(), checked.picture(PictureRole::FirstFrame).map(Value::from))?;
        put("pictures", self.last_frame.as_deref(), checked.picture(PictureRole::LastFrame).map(Value::from))?;
        let references: Vec<String> = request.pictures_of(PictureRole::Reference).map(Picture::url).collect();
        let references = (!references.is_empty()).then(|| Value::from(references));
        put("pictures", self.references.as_ref().map(|(name, _)| name.as_str()), references)?;
        match (checked.frame, &self.size) {
            (FrameChoice::Untold | FrameChoice::TierAndRatio(None, None), _) => {}
            (FrameChoice::Size(size), Some(SizeInput::WidthAndHeight { width, height })) => {
                put("size", Some(width), Some(size.width.into()))?;
                put("size", Some(height), Some(size.height.into()))?;
            }
            (FrameChoice::Size(size), Some(SizeInput::Text(name))) => put("size", Some(name), Some(size.to_string().into()))?,
            (FrameChoice::Size(PixelSize { width, height }), Some(SizeInput::Object(name))) => {
                put("size", Some(name), Some(json!({ "width": width, "height": height })))?;
            }
            (FrameChoice::TierAndRatio(tier, ratio), Some(SizeInput::Words { tier: tiers, ratio: ratios })) => {
                let tier = tier.map(|tier| Value::from(tier.name().to_ascii_lowercase()));
                put("size", tiers.as_ref().map(|(name, _)| name.as_str()), tier)?;
                let ratio = ratio.map(|ratio| Value::from(ratio.to_string()));
                put("size", ratios.as_ref().map(|(name, _)| name.as_str()), ratio)?;
            }
            (FrameChoice::Size(_) | FrameChoice::TierAndRatio(..), _) => put("size", None, Some(Value::Null))?,
        }
        Ok(object)
    }
}

impl SizeInput {
    fn rule(&self) -> FrameRule {
        match self {
            Self::Words { tier, ratio } => FrameRule::TiersAndRatios {
                tiers: kept(tier.iter().flat_map(|(_, tiers)| tiers.clone()).collect()),
                default_tier: None,
                ratios: kept(ratio.iter().flat_map(|(_, ratios)| ratios.clone()).collect()),
                default_ratio: None,
                rows: &[],
            },
            _ => FrameRule::Sizes { rows: &[], default: None, custom: Some(OWN_SIZES) },
        }
    }
}

impl SecondsInput {
    fn rule(&self) -> SecondsRule {
        match self.allowed.first() {
            Some(first) => SecondsRule::Listed { allowed: kept(self.allowed.clone()), default: *first },
            None => SecondsRule::Between { fewest: 1, most: OWN_MOST_SECONDS, default: None },
        }
    }
}

/// The models of an account, with what was told of each.
#[derive(Clone, Debug)]
pub(super) struct Described {
    models: Vec<Model>,
    details: Vec<Details>,
}

/// What was told of a model beside its limits.
#[derive(Clone, Debug)]
pub(super) struct Details {
    /// How its inputs are called.
    pub(super) inputs: Inputs,
    /// What it makes.
    pub(super) kind: ResultKind,
    results: Option<String>,
}

impl Described {
    /// The models, whose names must have a form. Fails with [`DescriptionError`].
    pub(super) fn new(
        described: Vec<DescribedModel>,
        has_form: fn(&str) -> bool,
        form: &'static str,
    ) -> Result<Self, DescriptionError> {
        let (mut models, mut details): (Vec<Model>, Vec<Details>) = (Vec::new(), Vec::new());
        for DescribedModel { name, inputs, modes, results } in described {
            if !has_form(&name) {
                return Err(DescriptionError::Name { name: name.chars().take(100).collect(), form });
            }
            if models.iter().any(|model| model.is_called(&name)) {
                return Err(DescriptionError::Twice(name));
            }
            inputs.check(&name)?;
            let pictures = modes.iter().filter(|mode| mode.kind == GenerationKind::TextToImage).count();
            if modes.is_empty() || (pictures > 0 && pictures < modes.len()) {
                return Err(DescriptionError::Kinds(name));
            }
            if results.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
                return Err(DescriptionError::Pointer(name));
            }
            let kind = if pictures > 0 { ResultKind::Picture } else { ResultKind::Video };
            models.push(Model { name: kept_text(name), aliases: &[], modes: kept(modes) });
            details.push(Details { inputs, kind, results });
        }
        Ok(Self { models, details })
    }

    pub(super) fn models(&self) -> &[Model] {
        &self.models
    }

    /// What was told of a model.
    pub(super) fn of(&self, name: &str) -> Option<&Details> {
        let at = self.models.iter().position(|model| model.is_called(name))?;
        self.details.get(at)
    }
}

impl Details {
    /// The results in a model's output: those that the operator pointed at, or those at the first of `usual` that has some.
    pub(super) fn results(&self, output: &Value, usual: &[&str]) -> Vec<RemoteResult> {
        let mut results = Vec::new();
        let pointers = self.results.as_deref().map_or_else(|| usual.to_vec(), |pointer| vec![pointer]);
        for pointer in pointers {
            if let Some(value) = output.pointer(pointer) {
                gather(value, self.kind, RESULT_DEPTH, &mut results);
            }
            if !results.is_empty() {
                break;
            }
        }
        results
    }
}

/// Links in a text, an array, an object with a `url`, or what an object holds.
fn gather(value: &Value, kind: ResultKind, depth: u32, results: &mut Vec<RemoteResult>) {
    if depth == 0 || results.len() >= MOST_RESULTS {
        return;
    }
    match value {
        Value::String(text) if text.starts_with("data:") => {
            results.extend(ResultSource::inline(text).map(|source| RemoteResult::new(source, kind)));
        }
        Value::String(_) => {
            results.extend(link(value).map(|link| RemoteResult::new(ResultSource::link(link), kind)));
        }
        Value::Array(values) => values.iter().for_each(|value| gather(value, kind, depth - 1, results)),
        Value::Object(fields) => match fields.get("url") {
            Some(url) => {
                let before = results.len();
                gather(url, kind, depth - 1, results);
                let size = fields.get("width").and_then(side).zip(fields.get("height").and_then(side));
                for result in results.iter_mut().skip(before) {
                    result.size = size.map(|(width, height)| PixelSize { width, height });
                }
            }
            None => fields.values().for_each(|value| gather(value, kind, depth - 1, results)),
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests;
