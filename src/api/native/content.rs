//! Downloads: pictures, films and thumbnails, by key or by signed link.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::media_file;
use super::tasks::parse_task_id;
use crate::api::error::{ApiError, ErrorKind, Problem, UnifiedError};
use crate::api::extract::{BaseUrl, Caller, QueryParameters};
use crate::api::output_format::{OutputEncoding, OutputFormat};
use crate::api::state::ApiState;
use crate::api::unified;
use crate::api::unified::document::{UnifiedAnswer, UnifiedTask};
use crate::domain::{Artifact, Principal};

/// How the picture is wanted, and the signature of a link.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ContentQuery {
    /// `png` (of a picture made here as stored, with its parameters inside), `jpeg` or `webp`; absent: as stored.
    format: Option<OutputFormat>,
    /// Quality of a JPEG, 1 to 100; absent: 90.
    quality: Option<u8>,
}

const DEFAULT_QUALITY: u8 = 90;

/// Get a task's result: in the envelope of unified tasks, or its file
///
/// The file, the first picture or the film, is for requests that accept `image/*`, `video/*` or `application/octet-stream` by name, that
/// name a `format`, or that ask for a range; `/result/0` is always the file.
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}/result", tags = ["tasks", "unified"],
    params(("id" = String, Path, description = "The task"), ContentQuery),
    responses(
        (status = 200, description = "The task and its result; or the picture, or the film", content(
            (UnifiedAnswer<UnifiedTask> = "application/json"), (Vec<u8> = "image/png"), (Vec<u8> = "video/mp4"),
        )),
        (status = 206, description = "The part of the film that was asked for", content_type = "video/mp4"),
        (status = 416, description = "The film has no such part"),
        (status = 403, description = "The link is over or was changed", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such task or picture", content(
            (Problem = "application/problem+json"), (UnifiedError = "application/json"),
        )),
        (status = 409, description = "The task is not completed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_result(
    state: State<ApiState>,
    caller: Caller,
    BaseUrl(base_url): BaseUrl,
    Path(id): Path<String>,
    query: QueryParameters<ContentQuery>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !unified::asks_for_file(&uri, &headers) {
        return Ok(Json(unified::tasks::result(&state, &caller.0, &base_url, &id).await?).into_response());
    }
    get_result_by_index(state, caller, Path((id, "0".to_owned())), query, headers).await
}

/// Download a picture, or the film
///
/// A film comes as it is stored; ranges of it can be asked for.
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}/result/{index}", tag = "tasks",
    params(
        ("id" = String, Path, description = "The task"),
        ("index" = String, Path, description = "Which picture, from 0"),
        ContentQuery,
    ),
    responses(
        (status = 200, description = "The picture, or the film", content((Vec<u8> = "image/png"), (Vec<u8> = "video/mp4"))),
        (status = 206, description = "The part of the film that was asked for", content_type = "video/mp4"),
        (status = 416, description = "The film has no such part"),
        (status = 403, description = "The link is over or was changed", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such task or picture", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The task is not completed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_result_by_index(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path((id, index)): Path<(String, String)>,
    QueryParameters(query): QueryParameters<ContentQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let quality = query.quality.unwrap_or(DEFAULT_QUALITY);
    if !(1..=100).contains(&quality) {
        return Err(ApiError::invalid("quality", format!("is {quality}; allowed: 1 to 100")));
    }
    let artifact = find_artifact(&state, &principal, &id, &index).await?;
    if artifact.video.is_some() {
        let extension = artifact.key.rsplit_once('.').map_or("mp4", |(_, extension)| extension);
        let (tag, name) = (format!("\"{}\"", artifact.sha256), format!("{id}_{index}.{extension}"));
        return media_file::serve(&state, &artifact.key, &artifact.media_type, &tag, &name, &headers).await;
    }
    let stored = state.storage.get(&artifact.key).await?;
    let Artifact { key, media_type, sha256, .. } = artifact;
    let Some(format) = query.format else {
        let extension = key.rsplit_once('.').map_or("png", |(_, extension)| extension);
        let name = format!("inline; filename=\"{id}_{index}.{extension}\"");
        return Ok(file_response(stored, &media_type, &format!("\"{sha256}-\""), &name));
    };
    let encoding = OutputEncoding { format, quality };
    let bytes = encoding.encode(stored, &media_type).await?;
    let tag = format!("\"{sha256}-{}\"", encoding.query(&media_type).replace('&', "-"));
    let name = format!("inline; filename=\"{id}_{index}.{}\"", format.as_str());
    Ok(file_response(bytes, format.media_type(), &tag, &name))
}

/// Download the first picture's thumbnail
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}/thumbnail", tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    responses(
        (status = 200, description = "A small JPEG", content_type = "image/jpeg"),
        (status = 404, description = "No such task or picture", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_thumbnail(
    state: State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    get_thumbnail_by_index(state, caller, Path((id, "0".to_owned()))).await
}

/// Download a thumbnail
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}/thumbnail/{index}", tag = "tasks",
    params(("id" = String, Path, description = "The task"), ("index" = String, Path, description = "Which picture, from 0")),
    responses(
        (status = 200, description = "A small JPEG", content_type = "image/jpeg"),
        (status = 404, description = "No such task or picture", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_thumbnail_by_index(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path((id, index)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let artifact = find_artifact(&state, &principal, &id, &index).await?;
    let bytes = state.storage.get(&artifact.thumbnail_key).await?;
    let tag = format!("\"{}-thumbnail\"", artifact.sha256);
    let name = format!("inline; filename=\"{id}_{index}_thumbnail.jpeg\"");
    Ok(file_response(bytes, OutputFormat::Jpeg.media_type(), &tag, &name))
}

pub(super) async fn find_artifact(state: &ApiState, principal: &Principal, id: &str, index: &str) -> Result<Artifact, ApiError> {
    let job = state.jobs.get(principal, parse_task_id(id)?).await?;
    let Some(result) = job.result else {
        return Err(ApiError::new(ErrorKind::NotReady, format!("task {id} is {}; it has no result", job.state.as_str())));
    };
    let count = result.artifacts.len();
    index
        .parse()
        .ok()
        .and_then(|index: usize| result.artifacts.into_iter().nth(index))
        .ok_or_else(|| ApiError::new(ErrorKind::OutputNotFound, format!("task {id} has {count} pictures, numbered from 0")))
}

fn file_response(bytes: bytes::Bytes, media_type: &str, tag: &str, disposition: &str) -> Response {
    let headers = [
        (CONTENT_TYPE, media_type),
        (ETAG, tag),
        (CONTENT_DISPOSITION, disposition),
        // A task's files never change.
        (CACHE_CONTROL, "private, max-age=31536000, immutable"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers.map(|(name, value)| (name, value.to_owned())), bytes).into_response()
}
