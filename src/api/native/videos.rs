//! Asking for films.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::images::AcceptedTask;
use crate::api::callback::CallbackOrder;
use crate::api::error::{ApiError, ErrorKind, Problem};
use crate::api::extract::{BaseUrl, Caller, JsonBody};
use crate::api::film_submission::{FilmOrder, OrderedFile};
use crate::api::state::ApiState;
use crate::api::submission::{Commission, IdempotencyKey};
use crate::api::whole_number::{WholeNumber, priority_within};
use crate::domain::{ModelKind, Principal};
use crate::models::film_parameters::{FilmParameters, SceneParameters, TransitionParameters};
use crate::models::film_size::AskedSize;

/// Priorities that may be asked for, both ways from 0.
const MAX_PRIORITY: i128 = 100;

/// A request for a film: `scenes`, or a film of one scene in `prompt`, `image` and `duration`. An absent or null field means the model's
/// default; `GET /api/v1/models` has defaults and ranges.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct GenerateVideoRequest {
    /// The video model; absent: the default one.
    model: Option<String>,
    /// The model of the pictures that scenes without `image` begin with; absent: the default image model.
    image_model: Option<String>,
    /// The scenes, in order.
    scenes: Option<Vec<SceneRequest>>,
    /// How the film shall be.
    video_config: Option<VideoConfig>,
    /// Of a film of one scene: what it shows, with camera commands in brackets if you like.
    #[schema(example = "a large red circle on a blue background [Push in]")]
    prompt: Option<String>,
    /// Of a film of one scene: what it must not show.
    negative_prompt: Option<String>,
    /// Of a film of one scene: the picture that it begins with: base64 of a PNG, JPEG or WebP file, a data URL, or a link.
    image: Option<String>,
    /// Of a film of one scene: seconds; absent: one clip, as the model makes it, with nothing interpolated.
    duration: Option<f64>,
    /// Frames of a clip; without any duration exactly the frames of each scene.
    #[schema(value_type = Option<u32>)]
    num_frames: Option<WholeNumber>,
    /// Sampler steps of a clip.
    #[schema(value_type = Option<u32>)]
    num_inference_steps: Option<WholeNumber>,
    /// Guidance of a clip's first frame.
    min_guidance_scale: Option<f64>,
    /// Guidance of a clip's last frame.
    max_guidance_scale: Option<f64>,
    /// How much moves; larger is more.
    #[schema(value_type = Option<u32>)]
    motion_bucket_id: Option<WholeNumber>,
    /// Noise added to a clip's first picture.
    noise_aug_strength: Option<f64>,
    /// Frames that are decoded together.
    #[schema(value_type = Option<u32>)]
    decode_chunk_size: Option<WholeNumber>,
    /// Seed of the scenes that name none, 0 to 2^64 − 1; absent: random, and reported. Scene i uses seed + i.
    #[schema(value_type = Option<u64>)]
    seed: Option<WholeNumber>,
    /// The project that it is for and that pays for it; absent: the key's, or none.
    project_id: Option<String>,
    /// Higher goes first; −100 to 100, 0 is normal. What your limits and your project's grant is added.
    #[schema(value_type = Option<i32>)]
    priority: Option<WholeNumber>,
    /// A link that is told, by POST, what becomes of the task: signed as Standard Webhooks has it, and sent again until it is taken.
    #[schema(example = "https://example.com/hook")]
    callback_url: Option<String>,
    /// What it is told: `accepted`, `started`, `completed`, `failed`, `cancelled`; absent: the last three.
    callback_events: Option<Vec<String>>,
}

