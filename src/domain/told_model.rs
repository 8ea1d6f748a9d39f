//! What the operator tells of a provider's model that the code has no table of.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::frame::{Ratio, Tier};
use super::generation_kind::GenerationKind;

/// A model as it is told. What a kind of providers has no use for is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldModel {
    /// What it makes.
    pub kinds: Vec<GenerationKind>,
    /// How its inputs are called.
    pub inputs: InputNames,
    /// Inputs that are always sent.
    pub fixed: BTreeMap<String, serde_json::Value>,
    /// The tiers of sizes that it takes.
    pub tiers: Vec<Tier>,
    /// The shapes that it takes.
    pub ratios: Vec<Ratio>,
    /// The lengths that it takes, seconds.
    pub seconds: Vec<u32>,
    /// Most results of a request.
    pub most_results: Option<u32>,
    /// Most pictures of what appears.
    pub most_references: Option<u32>,
    /// Where results are in its output, a JSON pointer.
    pub results: Option<String>,
    /// How its pictures shall come.
    pub response_format: Option<PictureForm>,
    /// What it is called in calls, where that is another name.
    pub wire_name: Option<String>,
    /// The number that stands for it in calls.
    pub bot: Option<u64>,
}

/// How a model's inputs are called. What has no name cannot be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputNames {
    /// The prompt; absent: `prompt`.
    pub prompt: Option<String>,
    /// What should not be seen.
    pub negative_prompt: Option<String>,
    /// The size, as `1024x1024`.
    pub size: Option<String>,
    /// The size, as an object with `width` and `height`.
    pub size_object: Option<String>,
    /// The width, beside the height.
    pub width: Option<String>,
    /// The height, beside the width.
    pub height: Option<String>,
    /// The tier, as `720p`.
    pub tier: Option<String>,
    /// The shape, as `16:9`.
    pub ratio: Option<String>,
    /// The length, a number.
    pub seconds: Option<String>,
    /// The length, a text.
    pub seconds_text: Option<String>,
    /// The seed.
    pub seed: Option<String>,
    /// How many.
    pub count: Option<String>,
    /// The picture that a film begins with.
    pub first_frame: Option<String>,
    /// The picture that it ends with.
    pub last_frame: Option<String>,
    /// Pictures of what appears.
    pub references: Option<String>,
    /// Sound, on or off.
    pub audio: Option<String>,
}

/// How pictures come from a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureForm {
    /// Behind links.
    Url,
    /// In the answer.
    Base64,
}
