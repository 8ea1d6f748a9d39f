//! `parameters` of a unified task: the words of Aliyun's and Zhipu's models, for whichever model is named.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::numbers::{Number, Whole};
use crate::api::error::{ApiError, ErrorKind};
use crate::api::film_submission::{FilmOrder, OrderedFile};
use crate::api::submission::{Commission, Submission};
use crate::api::target::Target;
use crate::domain::{Frame, ModelLimits, PixelSize, RemoteOptions};
use crate::models::film_parameters::{FilmParameters, SceneParameters};
use crate::models::film_size::AskedSize;
use crate::models::named_size::size_for_aspect;
use crate::models::parameters::ImageParameters;
use crate::providers::GenerationKind;

/// Most pictures in `image_url`.
const MOST_PICTURES: usize = 3;

/// What a task is to make. Which of these have a meaning depends on the model.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct TaskParameters {
    /// What is seen.
    #[schema(example = "a ship on the sea")]
    prompt: Option<String>,
    /// What is not.
    negative_prompt: Option<String>,
    /// The picture that a film begins with: a link, base64 or a data URL.
    img_url: Option<String>,
    /// The same.
    first_frame_url: Option<String>,
    /// The picture that it ends with.
    last_frame_url: Option<String>,
    /// One to three pictures: the first; the first and the last; or whoever appears, where the model knows no other pictures.
    #[schema(value_type = Option<Vec<String>>)]
    image_url: Option<OneOrSeveral>,
    /// `1280*720` or `1280x720`.
    size: Option<String>,
    /// `720P` and the like.
    resolution: Option<String>,
    /// `16:9` and the like.
    aspect_ratio: Option<String>,
    /// Seconds, a number or a text.
    #[schema(value_type = Option<f64>, example = 5)]
    duration: Option<Number>,
    /// Frames a second.
    #[schema(value_type = Option<f64>)]
    fps: Option<Number>,
    /// Seed.
    #[schema(value_type = Option<u64>)]
    seed: Option<Whole>,
    /// How many pictures.
    #[schema(value_type = Option<u32>)]
    n: Option<Number>,
    /// `speed` or `quality`.
    quality: Option<String>,
    /// Whether a film has sound.
    with_audio: Option<bool>,
    /// Whether the result bears the provider's mark.
    #[serde(alias = "watermark_enabled")]
    watermark: Option<bool>,
    /// Whether the prompt is rewritten.
    prompt_extend: Option<bool>,
    /// `general`, `anime`.
    style: Option<String>,
    /// `auto`, `small`, `medium`, `large`.
    movement_amplitude: Option<String>,
    /// `single`, `multi`.
    shot_type: Option<String>,
    /// Accepted and not looked at.
    #[schema(value_type = Option<Object>)]
    obj_or_bg: Option<Value>,
}

/// A text, or a list of some.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(in crate::api) enum OneOrSeveral {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// The pictures of a film.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pictures {
    first: Option<String>,
    last: Option<String>,
    references: Vec<String>,
}

impl TaskParameters {
    /// The fields that models of this server make nothing of.
    pub(super) fn of_providers_alone(&self) -> Vec<&'static str> {
        let given = [
            ("quality", self.quality.is_some()),
            ("with_audio", self.with_audio.is_some()),
            ("watermark", self.watermark.is_some()),
            ("prompt_extend", self.prompt_extend.is_some()),
            ("style", self.style.is_some()),
            ("movement_amplitude", self.movement_amplitude.is_some()),
            ("shot_type", self.shot_type.is_some()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(field, _)| field).collect()
    }

