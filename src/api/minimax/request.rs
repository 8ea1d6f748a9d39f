//! The fields of `POST /v1/video_generation`, and the film that they ask for.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorKind};
use crate::api::film_submission::{FilmOrder, OrderedFile};
use crate::api::target::Target;
use crate::api::whole_number::WholeNumber;
use crate::domain::{RemoteOptions, Tier};
use crate::models::film_parameters::{FilmParameters, SceneParameters};
use crate::models::film_size::AskedSize;

/// Longest prompt, characters.
const MOST_PROMPT_CHARACTERS: usize = 2000;
/// How long a film of this server is that names no duration, seconds.
const DEFAULT_SECONDS: f64 = 6.0;
/// The resolutions that models of this server make.
const OWN_TIERS: [Tier; 4] = [Tier::P512, Tier::P720, Tier::P768, Tier::P1080];

/// MiniMax's fields.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct VideoGenerationRequest {
    /// The model: one of this server, of a provider, or a route; absent: the default one.
    #[schema(example = "MiniMax-Hailuo-02")]
    pub(super) model: Option<String>,
    /// What the film shows, at most 2,000 characters; camera commands in square brackets. Needed where there is no picture.
    #[schema(example = "a ship on the sea [Push in]")]
    prompt: Option<String>,
    /// Whether the prompt is rewritten.
    pub(super) prompt_optimizer: Option<bool>,
    /// Whether that is made shorter.
    pub(super) fast_pretreatment: Option<bool>,
    /// Seconds; absent: 6.
    #[schema(value_type = Option<u32>, example = 6)]
    duration: Option<WholeNumber>,
    /// `512P`, `720P`, `768P` or `1080P`, the short side, or what else the model makes, such as `2K`; absent: the model's own.
    #[schema(example = "768P")]
    resolution: Option<String>,
    /// The picture that the film begins with: a link or a data URL.
    first_frame_image: Option<String>,
    /// The picture that it ends with.
    last_frame_image: Option<String>,
    /// Who appears: `[{"type": "character", "image": ["…"]}]`, one subject with one picture.
    #[schema(value_type = Option<Vec<Object>>)]
    subject_reference: Option<Vec<SubjectReference>>,
    /// Who is told how it goes, by POST: in the query's words, once the receiver has given back the challenge that it is sent first.
    pub(super) callback_url: Option<String>,
    /// Whether the film is marked as made by a machine.
    pub(super) aigc_watermark: Option<bool>,
}

/// Who appears.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct SubjectReference {
    /// `character`.
    #[serde(rename = "type")]
    kind: String,
    /// A list of one picture; clients also send the picture alone.
    #[schema(value_type = Vec<String>)]
    image: Value,
}

impl VideoGenerationRequest {
    /// The fields that models of this server make nothing of.
    pub(super) fn of_providers_alone(&self) -> Vec<&'static str> {
        let given = [
            ("prompt_optimizer", self.prompt_optimizer.is_some()),
            ("fast_pretreatment", self.fast_pretreatment.is_some()),
            ("aigc_watermark", self.aigc_watermark.is_some()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(field, _)| field).collect()
    }

    /// The film that it asks for; the model and the callback stay behind.
    pub(super) fn into_order(self, target: &Target) -> Result<FilmOrder, ApiError> {
        let references = self.subject_reference.map_or_else(|| Ok(Vec::new()), pictures_of)?;
        let has_picture = self.first_frame_image.is_some() || self.last_frame_image.is_some() || !references.is_empty();
        let characters = self.prompt.as_deref().map_or(0, |prompt| prompt.chars().count());
        if characters > MOST_PROMPT_CHARACTERS {
            let problem = format!("has {characters} characters; allowed: at most {MOST_PROMPT_CHARACTERS}");
            return Err(ApiError::invalid("prompt", problem));
        }
        if !has_picture && self.prompt.as_deref().is_none_or(|prompt| prompt.trim().is_empty()) {
            return Err(ApiError::about(ErrorKind::MissingField, "prompt", "is missing; it is needed where there is no picture"));
        }
        let scene = SceneParameters {
            prompt: self.prompt,
            duration: self.duration.map(|seconds| seconds.0 as f64),
            ..SceneParameters::default()
        };
        let resolution = self.resolution.as_deref().map(|text| tier(text, target)).transpose()?;
        let parameters = FilmParameters {
            scenes: vec![scene],
            size: AskedSize { resolution: resolution.map(|tier| tier.name().to_owned()), ..AskedSize::default() },
            ..FilmParameters::default()
        };
        let options = RemoteOptions {
            watermark: self.aigc_watermark,
            prompt_extension: self.prompt_optimizer,
            fast_pretreatment: self.fast_pretreatment,
            ..RemoteOptions::default()
        };
        Ok(FilmOrder {
            parameters,
            images: vec![self.first_frame_image.map(OrderedFile::Text)],
            last_frame: self.last_frame_image.map(OrderedFile::Text),
            references,
            default_seconds: Some(DEFAULT_SECONDS),
            options,
            ..FilmOrder::default()
        })
    }
}

fn tier(text: &str, target: &Target) -> Result<Tier, ApiError> {
    let tiers = tiers_of(target);
    tiers.iter().copied().find(|tier| tier.name().eq_ignore_ascii_case(text.trim())).ok_or_else(|| {
        let shown: String = text.chars().take(32).collect();
        let allowed: Vec<&str> = tiers.iter().map(|tier| tier.name()).collect();
        let allowed = if allowed.is_empty() { "none: the model decides".to_owned() } else { allowed.join(", ") };
        ApiError::invalid("resolution", format!("is '{shown}'; allowed: {allowed}"))
    })
}

