//! Models that the operator tells of, in the words of the wires that know none by themselves.

use crate::domain::{InputNames, OfferedName, PictureForm, ToldModel};
use crate::providers::described::{DescribedModel, DescriptionError, Inputs, SecondsInput, SizeInput};
use crate::providers::openai::{ResponseFormat, ServedModel};

/// Most results of a request where it is not told.
const USUAL_MOST_RESULTS: u32 = 4;
/// Most pictures of what appears where it is not told.
const USUAL_MOST_REFERENCES: u32 = 4;

/// Why a model that was told of cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToldError {
    /// What a wire says of it.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// Sizes have several names, or half of one.
    #[error("model '{0}': inputs: a size is width and height, or size, or size_object, or tier and ratio; name one of these")]
    Size(String),
    /// Lengths have two names.
    #[error("model '{0}': inputs: a length is seconds or seconds_text; name one of these")]
    Seconds(String),
    /// Words of which none is allowed.
    #[error("model '{model}': {list}: is empty; list those that the input '{input}' takes")]
    Words {
        /// The model.
        model: String,
        /// The list.
        list: &'static str,
        /// The input.
        input: &'static str,
    },
}

/// Models of a service that speaks OpenAI's dialect.
pub(super) fn served(models: &[OfferedName]) -> Result<Vec<ServedModel>, ToldError> {
    let served = |model: &OfferedName| {
        let mut served = ServedModel::new(&model.name, &model.told.kinds)?;
        served.response_format = model.told.response_format.map(|form| match form {
            PictureForm::Url => ResponseFormat::Url,
            PictureForm::Base64 => ResponseFormat::Base64,
        });
        Ok(served)
    };
    models.iter().map(served).collect()
}

/// Models of a service that runs anybody's.
pub(super) fn described(models: &[OfferedName]) -> Result<Vec<DescribedModel>, ToldError> {
    let described = |model: &OfferedName| {
        let inputs = inputs(&model.name, &model.told)?;
        let mut described = DescribedModel::new(&model.name, &model.told.kinds, inputs)?;
        described.results.clone_from(&model.told.results);
        Ok(described)
    };
    models.iter().map(described).collect()
}

fn inputs(model: &str, told: &ToldModel) -> Result<Inputs, ToldError> {
    let names = told.inputs.clone();
    let size = size(model, told)?;
    let seconds = match (names.seconds, names.seconds_text) {
        (None, None) => None,
        (Some(name), None) => Some(SecondsInput { name, as_text: false, allowed: told.seconds.clone() }),
        (None, Some(name)) => Some(SecondsInput { name, as_text: true, allowed: told.seconds.clone() }),
        (Some(_), Some(_)) => return Err(ToldError::Seconds(model.to_owned())),
    };
    let most_references = told.most_references.unwrap_or(USUAL_MOST_REFERENCES) as usize;
    Ok(Inputs {
        prompt: names.prompt.unwrap_or_else(|| "prompt".to_owned()),
        negative_prompt: names.negative_prompt,
        size,
        seconds,
        seed: names.seed,
        count: names.count.map(|name| (name, told.most_results.unwrap_or(USUAL_MOST_RESULTS))),
        first_frame: names.first_frame,
        last_frame: names.last_frame,
        references: names.references.map(|name| (name, most_references)),
        audio: names.audio,
        fixed: told.fixed.clone().into_iter().collect(),
    })
}

fn size(model: &str, told: &ToldModel) -> Result<Option<SizeInput>, ToldError> {
    let InputNames { size, size_object, width, height, tier, ratio, .. } = told.inputs.clone();
    if width.is_some() != height.is_some() {
        return Err(ToldError::Size(model.to_owned()));
    }
    match (size, size_object, width.zip(height), tier, ratio) {
        (Some(name), None, None, None, None) => Ok(Some(SizeInput::Text(name))),
        (None, Some(name), None, None, None) => Ok(Some(SizeInput::Object(name))),
        (None, None, Some((width, height)), None, None) => Ok(Some(SizeInput::WidthAndHeight { width, height })),
        (None, None, None, None, None) => Ok(None),
        (None, None, None, tier, ratio) => {
            let missing = |list, input| ToldError::Words { model: model.to_owned(), list, input };
            if tier.is_some() && told.tiers.is_empty() {
                return Err(missing("tiers", "tier"));
            }
            if ratio.is_some() && told.ratios.is_empty() {
                return Err(missing("ratios", "ratio"));
            }
            let tier = tier.map(|name| (name, told.tiers.clone()));
            Ok(Some(SizeInput::Words { tier, ratio: ratio.map(|name| (name, told.ratios.clone())) }))
        }
        _ => Err(ToldError::Size(model.to_owned())),
    }
}
