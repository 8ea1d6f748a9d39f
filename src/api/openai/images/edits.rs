//! `/v1/images/edits`: pictures from a picture and words.

use axum::extract::{FromRequest, Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::answer::answer;
use super::delivery::{AskedDelivery, Delivery, Operation, one_of};
use super::order::{AskedPixels, asked_pixels, checked_count, checked_prompt, in_openai_words};
use super::response::{ImageEvent, ImagesResponse};
use crate::api::error::{ApiError, ErrorKind, OpenAiErrorEnvelope};
use crate::api::extract::{BaseUrl, Caller, JsonBody};
use crate::api::film_submission::OrderedFile;
use crate::api::openai::form::{Content, Part, is_form, parse_texts, read_parts};
use crate::api::openai::form_value::{Number, PictureReference, WholeOrText, YesOrNo};
use crate::api::state::ApiState;
use crate::api::submission::{Commission, IdempotencyKey, SentMask, Submission};
use crate::domain::{ModelKind, ModelLimits};
use crate::media::mask::MaskReading;
use crate::models::parameters::ImageParameters;

/// A request to change a picture: OpenAI's fields, and the extensions that other servers have too. In a form, `image` and `mask` are
/// files and the rest are texts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct EditImagesRequest {
    /// In JSON, the picture: a list of one `{"image_url": "data:image/png;base64,…"}`, or of one with a link.
    images: Option<Vec<PictureReference>>,
    /// In JSON, where the picture shall be changed: `{"image_url": …}` of a PNG that is transparent there.
    mask: Option<PictureReference>,
    /// What the new picture shows.
    #[schema(example = "the same with a green circle")]
    prompt: String,
    /// The model; absent: the default image model.
    model: Option<String>,
    /// How many pictures, 1 to 10; absent: 1.
    #[schema(value_type = Option<u32>)]
    n: Option<WholeOrText>,
    /// `auto` (the picture's own size, as near as the model can), `WxH` in pixels, or a shape such as `16:9`; absent: `auto`.
    size: Option<String>,
    /// Accepted for compatibility, and echoed: `auto`, `low`, `medium`, `high`, `xhigh`, `max`, `standard` or `hd`.
    quality: Option<String>,
    /// `url` (the default; a link that needs no key for an hour) or `b64_json` (always, when streaming).
    response_format: Option<String>,
    /// `png` (the default), `jpeg` or `webp`.
    output_format: Option<String>,
    /// Quality of a JPEG, 0 to 100; absent: 100.
    #[schema(value_type = Option<u32>)]
    output_compression: Option<WholeOrText>,
    /// `auto` or `opaque`; no model here makes transparent pictures.
    background: Option<String>,
    /// Accepted for compatibility: `auto` or `low`. Nothing is moderated here.
    moderation: Option<String>,
    /// Accepted for compatibility: `low` or `high`. `strength` says how much of the picture is kept.
    input_fidelity: Option<String>,
    /// How many partial pictures a stream shows before the picture itself, 0 to 3; absent: 0.
    #[schema(value_type = Option<u32>)]
    partial_images: Option<WholeOrText>,
    /// Answer with server-sent events.
    #[schema(value_type = Option<bool>)]
    stream: Option<YesOrNo>,
    /// Accepted for compatibility.
    #[expect(dead_code, reason = "accepted so that clients which send it are served")]
    user: Option<String>,
    /// Accepted for compatibility.
    #[expect(dead_code, reason = "accepted so that clients which send it are served")]
    safety_identifier: Option<String>,
    /// Extension: how much of the picture is noised away, above 0 and at most 1; absent: the model's default, `default_strength` in
    /// `GET /api/v1/models`.
    #[schema(value_type = Option<f64>)]
    strength: Option<Number>,
    /// Extension: what the picture must not show.
    negative_prompt: Option<String>,
    /// Extension: sampler steps.
    #[schema(value_type = Option<u32>)]
    num_inference_steps: Option<WholeOrText>,
    /// Extension: classifier-free guidance.
    #[schema(value_type = Option<f64>)]
    guidance_scale: Option<Number>,
    /// Extension: seed of the first picture; absent: random.
    #[schema(value_type = Option<u64>)]
    seed: Option<WholeOrText>,
    /// Extension: a sampler's name.
    sampler: Option<String>,
}

/// A request and the pictures that came with it.
pub(in crate::api) struct EditForm {
    request: EditImagesRequest,
    /// The picture to change.
    image: OrderedFile,
    /// Where to change it.
    mask: Option<OrderedFile>,
    /// What the request calls the picture.
    field: &'static str,
}

impl<S: Send + Sync> FromRequest<S> for EditForm {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if is_form(request.headers()) {
            let parts = read_parts(request, state, |name| matches!(picture_name(name), "image" | "mask")).await?;
            return Self::from_parts(parts);
        }
        let JsonBody(mut request) = JsonBody::<EditImagesRequest>::from_request(request, state).await?;
        let field = "images";
        let images =
            request.images.take().unwrap_or_default().into_iter().map(|image| image.file(field)).collect::<Result<_, _>>()?;
        let mask = request.mask.take().map(|mask| mask.file("mask")).transpose()?;
        Ok(Self { request, image: only_one(field, images)?, mask, field })
    }
}