/// The tiers that a model can be asked for in some mode; which of them in the mode that is asked for is its table's business. Of a route all,
/// since each of its targets is asked.
fn tiers_of(target: &Target) -> Vec<Tier> {
    match target {
        Target::Local => OWN_TIERS.to_vec(),
        Target::Route(_) => Tier::ALL.to_vec(),
        Target::Offered(model) => {
            Tier::ALL.into_iter().filter(|tier| model.modes.iter().any(|mode| mode.frame.has_tier(*tier))).collect()
        }
    }
}

fn pictures_of(subjects: Vec<SubjectReference>) -> Result<Vec<OrderedFile>, ApiError> {
    const FIELD: &str = "subject_reference";
    let count = subjects.len();
    let Ok([subject]) = <[SubjectReference; 1]>::try_from(subjects) else {
        return Err(ApiError::invalid(FIELD, format!("has {count} subjects; allowed: 1")));
    };
    if subject.kind != "character" {
        let shown: String = subject.kind.chars().take(32).collect();
        return Err(ApiError::invalid(FIELD, format!("has the type '{shown}'; allowed: character")));
    }
    let pictures = match subject.image {
        Value::Array(pictures) => pictures,
        picture => vec![picture],
    };
    match &*pictures {
        [Value::String(picture)] => Ok(vec![OrderedFile::Text(picture.clone())]),
        [_] => Err(ApiError::invalid(FIELD, "has an image that is no text; write a link or a data URL")),
        pictures => Err(ApiError::invalid(FIELD, format!("has {} images; allowed: 1", pictures.len()))),
    }
}

/// Native field names become this surface's own.
pub(super) fn in_minimax_words(error: ApiError) -> ApiError {
    let field = match error.field() {
        Some("scenes[0].prompt" | "scenes[0].camera") => "prompt",
        Some("scenes[0].duration") => "duration",
        Some("scenes[0].image") => "first_frame_image",
        Some("last_frame") => "last_frame_image",
        Some("references" | "references[0]") => "subject_reference",
        Some("size" | "width" | "height") => "resolution",
        Some("watermark") => "aigc_watermark",
        Some("prompt_extension") => "prompt_optimizer",
        _ => return error,
    };
    error.renamed(field)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn order(body: Value) -> Result<FilmOrder, ApiError> {
        serde_json::from_value::<VideoGenerationRequest>(body).unwrap().into_order(&Target::Local)
    }

    #[test]
    fn fields_become_a_film() {
        let order = order(json!({
            "model": "MiniMax-Hailuo-02", "prompt": "x [Push in]", "duration": 10, "resolution": "1080p",
            "prompt_optimizer": false, "fast_pretreatment": true, "aigc_watermark": true,
            "first_frame_image": "https://a/b.png", "last_frame_image": "https://a/c.png",
        }))
        .unwrap();
        let scene = &order.parameters.scenes[0];
        assert_eq!((scene.prompt.as_deref(), scene.duration), (Some("x [Push in]"), Some(10.0)));
        assert_eq!(order.parameters.size.resolution.as_deref(), Some("1080P"));
        let RemoteOptions { prompt_extension, fast_pretreatment, watermark, .. } = order.options;
        assert_eq!((prompt_extension, fast_pretreatment, watermark), (Some(false), Some(true), Some(true)));
        assert!(order.images[0].is_some() && order.last_frame.is_some());
    }

    #[rstest]
    #[case::list(json!([{"type": "character", "image": ["https://a/b.png"]}]))]
    #[case::alone(json!([{"type": "character", "image": "https://a/b.png"}]))]
    fn a_subject_has_a_picture_or_a_list_of_one(#[case] subject: Value) {
        assert_eq!(order(json!({"subject_reference": subject})).unwrap().references.len(), 1);
    }

    #[rstest]
    #[case::no_prompt(json!({}), "prompt", "is missing")]
    #[case::blank(json!({"prompt": "  "}), "prompt", "is missing")]
    #[case::long(json!({"prompt": "字".repeat(2001)}), "prompt", "has 2001 characters; allowed: at most 2000")]
    #[case::tier(json!({"prompt": "x", "resolution": "4K"}), "resolution", "512P, 720P, 768P, 1080P")]
    #[case::two_subjects(json!({"subject_reference": [{"type": "character", "image": "a"}, {"type": "character", "image": "b"}]}), "subject_reference", "has 2 subjects")]
    #[case::no_subject(json!({"subject_reference": []}), "subject_reference", "has 0 subjects")]
    #[case::two_pictures(json!({"subject_reference": [{"type": "character", "image": ["a", "b"]}]}), "subject_reference", "has 2 images")]
    #[case::no_text(json!({"subject_reference": [{"type": "character", "image": [1]}]}), "subject_reference", "no text")]
    #[case::type_of_subject(json!({"subject_reference": [{"type": "dog", "image": "a"}]}), "subject_reference", "allowed: character")]
    fn what_is_wrong_is_said(#[case] body: Value, #[case] field: &str, #[case] words: &str) {
        let error = order(body).unwrap_err();
        assert_eq!(error.field(), Some(field));
        assert!(error.message().contains(words), "{}", error.message());
    }

    #[test]
    fn a_prompt_is_counted_in_characters() {
        assert!(order(json!({"prompt": "字".repeat(2000)})).is_ok());
    }
}
