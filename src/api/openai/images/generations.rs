//! `/v1/images/generations`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{answer, with_task_id};
use super::delivery::{AskedDelivery, Delivery, Operation, one_of};
use super::order::{AskedPixels, asked_pixels, checked_count, checked_prompt, in_openai_words, unsupported};
use super::response::ImagesResponse;
use crate::api::error::{ApiError, OpenAiErrorEnvelope};
use crate::api::extract::{BaseUrl, Caller, JsonBody};
use crate::api::film_submission::FilmOrder;
use crate::api::model_choice::kind_named;
use crate::api::state::ApiState;
use crate::api::submission::{Commission, IdempotencyKey, Submission};
use crate::api::whole_number::WholeNumber;
use crate::domain::{ModelKind, ModelLimits};
use crate::models::film_parameters::{FilmParameters, SceneParameters};
use crate::models::film_size::AskedSize;
use crate::models::parameters::ImageParameters;

/// OpenAI's fields, and the extensions that other servers have too.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CreateImagesRequest {
    /// What the picture shows.
    #[schema(example = "a large red circle on a blue background")]
    prompt: String,
    /// The model; absent: the default image model. With a model of films the answer is a `SubmittedFilm`.
    model: Option<String>,
    /// How many pictures, 1 to 10; absent: 1.
    #[schema(value_type = Option<u32>)]
    n: Option<WholeNumber>,
    /// `auto`, `WxH` in pixels, or a shape such as `16:9`; absent: `auto`.
    size: Option<String>,
    /// Accepted for compatibility, and echoed: `auto`, `low`, `medium`, `high`, `xhigh`, `max`, `standard` or `hd`.
    quality: Option<String>,
    /// Accepted for compatibility: `vivid` or `natural`.
    style: Option<String>,
    /// `url` (the default; a link that needs no key for an hour) or `b64_json` (always, when streaming).
    response_format: Option<String>,
    /// `png` (the default), `jpeg` or `webp`.
    output_format: Option<String>,
    /// Quality of a JPEG, 0 to 100; absent: 100.
    #[schema(value_type = Option<u32>)]
    output_compression: Option<WholeNumber>,
    /// `auto` or `opaque`; no model here makes transparent pictures.
    background: Option<String>,
    /// Accepted for compatibility: `auto` or `low`. Nothing is moderated here.
    moderation: Option<String>,
    /// How many partial pictures a stream shows before the picture itself, 0 to 3; absent: 0.
    #[schema(value_type = Option<u32>)]
    partial_images: Option<WholeNumber>,
    /// Answer with server-sent events.
    stream: Option<bool>,
    /// Accepted for compatibility.
    #[expect(dead_code, reason = "accepted so that clients which send it are served")]
    user: Option<String>,
    /// Accepted for compatibility.
    #[expect(dead_code, reason = "accepted so that clients which send it are served")]
    safety_identifier: Option<String>,
    /// Extension: what the picture must not show.
    negative_prompt: Option<String>,
    /// Extension: sampler steps.
    #[schema(value_type = Option<u32>)]
    num_inference_steps: Option<WholeNumber>,
    /// Extension: classifier-free guidance.
    guidance_scale: Option<f64>,
    /// Extension: seed of the first picture; absent: random.
    #[schema(value_type = Option<u64>)]
    seed: Option<WholeNumber>,
    /// Extension: a sampler's name.
    sampler: Option<String>,
}

/// A film that is on its way: look at it at `/v1/videos/{task_id}`, or watch it at `/v1/tasks/{task_id}/stream`.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct SubmittedFilm {
    /// Its task.
    task_id: String,
    /// Always `submitted`.
    #[schema(value_type = String, example = "submitted")]
    status: &'static str,
    /// Unix seconds.
    created: i64,
}

/// What is answered, by the kind of the model.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "for the OpenAPI document; either answer is written by itself")]
enum GenerationAnswer {
    /// Of a model of pictures.
    Pictures(ImagesResponse),
    /// Of a model of films.
    Film(SubmittedFilm),
}

