//! Videos made from videos: other words for one, or more of it.

use axum::Json;
use axum::extract::{FromRequest, Path, Request, State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::form::in_openai_words;
use super::lookup::find;
use super::object::VideoObject;
use crate::api::error::{ApiError, ErrorKind, OpenAiErrorEnvelope};
use crate::api::extract::{Caller, JsonBody};
use crate::api::openai::form::json_or_form;
use crate::api::openai::form_value::Number;
use crate::api::state::ApiState;
use crate::api::submission::{absent_seed, submit_derived};
use crate::domain::film::{Scene, Transition};
use crate::domain::{FilmRequest, Job, JobState};
use crate::jobs::{InputPurpose, NewInput};
use crate::media::encode::{PngText, encode_png};
use crate::media::video::last_frame;
use crate::models::film_parameters::{MOST_SCENES, prompt_and_camera, scene_frames};

/// Other words for a video.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct RemixRequest {
    /// What it shall show, in every scene.
    prompt: String,
}

/// More of a video.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ExtendRequest {
    /// What goes on.
    prompt: Option<String>,
    /// How long it goes on, a number or a text.
    #[schema(value_type = String, example = "4")]
    seconds: Number,
    /// The video.
    video: VideoReference,
}

/// A video of this server.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct VideoReference {
    /// Its identifier.
    id: String,
}

/// A request for more of a video, from JSON or from a form. A video that is sent as a file is none of this server.
pub(in crate::api) struct ExtendForm(ExtendRequest);

impl<S: Send + Sync> FromRequest<S> for ExtendForm {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (request, _) = json_or_form(request, state, "video").await?;
        Ok(Self(request))
    }
}

/// Make a video again with other words
///
/// Scenes that began with a picture of yours begin with it again; the others get a new one from the new prompt.
#[utoipa::path(
    post, path = "/v1/videos/{id}/remix", tag = "openai", params(("id" = String, Path, description = "The video")),
    request_body = RemixRequest,
    responses(
        (status = 200, description = "The new video as it stands", body = VideoObject),
        (status = 400, description = "A field cannot be used", body = OpenAiErrorEnvelope),
        (status = 404, description = "No such video, or not yours", body = OpenAiErrorEnvelope),
        (status = 409, description = "It has not ended", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn remix_video(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    JsonBody(request): JsonBody<RemixRequest>,
) -> Result<Json<VideoObject>, ApiError> {
    let job = find(&state, &principal, &id).await?;
    let mut film = ended_film(&job)?;
    let (prompt, camera) = prompt_and_camera(&request.prompt)?;
    if prompt.trim().is_empty() && film.scenes.iter().any(|scene| scene.init_image.is_none()) {
        return Err(ApiError::about(ErrorKind::MissingField, "prompt", "is empty"));
    }
    let seed = absent_seed(&principal, None)?;
    for (index, scene) in film.scenes.iter_mut().enumerate() {
        scene.prompt.clone_from(&prompt);
        scene.seed = seed.wrapping_add(index as u64);
        if camera.is_some() {
            scene.camera.clone_from(&camera);
        }
    }
    let new = submit_derived(&state, &principal, &job, film, Vec::new()).await.map_err(in_openai_words)?;
    Ok(Json(VideoObject::of_film(&new)?))
}

/// Make a video longer
///
/// The new video begins with the scenes of the old one, which are not made again, and goes on from its last frame.
#[utoipa::path(
    post, path = "/v1/videos/extensions", tag = "openai", request_body = ExtendRequest,
    responses(
        (status = 200, description = "The new video as it stands; `seconds` is its whole length", body = VideoObject),
        (status = 400, description = "A field cannot be used", body = OpenAiErrorEnvelope),
        (status = 404, description = "No such video, or not yours", body = OpenAiErrorEnvelope),
        (status = 409, description = "It is not completed", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn extend_video(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    ExtendForm(request): ExtendForm,
) -> Result<Json<VideoObject>, ApiError> {
    let job = find(&state, &principal, &request.video.id).await.map_err(|error| error.with_field("video"))?;
    let mut film = ended_film(&job)?;
    if job.state != JobState::Completed {
        return Err(ApiError::new(ErrorKind::NotReady, format!("video {} is {}", job.id, job.state.as_str())).with_field("video"));
    }
    if film.scenes.len() >= MOST_SCENES {
        return Err(ApiError::invalid("video", format!("has {MOST_SCENES} scenes already, which is as many as there may be")));
    }
    let frames = scene_frames(request.seconds.0, film.frame_rate, "seconds")?;
    let (prompt, camera) = prompt_and_camera(request.prompt.as_deref().unwrap_or_default())?;
    let index = film.scenes.len();
    let seed = absent_seed(&principal, None)?;
    film.scenes.push(Scene {
        id: new_scene_id(&film),
        prompt,
        negative_prompt: None,
        frames,
        init_image: None,
        seed,
        camera,
        transition: Transition::Cut,
    });
    let picture = NewInput { purpose: InputPurpose::Scene(index), bytes: last_picture(&state, &job).await? };
    let new = submit_derived(&state, &principal, &job, film, vec![picture]).await.map_err(in_openai_words)?;
    Ok(Json(VideoObject::of_film(&new)?))
}

fn ended_film(job: &Job) -> Result<FilmRequest, ApiError> {
    if !job.state.is_terminal() {
        return Err(ApiError::new(ErrorKind::NotReady, format!("video {} is {}; wait for its end", job.id, job.state.as_str())));
    }
    job.request.film().cloned().ok_or_else(|| ApiError::internal("a video's job is no film"))
}

/// A name that no scene has.
fn new_scene_id(film: &FilmRequest) -> String {
    let mut number = film.scenes.len() + 1;
    while film.scenes.iter().any(|scene| scene.id == format!("s{number}")) {
        number += 1;
    }
    format!("s{number}")
}

/// The last frame of a finished film, as PNG.
async fn last_picture(state: &ApiState, job: &Job) -> Result<bytes::Bytes, ApiError> {
    let gone = || ApiError::new(ErrorKind::OutputNotFound, "the video's file is no longer stored");
    let artifact = job.result.as_ref().and_then(|result| result.artifacts.first()).ok_or_else(gone)?;
    let path = state.storage.local_path(&artifact.key)?;
    let reading = tokio::task::spawn_blocking(move || {
        let frame = last_frame(&path, &|| false).map_err(ApiError::internal)?;
        encode_png(frame.width(), frame.height(), frame.rgb(), &PngText::default()).map_err(ApiError::internal)
    });
    Ok(reading.await.map_err(ApiError::internal)??.into())
}