impl EditForm {
    fn from_parts(parts: Vec<Part>) -> Result<Self, ApiError> {
        let (mut images, mut mask, mut fields) = (Vec::new(), None, Map::new());
        for Part { name, content } in parts {
            let file = match content {
                Content::File(bytes) => OrderedFile::Bytes(bytes),
                Content::Text(text) if matches!(picture_name(&name), "image" | "mask") => OrderedFile::Text(text),
                Content::Text(text) => {
                    fields.insert(name, Value::String(text));
                    continue;
                }
            };
            if picture_name(&name) == "mask" {
                mask = Some(file);
            } else {
                images.push(file);
            }
        }
        let image = only_one("image", images)?;
        Ok(Self { request: parse_texts(&fields)?, image, mask, field: "image" })
    }
}

/// A part's name without the brackets of lists: `image[]` and `image[0]` are `image`.
fn picture_name(name: &str) -> &str {
    name.split('[').next().unwrap_or(name)
}

fn only_one(field: &'static str, mut images: Vec<OrderedFile>) -> Result<OrderedFile, ApiError> {
    match (images.pop(), images.len()) {
        (None, _) => Err(ApiError::about(ErrorKind::MissingField, field, "is missing: send the picture to change")),
        (Some(image), 0) => Ok(image),
        (Some(_), others) => {
            let problem = format!("has {} pictures, and no model here changes more than one; send one", others + 1);
            Err(ApiError::about(ErrorKind::UnsupportedField, field, problem))
        }
    }
}

/// Change a picture
///
/// The new picture begins with yours, of which `strength` is noised away; with a mask, where that is transparent alone. Answers, events and hanging up are as with
/// `/v1/images/generations`; the events are `image_edit.partial_image` and `image_edit.completed`.
#[utoipa::path(
    post, path = "/v1/images/edits", tag = "openai",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the same pictures")),
    request_body(content((EditImagesRequest = "multipart/form-data"), (EditImagesRequest = "application/json"))),
    responses(
        (status = 200, description = "The pictures", content((ImagesResponse = "application/json"), (ImageEvent = "text/event-stream"))),
        (status = 400, description = "A field cannot be used", body = OpenAiErrorEnvelope),
        (status = 401, description = "No valid key", body = OpenAiErrorEnvelope),
        (status = 403, description = "More than you may ever ask for", body = OpenAiErrorEnvelope),
        (status = 404, description = "No such model", body = OpenAiErrorEnvelope),
        (status = 429, description = "Too many requests, too much waits already, or a quota has not enough left", body = OpenAiErrorEnvelope),
        (status = 500, description = "The server failed", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn edit_images(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    form: EditForm,
) -> Result<Response, ApiError> {
    let EditForm { request, image, mask, field } = form;
    let commission = Commission::new(&state, &principal, None, ModelKind::Image, request.model.clone()).await?;
    let (parameters, delivery) = request.into_order(&commission.model.limits)?;
    let cancel_on_drop = idempotency_key.is_none();
    let mask = mask.map(|file| SentMask { file, reading: MaskReading::Transparency });
    let submission = Submission { parameters, init_image: Some(image), mask, idempotency_key, ..Submission::default() };
    let job = commission.submit(&state, submission).await.map_err(|error| in_openai_words(error, field))?;
    answer(&state, &principal, &base_url, job, delivery, cancel_on_drop).await
}

impl EditImagesRequest {
    /// Checks what a model has no say in, and names the rest in neutral words.
    fn into_order(self, limits: &ModelLimits) -> Result<(ImageParameters, Delivery), ApiError> {
        one_of("moderation", self.moderation.as_deref(), &["auto", "low"])?;
        one_of("input_fidelity", self.input_fidelity.as_deref(), &["low", "high"])?;
        let delivery = AskedDelivery {
            operation: Operation::Edit,
            quality: self.quality,
            background: self.background,
            response_format: self.response_format,
            output_format: self.output_format,
            output_compression: self.output_compression.map(|number| number.0),
            partial_images: self.partial_images.map(|number| number.0),
            stream: self.stream.is_some_and(|stream| stream.0),
        };
        let delivery = delivery.checked()?;
        let AskedPixels { width, height, shape } = asked_pixels(self.size.as_deref(), limits)?;
        let parameters = ImageParameters {
            prompt: checked_prompt(self.prompt)?,
            negative_prompt: self.negative_prompt,
            width,
            height,
            shape,
            num_inference_steps: self.num_inference_steps.map(|number| number.0),
            guidance_scale: self.guidance_scale.map(|number| number.0),
            seed: self.seed.map(|number| number.0),
            sampler: self.sampler,
            num_images: checked_count(self.n.map(|number| number.0), limits)?,
            strength: self.strength.map(|number| number.0),
            ..ImageParameters::default()
        };
        Ok((parameters, delivery))
    }
}
