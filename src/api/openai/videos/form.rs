//! The fields of a request for a video, from JSON or from a form with a file.

use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorKind};
use crate::api::extract::{JsonBody, parse_json};
use crate::api::film_submission::{FilmOrder, OrderedFile};
use crate::api::whole_number::WholeNumber;
use crate::models::film_parameters::{FilmParameters, SceneParameters};
use crate::models::film_size::AskedSize;

/// The field of the file in a form.
const FILE: &str = "input_reference";
/// Fields of a form at most.
const MOST_FIELDS: usize = 64;

/// A request for a video. Beside OpenAI's fields those that other servers of such models take.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CreateVideoRequest {
    /// The video model; absent: the default one.
    pub(super) model: Option<String>,
    /// What the video shows.
    pub(super) prompt: Option<String>,
    /// What it must not show.
    pub(super) negative_prompt: Option<String>,
    /// The picture that it begins with: `{"image_url": "data:image/png;base64,…"}` or a link; in a form, a file.
    #[schema(value_type = Option<Object>)]
    pub(super) input_reference: Option<InputReference>,
    /// How long, a number or a text; absent: one clip, as the model makes it.
    #[schema(value_type = Option<String>, example = "4")]
    pub(super) seconds: Option<Number>,
    /// `1280x720`.
    pub(super) size: Option<String>,
    /// Frames a second.
    #[schema(value_type = Option<f64>)]
    pub(super) fps: Option<Number>,
    /// Frames of a clip.
    #[schema(value_type = Option<u32>)]
    pub(super) num_frames: Option<Number>,
    /// Seed.
    #[schema(value_type = Option<u64>)]
    pub(super) seed: Option<WholeOrText>,
    /// Sampler steps.
    #[schema(value_type = Option<u32>)]
    pub(super) num_inference_steps: Option<Number>,
    /// Guidance of the last frame.
    #[schema(value_type = Option<f64>)]
    pub(super) guidance_scale: Option<Number>,
    /// How much moves.
    #[schema(value_type = Option<u32>)]
    pub(super) motion_bucket_id: Option<Number>,
    /// Noise added to the first picture.
    #[schema(value_type = Option<f64>)]
    pub(super) noise_aug_strength: Option<Number>,
    /// Frames that are decoded together.
    #[schema(value_type = Option<u32>)]
    pub(super) decode_chunk_size: Option<Number>,
    /// Accepted and not looked at.
    #[schema(value_type = Option<String>)]
    #[expect(dead_code, reason = "accepted so that clients which send it are served")]
    user: Option<Value>,
}

/// The picture that a video begins with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct InputReference {
    /// A data URL or a link.
    image_url: Option<String>,
    /// Not supported: this server keeps no files of clients.
    file_id: Option<String>,
}

/// A number, or a text that is one: forms have only texts.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Number(pub(super) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = match Value::deserialize(deserializer)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.map(Self).ok_or_else(|| serde::de::Error::custom("invalid value, expected a number"))
    }
}

impl Number {
    /// The whole number that it is; a fraction is out of every range.
    fn whole(self, field: &'static str) -> Result<i128, ApiError> {
        if self.0.is_finite() && self.0.fract() == 0.0 {
            Ok(self.0 as i128)
        } else {
            Err(ApiError::invalid(field, format!("is {}; it must be a whole number", self.0)))
        }
    }
}

/// A whole number of any size, or a text that is one.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct WholeOrText(i128);

impl<'de> Deserialize<'de> for WholeOrText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => {
                text.trim().parse().map(Self).map_err(|_| serde::de::Error::custom("invalid value, expected a whole number"))
            }
            value => serde_json::from_value::<WholeNumber>(value).map(|number| Self(number.0)).map_err(serde::de::Error::custom),
        }
    }
}

/// A request and the file that came with it.
pub(in crate::api) struct VideoForm {
    pub(super) request: CreateVideoRequest,
    pub(super) file: Option<Bytes>,
}

impl<S: Send + Sync> FromRequest<S> for VideoForm {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (request, file) = json_or_form(request, state, FILE).await?;
        Ok(Self { request, file })
    }
}

