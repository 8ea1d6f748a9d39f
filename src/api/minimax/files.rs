//! Where a film can be downloaded.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::film;
use crate::api::error::{ApiError, BaseResp, ErrorKind, MinimaxError};
use crate::api::extract::{BaseUrl, Caller, QueryParameters};
use crate::api::native::task_document::content_path;
use crate::api::state::ApiState;
use crate::domain::{FileId, UnixMs};

/// How long links live, seconds: as long as the guide of MiniMax says of its own.
const LINK_SECONDS: i64 = 9 * 60 * 60;

/// Which file.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct FileQuery {
    /// The file.
    #[param(required)]
    file_id: Option<String>,
}

/// A file.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RetrievedFile {
    file: FileDocument,
    base_resp: BaseResp,
}

/// What a file is.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct FileDocument {
    /// Its number, 63 bits.
    #[schema(example = 761_622_873_941_958_769_u64)]
    file_id: u64,
    /// Its length.
    bytes: u64,
    /// When it was made, Unix seconds.
    created_at: i64,
    /// Its name.
    #[schema(example = "local_20260102_030405_0_k3v9.mp4")]
    filename: String,
    /// `video_generation`.
    #[schema(value_type = String, example = "video_generation")]
    purpose: &'static str,
    /// A link that needs no key, for nine hours; ask again for a new one.
    download_url: String,
}

/// Get a film's file, in MiniMax's words
#[utoipa::path(
    get, path = "/v1/files/retrieve", tag = "minimax", params(FileQuery),
    responses((status = 200, description = "The file, or a refusal", content(
        (RetrievedFile = "application/json"), (MinimaxError = "application/json"),
    )))
)]
pub(in crate::api) async fn retrieve_file(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    QueryParameters(query): QueryParameters<FileQuery>,
) -> Result<Json<RetrievedFile>, ApiError> {
    let missing = || ApiError::about(ErrorKind::MissingField, "file_id", "is missing in the query");
    let text = query.file_id.filter(|id| !id.is_empty()).ok_or_else(missing)?;
    let id = FileId::parse(&text).ok_or_else(|| {
        let shown: String = text.chars().take(32).collect();
        ApiError::invalid("file_id", format!("is '{shown}'; allowed: the digits that the query gave"))
    })?;
    let job = film::find_by_file(&state, &principal, id).await?;
    let not_ready = || {
        let message = format!("task {} is {}; it has no file", job.id, job.state.as_str());
        ApiError::new(ErrorKind::NotReady, message).with_field("file_id")
    };
    let artifact = film::file(&job).ok_or_else(not_ready)?;
    let expires = UnixMs(state.clock.now().0 + LINK_SECONDS * 1000);
    let path = content_path(&job.id.to_string(), "result", 0);
    let file = FileDocument {
        file_id: id.number(),
        bytes: artifact.bytes,
        created_at: job.finished.unwrap_or(job.created).seconds(),
        filename: artifact.key.rsplit('/').next().unwrap_or_default().to_owned(),
        purpose: "video_generation",
        download_url: state.links.sign(&base_url, &path, "", expires),
    };
    Ok(Json(RetrievedFile { file, base_resp: BaseResp::success() }))
}