    /// The fields that nobody makes anything of.
    pub(super) fn of_nobody(&self) -> Option<&'static str> {
        self.obj_or_bg.as_ref().map(|_| "obj_or_bg")
    }

    /// The film that they ask for.
    pub(super) fn into_film(self, commission: &Commission<'_>) -> Result<FilmOrder, ApiError> {
        if self.n.map(|number| number.whole("n")).transpose()?.is_some_and(|films| films != 1) {
            return Err(ApiError::invalid("n", "is not 1; a task makes one film"));
        }
        let options = self.options();
        let resolution = frame(self.size, self.resolution, self.aspect_ratio)?.map(|frame| frame.to_string());
        let can = |kind| match &commission.target {
            Target::Offered(model) => model.modes.iter().any(|mode| mode.kind == kind),
            // First and last frames are what there are without a table.
            Target::Local | Target::Route(_) => kind != GenerationKind::SubjectReference,
        };
        let Pictures { first, last, references } = pictures(
            [("img_url", self.img_url), ("first_frame_url", self.first_frame_url)],
            self.last_frame_url,
            self.image_url,
            &can,
        )?;
        let scene = SceneParameters {
            prompt: self.prompt,
            negative_prompt: self.negative_prompt,
            duration: self.duration.map(|seconds| seconds.0),
            ..SceneParameters::default()
        };
        let parameters = FilmParameters {
            scenes: vec![scene],
            fps: self.fps.map(|rate| rate.0),
            size: AskedSize { resolution, ..AskedSize::default() },
            seed: self.seed.map(|seed| seed.0),
            ..FilmParameters::default()
        };
        Ok(FilmOrder {
            parameters,
            images: vec![first.map(OrderedFile::Text)],
            last_frame: last.map(OrderedFile::Text),
            references: references.into_iter().map(OrderedFile::Text).collect(),
            options,
            ..FilmOrder::default()
        })
    }

    /// The pictures that they ask for.
    pub(super) fn into_pictures(self, limits: &ModelLimits) -> Result<Submission, ApiError> {
        let of_films = [
            ("img_url", self.img_url.is_some()),
            ("first_frame_url", self.first_frame_url.is_some()),
            ("last_frame_url", self.last_frame_url.is_some()),
            ("image_url", self.image_url.is_some()),
            ("duration", self.duration.is_some()),
            ("fps", self.fps.is_some()),
            ("with_audio", self.with_audio.is_some()),
            ("movement_amplitude", self.movement_amplitude.is_some()),
            ("shot_type", self.shot_type.is_some()),
        ];
        if let Some((field, _)) = of_films.into_iter().find(|(_, is_given)| *is_given) {
            return Err(ApiError::about(
                ErrorKind::UnsupportedField,
                field,
                "has a meaning only for films; this model makes pictures",
            ));
        }
        let options = self.options();
        let prompt = self.prompt.filter(|prompt| !prompt.is_empty());
        let prompt = prompt.ok_or_else(|| ApiError::about(ErrorKind::MissingField, "prompt", "is missing"))?;
        let asked = frame(self.size, self.resolution, self.aspect_ratio)?;
        let shape = match asked {
            Some(Frame::Ratio(ratio)) => Some(ratio),
            _ => None,
        };
        let size = match asked {
            None => None,
            Some(Frame::Size(size)) => Some((size.width, size.height)),
            Some(Frame::Ratio(ratio)) => Some(size_for_aspect(limits, f64::from(ratio.width), f64::from(ratio.height))),
            Some(Frame::Tier(_) | Frame::TierAndRatio(..)) => {
                let problem = "has a meaning only for films; name the size of pictures in size";
                return Err(ApiError::about(ErrorKind::UnsupportedField, "resolution", problem));
            }
        };
        let parameters = ImageParameters {
            prompt,
            negative_prompt: self.negative_prompt,
            width: size.map(|(width, _)| width.into()),
            height: size.map(|(_, height)| height.into()),
            shape,
            seed: self.seed.map(|seed| seed.0),
            num_images: self.n.map(|number| number.whole("n")).transpose()?,
            ..ImageParameters::default()
        };
        Ok(Submission { parameters, options, ..Submission::default() })
    }

    fn options(&self) -> RemoteOptions {
        RemoteOptions {
            audio: self.with_audio,
            watermark: self.watermark,
            prompt_extension: self.prompt_extend,
            quality: self.quality.clone(),
            style: self.style.clone(),
            movement_amplitude: self.movement_amplitude.clone(),
            shot_type: self.shot_type.clone(),
            ..RemoteOptions::default()
        }
    }
}

/// How large the result is.
fn frame(size: Option<String>, resolution: Option<String>, aspect_ratio: Option<String>) -> Result<Option<Frame>, ApiError> {
    let read = |field: &'static str, text: Option<String>, allowed: &str, is_one: fn(&Frame) -> bool| {
        let Some(text) = text else { return Ok(None) };
        let frame = text.parse().ok().filter(is_one);
        frame.map(Some).ok_or_else(|| {
            let shown: String = text.chars().take(32).collect();
            ApiError::invalid(field, format!("is '{shown}'; write {allowed}"))
        })
    };
    let size = read("size", size, "1280x720 or 1280*720", |frame| matches!(frame, Frame::Size(_)))?;
    // Zhipu's and Aliyun's clients put a size here too.
    let resolution =
        read("resolution", resolution, "720P or 1280x720", |frame| matches!(frame, Frame::Tier(_) | Frame::Size(_)))?;
    let ratio = read("aspect_ratio", aspect_ratio, "16:9", |frame| matches!(frame, Frame::Ratio(_)))?;
    let frame = match (size, resolution) {
        (Some(size), Some(resolution)) if size != resolution => {
            return Err(ApiError::invalid("resolution", "is given together with size; use one of the two"));
        }
        (size, resolution) => size.or(resolution),
    };
    match (frame, ratio) {
        (Some(Frame::Tier(tier)), Some(Frame::Ratio(ratio))) => Ok(Some(Frame::TierAndRatio(tier, ratio))),
        (Some(Frame::Size(size)), Some(Frame::Ratio(ratio))) if !is_near(size, (ratio.width, ratio.height)) => {
            Err(ApiError::invalid("aspect_ratio", format!("is {ratio}, which is not that of {size}; use one of the two")))
        }
        (None, ratio) => Ok(ratio),
        (frame, _) => Ok(frame),
    }
}