/// Make pictures
///
/// Waits for them; a client that hangs up cancels them, unless it sent an `Idempotency-Key` and so may ask again.
/// With `stream`, the events are `image_generation.partial_image`, exactly `partial_images` of them, and
/// `image_generation.completed` for each picture. With a model of films the answer comes at once: it names the task.
#[utoipa::path(
    post, path = "/v1/images/generations", tag = "openai",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the same pictures")),
    request_body = CreateImagesRequest,
    responses(
        (status = 200, description = "The pictures, or with a model of films its task", content(
            (GenerationAnswer = "application/json"),
            (super::response::ImageEvent = "text/event-stream"),
        )),
        (status = 400, description = "A field cannot be used", body = OpenAiErrorEnvelope),
        (status = 401, description = "No valid key", body = OpenAiErrorEnvelope),
        (status = 403, description = "More than you may ever ask for", body = OpenAiErrorEnvelope),
        (status = 404, description = "No such model", body = OpenAiErrorEnvelope),
        (status = 429, description = "Too many requests (`rate_limit_exceeded`), too much waits already, or a quota has not enough left (`insufficient_quota`)", body = OpenAiErrorEnvelope),
        (status = 500, description = "The server failed", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn create_images(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    JsonBody(request): JsonBody<CreateImagesRequest>,
) -> Result<Response, ApiError> {
    let kind = kind_named(&state, request.model.as_deref(), ModelKind::Image).await?;
    let commission = Commission::new(&state, &principal, None, kind, request.model.clone()).await?;
    if kind == ModelKind::Video {
        return submit_film(&state, &commission, request, idempotency_key).await;
    }
    let (parameters, delivery) = request.into_order(&commission.model.limits)?;
    let cancel_on_drop = idempotency_key.is_none();
    let submission = Submission { parameters, idempotency_key, ..Submission::default() };
    let job = commission.submit(&state, submission).await.map_err(|error| in_openai_words(error, "image"))?;
    answer(&state, &principal, &base_url, job, delivery, cancel_on_drop).await
}

async fn submit_film(
    state: &ApiState,
    commission: &Commission<'_>,
    request: CreateImagesRequest,
    idempotency_key: Option<String>,
) -> Result<Response, ApiError> {
    let order = FilmOrder { idempotency_key, ..request.into_film_order()? };
    let job = async { commission.submit_filled(state, commission.fill_in_film(state, order).await?).await };
    let job = job.await.map_err(|error| in_openai_words(error, "image"))?;
    let document = SubmittedFilm { task_id: job.id.to_string(), status: "submitted", created: job.created.seconds() };
    Ok(with_task_id(Json(document).into_response(), job.id))
}

impl CreateImagesRequest {
    /// Checks what a model has no say in, and names the rest in neutral words.
    fn into_order(self, limits: &ModelLimits) -> Result<(ImageParameters, Delivery), ApiError> {
        let delivery = self.delivery()?;
        let AskedPixels { width, height, shape } = asked_pixels(self.size.as_deref(), limits)?;
        let parameters = ImageParameters {
            prompt: checked_prompt(self.prompt)?,
            negative_prompt: self.negative_prompt,
            width,
            height,
            shape,
            num_inference_steps: self.num_inference_steps.map(|number| number.0),
            guidance_scale: self.guidance_scale,
            seed: self.seed.map(|number| number.0),
            sampler: self.sampler,
            num_images: checked_count(self.n.map(|number| number.0), limits)?,
            ..ImageParameters::default()
        };
        Ok((parameters, delivery))
    }

    /// The film that a model of films makes of the same words.
    fn into_film_order(self) -> Result<FilmOrder, ApiError> {
        self.delivery()?;
        if self.stream == Some(true) {
            return Err(unsupported("stream", "is true, but a film is not streamed here; watch /v1/tasks/{task_id}/stream"));
        }
        if self.n.is_some_and(|number| number.0 != 1) {
            return Err(ApiError::invalid("n", "is not 1, but a request for a film makes one"));
        }
        if self.sampler.is_some() {
            return Err(unsupported("sampler", "has a meaning only with a model of pictures"));
        }
        let scene = SceneParameters {
            prompt: Some(checked_prompt(self.prompt)?),
            negative_prompt: self.negative_prompt,
            ..SceneParameters::default()
        };
        let parameters = FilmParameters {
            scenes: vec![scene],
            size: AskedSize { resolution: self.size, ..AskedSize::default() },
            num_inference_steps: self.num_inference_steps.map(|number| number.0),
            max_guidance_scale: self.guidance_scale,
            seed: self.seed.map(|number| number.0),
            ..FilmParameters::default()
        };
        Ok(FilmOrder { parameters, images: vec![None], ..FilmOrder::default() })
    }

    fn delivery(&self) -> Result<Delivery, ApiError> {
        one_of("style", self.style.as_deref(), &["vivid", "natural"])?;
        one_of("moderation", self.moderation.as_deref(), &["auto", "low"])?;
        AskedDelivery {
            operation: Operation::Generation,
            quality: self.quality.clone(),
            background: self.background.clone(),
            response_format: self.response_format.clone(),
            output_format: self.output_format.clone(),
            output_compression: self.output_compression.map(|number| number.0),
            partial_images: self.partial_images.map(|number| number.0),
            stream: self.stream.unwrap_or(false),
        }
        .checked()
    }
}