/// A scene.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct SceneRequest {
    /// Its name within the film; absent: `s1`, `s2`, ….
    id: Option<String>,
    /// What it shows, with camera commands in brackets if you like: `[Pan left, Zoom in]`, `[推进]`.
    prompt: Option<String>,
    /// What it must not show.
    negative_prompt: Option<String>,
    /// Seconds. The film has round(duration × fps) frames of it.
    duration: Option<f64>,
    /// The picture that it begins with: base64, a data URL or a link; absent: one is made from the prompt.
    image: Option<String>,
    /// Its seed.
    #[schema(value_type = Option<u64>)]
    seed: Option<WholeNumber>,
    /// Camera commands without brackets, instead of those in the prompt.
    camera: Option<String>,
    /// How the next scene follows: `cut`, `crossfade`, `fade`, or one of them with a duration.
    transition: Option<TransitionRequest>,
    /// Not supported yet.
    character_id: Option<Value>,
    /// Not supported yet.
    scene_profile: Option<Value>,
}

/// How a scene is followed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "must be a word (cut, crossfade, fade) or an object with 'type' and, if need be, 'duration' in seconds"
)]
pub(in crate::api) enum TransitionRequest {
    /// Its name.
    Name(String),
    /// Its name and how long it takes.
    Timed(TimedTransition),
}

/// A transition of a set length.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct TimedTransition {
    /// `cut`, `crossfade`, `fade`.
    #[serde(rename = "type")]
    kind: String,
    /// Seconds; absent: half a second. At most half of the shorter scene.
    duration: Option<f64>,
}

/// How a film shall be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct VideoConfig {
    /// Frames a second, 1 to 120; absent: 24, or without any duration the model's own.
    fps: Option<f64>,
    /// `720P` (the short side), `1280x720`, `16:9`; absent: the size of the model's clips.
    resolution: Option<String>,
    /// Pixels across, instead of `resolution`.
    #[schema(value_type = Option<u32>)]
    width: Option<WholeNumber>,
    /// Pixels down, instead of `resolution`.
    #[schema(value_type = Option<u32>)]
    height: Option<WholeNumber>,
    /// `auto`, `lanczos`, `realesrgan`; `auto` is `realesrgan` where the server has its weights.
    upscale: Option<String>,
    /// `auto`, `minterpolate`, `rife`; `auto` is `rife` where the server has its weights.
    interpolation: Option<String>,
    /// `h264`, `h265`, `vp9`, `av1`, `gif`, `webp`.
    codec: Option<String>,
    /// A sound track: base64 of a WAV, MP3, FLAC, AAC, M4A, Ogg or Opus file, a data URL, or a link. It is cut to the film's length.
    audio: Option<String>,
}

