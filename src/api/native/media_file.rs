//! Stored files as they are, whole or in ranges, streamed from the disk.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, ETAG, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;
use tower_http::services::ServeFile;

use super::content::find_artifact;
use super::tasks::parse_task_id;
use crate::api::error::{ApiError, ErrorKind, Problem};
use crate::api::extract::Caller;
use crate::api::state::ApiState;
use crate::domain::JobState;
use crate::domain::plan::{TaskRole, plan};

/// A stored file, or the part of it that `headers` ask for. `tag` changes when the file does; `name` is what a browser saves it as.
pub(in crate::api) async fn serve(
    state: &ApiState,
    key: &str,
    media_type: &str,
    tag: &str,
    name: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let path = state.storage.local_path(key)?;
    if !tokio::fs::try_exists(&path).await.map_err(ApiError::internal)? {
        return Err(ApiError::new(ErrorKind::OutputNotFound, "the file is no longer stored"));
    }
    let media_type = media_type.parse().map_err(ApiError::internal)?;
    let mut request = Request::new(Body::empty());
    *request.headers_mut() = headers.clone();
    let served = ServeFile::new_with_mime(path, &media_type).oneshot(request).await.map_err(ApiError::internal)?;
    let mut response = served.map(Body::new).into_response();
    if response.status() == StatusCode::NOT_FOUND {
        return Err(ApiError::new(ErrorKind::OutputNotFound, "the file is no longer stored"));
    }
    let disposition = format!("inline; filename=\"{name}\"");
    for (header, value) in [
        (ETAG, tag),
        (CONTENT_DISPOSITION, disposition.as_str()),
        // A task's files never change.
        (CACHE_CONTROL, "private, max-age=31536000, immutable"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(header, HeaderValue::from_str(value).map_err(ApiError::internal)?);
    }
    Ok(response)
}

/// Download a film's sheet of small pictures
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}/spritesheet/{index}", tag = "videos",
    params(("id" = String, Path, description = "The task"), ("index" = String, Path, description = "Which film, from 0")),
    responses(
        (status = 200, description = "A JPEG of 5 × 5 pictures in the order of the film", content_type = "image/jpeg"),
        (status = 404, description = "No such task, or no film", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_sprite_sheet(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path((id, index)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let artifact = find_artifact(&state, &principal, &id, &index).await?;
    let sheet = artifact.video.and_then(|video| video.sprite_sheet_key);
    let key = sheet.ok_or_else(|| ApiError::new(ErrorKind::OutputNotFound, format!("task {id} made no film")))?;
    let tag = format!("\"{}-spritesheet\"", artifact.sha256);
    serve(&state, &key, "image/jpeg", &tag, &format!("{id}_{index}_spritesheet.jpeg"), &headers).await
}

/// Download a picture of a scene
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}/scenes/{index}", tag = "videos",
    params(("id" = String, Path, description = "The task"), ("index" = String, Path, description = "Which scene, from 0")),
    responses(
        (status = 200, description = "A small JPEG", content_type = "image/jpeg"),
        (status = 404, description = "No such task or scene, or it is not made yet", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_scene_thumbnail(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path((id, index)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job_id = parse_task_id(&id)?;
    let job = state.jobs.get(&principal, job_id).await?;
    let not_there = || ApiError::new(ErrorKind::OutputNotFound, format!("task {id} has no finished scene of that number"));
    let scene: usize = index.parse().map_err(|_| not_there())?;
    let position = plan(&job.request).iter().position(|task| task.role == TaskRole::Scene { scene }).ok_or_else(not_there)?;
    let record = state.jobs.tasks(&principal, job_id).await?;
    let made = record.into_iter().find(|task| task.position as usize == position && task.state == JobState::Completed);
    let artifact = made.and_then(|task| task.result).and_then(|result| result.artifacts.into_iter().next());
    let artifact = artifact.ok_or_else(not_there)?;
    let tag = format!("\"{}-thumbnail\"", artifact.sha256);
    serve(&state, &artifact.thumbnail_key, "image/jpeg", &tag, &format!("{id}_scene_{index}.jpeg"), &headers).await
}