/// A request in JSON, or in a form whose field `object` is a file, or an object that clients write as `object[key]` or as JSON.
pub(super) async fn json_or_form<T: for<'de> Deserialize<'de>, S: Send + Sync>(
    request: Request,
    state: &S,
    object: &str,
) -> Result<(T, Option<Bytes>), ApiError> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") {
        let JsonBody(request) = JsonBody::from_request(request, state).await?;
        return Ok((request, None));
    }
    let malformed =
        |error: &dyn std::fmt::Display| ApiError::new(ErrorKind::MalformedBody, format!("the form cannot be read: {error}"));
    let mut form = Multipart::from_request(request, state).await.map_err(|error| malformed(&error.body_text()))?;
    let (mut fields, mut file) = (Map::new(), None);
    while let Some(field) = form.next_field().await.map_err(|error| too_large_or(&error, malformed))? {
        let name = field.name().unwrap_or_default().to_owned();
        if fields.len() >= MOST_FIELDS {
            return Err(malformed(&format!("it has more than {MOST_FIELDS} fields")));
        }
        if name == object && field.file_name().is_some() {
            file = Some(field.bytes().await.map_err(|error| too_large_or(&error, malformed))?);
            continue;
        }
        let text = field.text().await.map_err(|error| too_large_or(&error, malformed))?;
        let key = name.strip_prefix(object).and_then(|rest| rest.strip_prefix('[')?.strip_suffix(']'));
        if let Some(key) = key {
            let inside = fields.entry(object).or_insert_with(|| Value::Object(Map::new()));
            if let Some(inside) = inside.as_object_mut() {
                inside.insert(key.to_owned(), Value::String(text));
            }
            continue;
        }
        let value = if name == object { serde_json::from_str(&text).unwrap_or(Value::String(text)) } else { Value::String(text) };
        fields.insert(name, value);
    }
    Ok((parse_json(&serde_json::to_vec(&fields).map_err(ApiError::internal)?)?, file))
}

fn too_large_or(
    error: &axum::extract::multipart::MultipartError,
    malformed: impl Fn(&dyn std::fmt::Display) -> ApiError,
) -> ApiError {
    if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        ApiError::new(ErrorKind::BodyTooLarge, "the request body is longer than this server allows")
    } else {
        malformed(&error.body_text())
    }
}

impl VideoForm {
    /// The film that it asks for; the model stays behind.
    pub(super) fn into_order(self) -> Result<FilmOrder, ApiError> {
        let Self { request, file } = self;
        let image = match (file, request.input_reference) {
            (Some(bytes), _) => Some(OrderedFile::Bytes(bytes)),
            (None, Some(InputReference { image_url: Some(url), file_id: None })) => Some(OrderedFile::Text(url)),
            (None, Some(_)) => {
                let message =
                    "must be a file in a form, or {\"image_url\": a data URL or a link}; this server keeps no files of clients";
                return Err(ApiError::about(ErrorKind::UnsupportedField, FILE, message));
            }
            (None, None) => None,
        };
        let whole = |field: &'static str, number: Option<Number>| number.map(|number| number.whole(field)).transpose();
        let scene = SceneParameters {
            prompt: request.prompt,
            negative_prompt: request.negative_prompt,
            duration: request.seconds.map(|number| number.0),
            ..SceneParameters::default()
        };
        let parameters = FilmParameters {
            scenes: vec![scene],
            fps: request.fps.map(|number| number.0),
            size: AskedSize { resolution: request.size, ..AskedSize::default() },
            num_frames: whole("num_frames", request.num_frames)?,
            num_inference_steps: whole("num_inference_steps", request.num_inference_steps)?,
            max_guidance_scale: request.guidance_scale.map(|number| number.0),
            motion_bucket_id: whole("motion_bucket_id", request.motion_bucket_id)?,
            noise_aug_strength: request.noise_aug_strength.map(|number| number.0),
            decode_chunk_size: whole("decode_chunk_size", request.decode_chunk_size)?,
            seed: request.seed.map(|number| number.0),
            ..FilmParameters::default()
        };
        Ok(FilmOrder { parameters, images: vec![image], ..FilmOrder::default() })
    }
}

/// Native field names become this surface's own.
pub(super) fn in_openai_words(error: ApiError) -> ApiError {
    let field = match error.field() {
        Some("scenes[0].prompt") => "prompt",
        Some("scenes[0].negative_prompt") => "negative_prompt",
        Some("scenes[0].duration") => "seconds",
        Some("scenes[0].image") => FILE,
        Some("resolution" | "width" | "height") => "size",
        Some("max_guidance_scale") => "guidance_scale",
        _ => return error,
    };
    error.with_field(field)
}
