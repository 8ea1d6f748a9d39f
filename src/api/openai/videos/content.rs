//! A video's files.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::lookup::find;
use crate::api::error::{ApiError, ErrorKind, OpenAiErrorEnvelope};
use crate::api::extract::{Caller, QueryParameters};
use crate::api::native::media_file::serve;
use crate::api::state::ApiState;

/// Which file.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ContentQuery {
    /// `video`, `thumbnail` or `spritesheet`; absent: `video`.
    variant: Option<String>,
}

/// Download a video
///
/// Ranges of it can be asked for.
#[utoipa::path(
    get, path = "/v1/videos/{id}/content", tag = "openai",
    params(("id" = String, Path, description = "The video"), ContentQuery),
    responses(
        (status = 200, description = "The file", content((Vec<u8> = "video/mp4"), (Vec<u8> = "image/jpeg"))),
        (status = 206, description = "The part of the file that was asked for", content_type = "video/mp4"),
        (status = 400, description = "No such variant", body = OpenAiErrorEnvelope),
        (status = 404, description = "No such video, or not yours", body = OpenAiErrorEnvelope),
        (status = 409, description = "It is not completed", body = OpenAiErrorEnvelope),
        (status = 416, description = "The file has no such part"),
    )
)]
pub(in crate::api) async fn get_video_content(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    QueryParameters(query): QueryParameters<ContentQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = find(&state, &principal, &id).await?;
    let not_ready = || ApiError::new(ErrorKind::NotReady, format!("video {id} is {}; it has no content", job.state.as_str()));
    let artifact = job.result.as_ref().and_then(|result| result.artifacts.first()).ok_or_else(not_ready)?;
    let sheet = artifact.video.as_ref().and_then(|video| video.sprite_sheet_key.as_deref());
    let extension = artifact.key.rsplit_once('.').map_or("mp4", |(_, extension)| extension);
    let (key, media_type, name) = match query.variant.as_deref().unwrap_or("video") {
        "video" => (artifact.key.as_str(), artifact.media_type.as_str(), format!("{id}.{extension}")),
        "thumbnail" => (artifact.thumbnail_key.as_str(), "image/jpeg", format!("{id}_thumbnail.jpeg")),
        "spritesheet" => {
            let key = sheet.ok_or_else(|| ApiError::new(ErrorKind::OutputNotFound, "this video has no sprite sheet"))?;
            (key, "image/jpeg", format!("{id}_spritesheet.jpeg"))
        }
        other => {
            let shown: String = other.chars().take(32).collect();
            return Err(ApiError::invalid("variant", format!("is '{shown}'; allowed: video, thumbnail, spritesheet")));
        }
    };
    let tag = format!("\"{}-{name}\"", artifact.sha256);
    serve(&state, key, media_type, &tag, &name, &headers).await
}
