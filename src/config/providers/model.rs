//! A model of a provider as people write it, and what that means.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::document::TierWord;
use crate::config::number::Whole;
use crate::domain::{Frame, GenerationKind, InputNames, ModelId, OfferedName, PictureForm, ProviderKind, Ratio, ToldModel};

/// A model's name, or more of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    id: Option<ModelId>,
    model: String,
    kinds: Option<Vec<GenerationKind>>,
    inputs: Option<InputNames>,
    fixed: Option<BTreeMap<String, serde_json::Value>>,
    tiers: Option<Vec<TierWord>>,
    ratios: Option<Vec<RatioText>>,
    seconds: Option<Vec<Whole<1, 3600>>>,
    most_results: Option<Whole<1, 100>>,
    most_references: Option<Whole<1, 100>>,
    results: Option<String>,
    response_format: Option<PictureForm>,
    wire_name: Option<String>,
    bot: Option<u64>,
}

/// A model of the list.
#[derive(Debug)]
pub(super) struct ModelSection(Told);

impl<'de> Deserialize<'de> for ModelSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrMore;
        impl<'de> Visitor<'de> for NameOrMore {
            type Value = ModelSection;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a model's name, or { id: what clients call it, model: its name }")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<ModelSection, E> {
                Ok(ModelSection(Told { model: name.to_owned(), ..Told::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ModelSection, A::Error> {
                Told::deserialize(MapAccessDeserializer::new(map)).map(ModelSection)
            }
        }
        deserializer.deserialize_any(NameOrMore)
    }
}

impl ModelSection {
    /// What it means at a provider of a kind. Fails with a sentence.
    pub(super) fn resolve(self, kind: ProviderKind) -> Result<OfferedName, String> {
        let told = self.0;
        let name = shown(&told.model);
        let foreign = told.names().find(|name| !kind.model_settings().contains(name));
        if let Some(setting) = foreign {
            return Err(format!("models: '{name}': {setting}: nothing that is told of models of the kind {}", kind.as_str()));
        }
        let id = match told.id {
            Some(id) => id,
            None => told
                .model
                .parse()
                .map_err(|_| format!("models: '{name}' is no name that clients can use; write {{ id: ..., model: ... }}"))?,
        };
        if kind.model_settings().contains(&"kinds") && told.kinds.as_ref().is_none_or(Vec::is_empty) {
            return Err(format!("models: '{name}': kinds: is missing; say what it makes, such as [text_to_image]"));
        }
        let told_model = ToldModel {
            kinds: told.kinds.unwrap_or_default(),
            inputs: told.inputs.unwrap_or_default(),
            fixed: told.fixed.unwrap_or_default(),
            tiers: told.tiers.unwrap_or_default().into_iter().map(|tier| tier.0).collect(),
            ratios: told.ratios.unwrap_or_default().into_iter().map(|ratio| ratio.0).collect(),
            seconds: told.seconds.unwrap_or_default().into_iter().map(|seconds| seconds.0 as u32).collect(),
            most_results: told.most_results.map(|most| most.0 as u32),
            most_references: told.most_references.map(|most| most.0 as u32),
            results: told.results,
            response_format: told.response_format,
            wire_name: told.wire_name,
            bot: told.bot,
        };
        Ok(OfferedName { id, name: told.model, told: told_model })
    }
}

impl Told {
    /// What is told beside the names.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        [
            ("kinds", self.kinds.is_some()),
            ("inputs", self.inputs.is_some()),
            ("fixed", self.fixed.is_some()),
            ("tiers", self.tiers.is_some()),
            ("ratios", self.ratios.is_some()),
            ("seconds", self.seconds.is_some()),
            ("most_results", self.most_results.is_some()),
            ("most_references", self.most_references.is_some()),
            ("results", self.results.is_some()),
            ("response_format", self.response_format.is_some()),
            ("wire_name", self.wire_name.is_some()),
            ("bot", self.bot.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_told)| is_told.then_some(name))
    }
}

/// A shape as it is written.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct RatioText(Ratio);

impl TryFrom<String> for RatioText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        match text.parse() {
            Ok(Frame::Ratio(ratio)) => Ok(Self(ratio)),
            _ => Err("must be a ratio such as 16:9"),
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}