/// Make a film
///
/// Answers as soon as the task is safely stored; look at it, watch it or cancel it at `/api/v1/tasks/{task_id}`. The scenes are made
/// independently of each other, on several devices if there are; what is finished stays finished: `POST /api/v1/tasks/{task_id}/retry` with
/// a scene makes that scene anew and takes the others over.
#[utoipa::path(
    post, path = "/api/v1/videos/generate", tag = "videos",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the same task")),
    request_body = GenerateVideoRequest,
    responses(
        (status = 202, description = "Accepted", body = AcceptedTask),
        (status = 400, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid key", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "More than you may ever ask for, or another project than your key's", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such model or project", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A field cannot be used", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests, too much waits already, or a quota has not enough left; `Retry-After` says for how many seconds", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn generate_video(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    JsonBody(request): JsonBody<GenerateVideoRequest>,
) -> Result<(StatusCode, Json<AcceptedTask>), ApiError> {
    let (commission, order) = request.commission(&state, &principal, &base_url, idempotency_key).await?;
    let filled = commission.fill_in_film(&state, order).await?;
    let job = commission.submit_filled(&state, filled).await?;
    Ok((StatusCode::ACCEPTED, Json(AcceptedTask::new(&state, &job))))
}

impl GenerateVideoRequest {
    /// Checks what no model has a say in, and finds the project and the model that are meant.
    pub(super) async fn commission<'a>(
        mut self,
        state: &ApiState,
        principal: &'a Principal,
        base_url: &str,
        idempotency_key: Option<String>,
    ) -> Result<(Commission<'a>, FilmOrder), ApiError> {
        self.refuse_what_comes_later()?;
        let priority = self.priority.map_or(Ok(0), |number| priority_within(number, MAX_PRIORITY))?;
        let order = CallbackOrder { url: self.callback_url.take(), events: self.callback_events.take() };
        let callback = order.checked(state, base_url)?;
        let scenes = self.take_scenes()?;
        let commission =
            Commission::new(state, principal, self.project_id.as_deref(), ModelKind::Video, self.model.take()).await?;
        let image_model = self.image_model.take();
        let mut config = self.video_config.take().unwrap_or_default();
        let audio = config.audio.take().map(OrderedFile::Text);
        let (scenes, images) = scenes.into_iter().map(SceneRequest::split).unzip();
        let whole = |number: Option<WholeNumber>| number.map(|number| number.0);
        let parameters = FilmParameters {
            scenes,
            fps: config.fps,
            size: AskedSize { width: whole(config.width), height: whole(config.height), resolution: config.resolution },
            upscale: config.upscale,
            interpolation: config.interpolation,
            codec: config.codec,
            has_audio: audio.is_some(),
            num_frames: whole(self.num_frames),
            num_inference_steps: whole(self.num_inference_steps),
            min_guidance_scale: self.min_guidance_scale,
            max_guidance_scale: self.max_guidance_scale,
            motion_bucket_id: whole(self.motion_bucket_id),
            noise_aug_strength: self.noise_aug_strength,
            decode_chunk_size: whole(self.decode_chunk_size),
            seed: whole(self.seed),
        };
        let order =
            FilmOrder { parameters, images, audio, image_model, priority, idempotency_key, callback, ..FilmOrder::default() };
        Ok((commission, order))
    }

    /// Fields that are part of the API but not of this version are refused, never ignored.
    fn refuse_what_comes_later(&self) -> Result<(), ApiError> {
        let refuse =
            |field: String| Err(ApiError::about(ErrorKind::UnsupportedField, field, "is not supported yet; leave it out"));
        for (index, scene) in self.scenes.iter().flatten().enumerate() {
            for (field, value) in [("character_id", &scene.character_id), ("scene_profile", &scene.scene_profile)] {
                if value.is_some() {
                    return refuse(format!("scenes[{index}].{field}"));
                }
            }
        }
        Ok(())
    }

    /// The scenes, or the one that the short form describes.
    fn take_scenes(&mut self) -> Result<Vec<SceneRequest>, ApiError> {
        let short = [
            ("prompt", self.prompt.is_some()),
            ("negative_prompt", self.negative_prompt.is_some()),
            ("image", self.image.is_some()),
            ("duration", self.duration.is_some()),
        ];
        match self.scenes.take() {
            Some(scenes) => match short.into_iter().find(|(_, is_given)| *is_given) {
                Some((field, _)) => Err(ApiError::invalid(field, "belongs into a scene when there are scenes")),
                None => Ok(scenes),
            },
            None if self.prompt.is_none() && self.image.is_none() => Err(ApiError::about(
                ErrorKind::MissingField,
                "scenes",
                "is missing; send scenes, or prompt or image for a film of one",
            )),
            None => Ok(vec![SceneRequest {
                id: None,
                prompt: self.prompt.take(),
                negative_prompt: self.negative_prompt.take(),
                duration: self.duration.take(),
                image: self.image.take(),
                seed: None,
                camera: None,
                transition: None,
                character_id: None,
                scene_profile: None,
            }]),
        }
    }
}

impl SceneRequest {
    fn split(self) -> (SceneParameters, Option<OrderedFile>) {
        let transition = self.transition.map(|transition| match transition {
            TransitionRequest::Name(kind) => TransitionParameters { kind, duration: None },
            TransitionRequest::Timed(TimedTransition { kind, duration }) => TransitionParameters { kind, duration },
        });
        let parameters = SceneParameters {
            id: self.id,
            prompt: self.prompt,
            negative_prompt: self.negative_prompt,
            duration: self.duration,
            image_size: None,
            seed: self.seed.map(|number| number.0),
            camera: self.camera,
            transition,
        };
        (parameters, self.image.map(OrderedFile::Text))
    }
}
