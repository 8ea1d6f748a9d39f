//! The fields of a request for a video, from JSON or from a form with a file.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::error::ApiError;
use crate::api::film_submission::{FilmOrder, OrderedFile};
use crate::api::openai::form::json_or_form;
use crate::api::openai::form_value::{Number, PictureReference, WholeOrText};
use crate::models::film_parameters::{FilmParameters, SceneParameters};
use crate::models::film_size::AskedSize;

/// The field of the file in a form.
const FILE: &str = "input_reference";

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
    /// The picture that it begins with: a data URL or a link, as it is or as `{"image_url": …}`; in a form, a file too.
    #[schema(value_type = Option<Value>)]
    pub(super) input_reference: Option<PictureReference>,
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
    /// A link that is told how it ended.
    pub(super) callback_url: Option<String>,
    /// Accepted and not looked at.
    #[schema(value_type = Option<String>)]
    #[expect(dead_code, reason = "accepted so that clients which send it are served")]
    user: Option<Value>,
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

impl VideoForm {
    /// The film that it asks for; the model stays behind.
    pub(super) fn into_order(self) -> Result<FilmOrder, ApiError> {
        let Self { request, file } = self;
        let image = match (file, request.input_reference) {
            (Some(bytes), _) => Some(OrderedFile::Bytes(bytes)),
            (None, Some(reference)) => Some(reference.file(FILE)?),
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
        Some("scenes[0].prompt" | "scenes[0].camera") => "prompt",
        Some("scenes[0].negative_prompt") => "negative_prompt",
        Some("scenes[0].duration") => "seconds",
        Some("scenes[0].image") => FILE,
        Some("resolution") => "size",
        Some("max_guidance_scale") => "guidance_scale",
        // The words say which of the two sides it is.
        Some("width" | "height") => return error.with_field("size"),
        _ => return error,
    };
    error.renamed(field)
}