/// Whether a size has a shape, but for what rounding takes.
fn is_near(size: PixelSize, (across, down): (u32, u32)) -> bool {
    let exact = f64::from(size.height) * f64::from(across) / f64::from(down);
    (exact - f64::from(size.width)).abs() <= 16.0
}

fn pictures(
    firsts: [(&'static str, Option<String>); 2],
    last: Option<String>,
    image_url: Option<OneOrSeveral>,
    can: &impl Fn(GenerationKind) -> bool,
) -> Result<Pictures, ApiError> {
    use GenerationKind::{FirstLastFrame, ImageToVideo, SubjectReference};
    let given: Vec<&str> = firsts.iter().filter(|(_, link)| link.is_some()).map(|(field, _)| *field).collect();
    let image_url = match image_url {
        None => Vec::new(),
        Some(OneOrSeveral::One(link)) => vec![link],
        Some(OneOrSeveral::Several(links)) => links,
    };
    let has_other = last.is_some() || !given.is_empty();
    if given.len() > 1 || (has_other && !image_url.is_empty()) {
        let field = if image_url.is_empty() { "img_url" } else { "image_url" };
        return Err(ApiError::invalid(field, "is given together with other pictures of the same use; use one of them"));
    }
    if image_url.len() > MOST_PICTURES {
        return Err(ApiError::invalid("image_url", format!("has {} pictures; allowed: 1 to {MOST_PICTURES}", image_url.len())));
    }
    if image_url.is_empty() {
        let first = firsts.into_iter().find_map(|(_, link)| link);
        return Ok(Pictures { first, last, references: Vec::new() });
    }
    let is_reference = match image_url.len() {
        1 => can(SubjectReference) && !can(ImageToVideo),
        2 => can(SubjectReference) && !can(FirstLastFrame),
        _ => true,
    };
    if is_reference {
        return Ok(Pictures { references: image_url, ..Pictures::default() });
    }
    let mut links = image_url.into_iter();
    Ok(Pictures { first: links.next(), last: links.next(), references: Vec::new() })
}

/// What a request calls the things that have several names on this surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SentNames {
    size: &'static str,
    first_picture: &'static str,
    last_picture: &'static str,
}

impl SentNames {
    /// The names that were sent; where none was, the first one that could have been.
    pub(super) fn of(parameters: &TaskParameters) -> Self {
        let sent = |names: &[(&'static str, bool)], otherwise| {
            names.iter().find(|(_, is_given)| *is_given).map_or(otherwise, |(name, _)| *name)
        };
        let list = ("image_url", parameters.image_url.is_some());
        let TaskParameters { size, resolution, aspect_ratio, first_frame_url, last_frame_url, .. } = parameters;
        Self {
            size: sent(
                &[("size", size.is_some()), ("resolution", resolution.is_some()), ("aspect_ratio", aspect_ratio.is_some())],
                "size",
            ),
            first_picture: sent(&[("first_frame_url", first_frame_url.is_some()), list], "img_url"),
            last_picture: sent(&[("last_frame_url", last_frame_url.is_some()), list], "last_frame_url"),
        }
    }

    /// Native field names become those of the request.
    pub(super) fn of_error(self, error: ApiError) -> ApiError {
        let field = match error.field() {
            Some("scenes[0].prompt" | "scenes[0].camera") => "prompt",
            Some("scenes[0].negative_prompt") => "negative_prompt",
            Some("scenes[0].duration") => "duration",
            Some("scenes[0].image") => self.first_picture,
            Some("last_frame") => self.last_picture,
            Some("references" | "references[0]" | "references[1]" | "references[2]") => "image_url",
            Some("size" | "resolution" | "width" | "height") => self.size,
            Some("num_images") => "n",
            Some("audio") => "with_audio",
            Some("prompt_extension") => "prompt_extend",
            _ => return error,
        };
        error.renamed(field)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn text(value: &str) -> Option<String> {
        (!value.is_empty()).then(|| value.to_owned())
    }

    #[rstest]
    #[case("", "", "", None)]
    #[case("1280*720", "", "", Some("1280x720"))]
    #[case("1280x720", "", "16:9", Some("1280x720"))]
    #[case("854x480", "", "16:9", Some("854x480"))]
    #[case("", "720p", "", Some("720P"))]
    #[case("", "1280x720", "", Some("1280x720"))]
    #[case("", "720P", "9:16", Some("720P 9:16"))]
    #[case("", "", "1:1", Some("1:1"))]
    fn sizes_are_read(#[case] size: &str, #[case] resolution: &str, #[case] ratio: &str, #[case] expected: Option<&str>) {
        let read = frame(text(size), text(resolution), text(ratio)).unwrap();
        assert_eq!(read.map(|frame| frame.to_string()).as_deref(), expected);
    }

    #[rstest]
    #[case("large", "", "", "size")]
    #[case("720P", "", "", "size")]
    #[case("", "HD", "", "resolution")]
    #[case("", "", "720P", "aspect_ratio")]
    #[case("1280x720", "720P", "", "resolution")]
    #[case("1280x720", "", "1:1", "aspect_ratio")]
    fn other_sizes_are_refused(#[case] size: &str, #[case] resolution: &str, #[case] ratio: &str, #[case] field: &str) {
        assert_eq!(frame(text(size), text(resolution), text(ratio)).unwrap_err().field(), Some(field));
    }

    #[rstest]
    #[case("size", json!({"size": "64*64", "aspect_ratio": "1:1"}), "size")]
    #[case("resolution", json!({"resolution": "720P", "aspect_ratio": "1:1"}), "resolution")]
    #[case("resolution", json!({"aspect_ratio": "1:1"}), "aspect_ratio")]
    #[case("width", json!({}), "size")]
    #[case("scenes[0].image", json!({"img_url": "a"}), "img_url")]
    #[case("scenes[0].image", json!({"first_frame_url": "a", "last_frame_url": "b"}), "first_frame_url")]
    #[case("scenes[0].image", json!({"image_url": ["a", "b"]}), "image_url")]
    #[case("last_frame", json!({"image_url": ["a", "b"]}), "image_url")]
    #[case("last_frame", json!({"last_frame_url": "b"}), "last_frame_url")]
    #[case("references[1]", json!({"image_url": ["a", "b"]}), "image_url")]
    #[case("scenes[0].duration", json!({"duration": 5}), "duration")]
    fn refusals_have_the_names_that_were_sent(#[case] native: &'static str, #[case] sent: Value, #[case] expected: &str) {
        let parameters: TaskParameters = serde_json::from_value(sent).unwrap();
        let error = SentNames::of(&parameters).of_error(ApiError::invalid(native, "cannot be used"));
        assert_eq!((error.field(), error.message()), (Some(expected), &*format!("{expected} cannot be used")));
    }

    #[test]
    fn what_a_picture_is_for_depends_on_the_model() {
        use GenerationKind::{FirstLastFrame, ImageToVideo, SubjectReference};
        let links = |count: usize| Some(OneOrSeveral::Several((0..count).map(|number| number.to_string()).collect()));
        let none = || [("img_url", None), ("first_frame_url", None)];
        let of = |count: usize, kinds: &[GenerationKind]| {
            let found = pictures(none(), None, links(count), &|kind| kinds.contains(&kind)).unwrap();
            (found.first.is_some(), found.last.is_some(), found.references.len())
        };
        assert_eq!(of(1, &[ImageToVideo]), (true, false, 0));
        assert_eq!(of(2, &[FirstLastFrame]), (true, true, 0));
        assert_eq!(of(1, &[SubjectReference]), (false, false, 1));
        assert_eq!(of(2, &[SubjectReference]), (false, false, 2));
        assert_eq!(of(3, &[ImageToVideo]), (false, false, 3));
        assert!(pictures(none(), None, links(4), &|_| true).is_err());
        let both = [("img_url", Some("a".to_owned())), ("first_frame_url", Some("b".to_owned()))];
        assert_eq!(pictures(both, None, None, &|_| true).unwrap_err().field(), Some("img_url"));
        let first_and_list = [("img_url", Some("a".to_owned())), ("first_frame_url", None)];
        assert_eq!(pictures(first_and_list, None, links(1), &|_| true).unwrap_err().field(), Some("image_url"));
    }
}
