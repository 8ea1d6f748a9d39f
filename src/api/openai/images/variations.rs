//! `/v1/images/variations`: pictures from a picture alone.

use axum::extract::{FromRequest, Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::answer::answer;
use super::delivery::AskedDelivery;
use super::order::{AskedPixels, asked_pixels, checked_count, in_openai_words};
use super::response::ImagesResponse;
use crate::api::error::{ApiError, ErrorKind, OpenAiErrorEnvelope};
use crate::api::extract::{BaseUrl, Caller};
use crate::api::film_submission::OrderedFile;
use crate::api::openai::form::{Content, Part, is_form, parse_texts, read_parts};
use crate::api::openai::form_value::{Number, WholeOrText};
use crate::api::state::ApiState;
use crate::api::submission::{Commission, IdempotencyKey, Submission};
use crate::domain::{ModelKind, ModelLimits};
use crate::models::parameters::ImageParameters;

/// How much of the picture a variation noises away unless told otherwise: enough to differ, not enough to be another subject, since
/// no prompt says what it was.
const VARIATION_STRENGTH: f64 = 0.6;

/// A request for variations of a picture; it comes as a form with the file `image`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct VaryImageRequest {
    /// The model; absent: the default image model.
    model: Option<String>,
    /// How many pictures, 1 to 10; absent: 1. Each has a seed of its own.
    #[schema(value_type = Option<u32>)]
    n: Option<WholeOrText>,
    /// `auto` (the picture's own size, as near as the model can), `WxH` in pixels, or a shape such as `16:9`; absent: `auto`.
    size: Option<String>,
    /// `url` (the default; a link that needs no key for an hour) or `b64_json`.
    response_format: Option<String>,
    /// Accepted for compatibility.
    #[expect(dead_code, reason = "accepted so that clients which send it are served")]
    user: Option<String>,
    /// Extension: how much of the picture is noised away, above 0 and at most 1; absent: 0.6.
    #[schema(value_type = Option<f64>)]
    strength: Option<Number>,
    /// Extension: sampler steps.
    #[schema(value_type = Option<u32>)]
    num_inference_steps: Option<WholeOrText>,
    /// Extension: seed of the first picture; absent: random.
    #[schema(value_type = Option<u64>)]
    seed: Option<WholeOrText>,
}

/// A request and its picture.
pub(in crate::api) struct VariationForm {
    request: VaryImageRequest,
    image: OrderedFile,
}

impl<S: Send + Sync> FromRequest<S> for VariationForm {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_form(request.headers()) {
            let message = "send a form ('Content-Type: multipart/form-data') with the picture as the file 'image'";
            return Err(ApiError::new(ErrorKind::UnsupportedMediaType, message));
        }
        let (mut image, mut fields) = (None, Map::new());
        for Part { name, content } in read_parts(request, state, |name| name == "image").await? {
            match content {
                Content::File(bytes) => image = Some(OrderedFile::Bytes(bytes)),
                Content::Text(text) if name == "image" => image = Some(OrderedFile::Text(text)),
                Content::Text(text) => {
                    fields.insert(name, Value::String(text));
                }
            }
        }
        let missing = || ApiError::about(ErrorKind::MissingField, "image", "is missing: send the picture to vary");
        Ok(Self { image: image.ok_or_else(missing)?, request: parse_texts(&fields)? })
    }
}

/// Vary a picture
///
/// New pictures that begin with yours, of which `strength` is noised away, without any prompt.
#[utoipa::path(
    post, path = "/v1/images/variations", tag = "openai",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the same pictures")),
    request_body(content((VaryImageRequest = "multipart/form-data"))),
    responses(
        (status = 200, description = "The pictures", body = ImagesResponse),
        (status = 400, description = "A field cannot be used", body = OpenAiErrorEnvelope),
        (status = 401, description = "No valid key", body = OpenAiErrorEnvelope),
        (status = 403, description = "More than you may ever ask for", body = OpenAiErrorEnvelope),
        (status = 404, description = "No such model", body = OpenAiErrorEnvelope),
        (status = 415, description = "The body is no form", body = OpenAiErrorEnvelope),
        (status = 429, description = "Too many requests, too much waits already, or a quota has not enough left", body = OpenAiErrorEnvelope),
        (status = 500, description = "The server failed", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn vary_image(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    VariationForm { request, image }: VariationForm,
) -> Result<Response, ApiError> {
    let commission = Commission::new(&state, &principal, None, ModelKind::Image, request.model.clone()).await?;
    let delivery = AskedDelivery { response_format: request.response_format.clone(), ..AskedDelivery::default() }.checked()?;
    let parameters = request.into_parameters(&commission.model.limits)?;
    let cancel_on_drop = idempotency_key.is_none();
    let submission = Submission { parameters, init_image: Some(image), idempotency_key, ..Submission::default() };
    let job = commission.submit(&state, submission).await.map_err(|error| in_openai_words(error, "image"))?;
    answer(&state, &principal, &base_url, job, delivery, cancel_on_drop).await
}

impl VaryImageRequest {
    fn into_parameters(self, limits: &ModelLimits) -> Result<ImageParameters, ApiError> {
        let AskedPixels { width, height, shape } = asked_pixels(self.size.as_deref(), limits)?;
        // Where there is one step, it must be done.
        let steps = self.num_inference_steps.map_or(limits.default_steps.into(), |number| number.0);
        let least = 1.0 / steps.max(1) as f64;
        Ok(ImageParameters {
            width,
            height,
            shape,
            num_inference_steps: self.num_inference_steps.map(|number| number.0),
            seed: self.seed.map(|number| number.0),
            num_images: checked_count(self.n.map(|number| number.0), limits)?,
            strength: Some(self.strength.map_or_else(|| VARIATION_STRENGTH.max(least), |strength| strength.0)),
            ..ImageParameters::default()
        })
    }
}
