//! From checked words of a surface to an accepted job.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};

use super::error::{ApiError, ErrorKind};
use super::state::ApiState;
use crate::domain::{Job, ModelDescription, ModelId, Principal};
use crate::jobs::NewJob;
use crate::models::parameters::{ImageParameters, resolve_image_request};

const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;

/// What every surface hands over.
#[derive(Debug, Default)]
pub(super) struct Submission {
    /// The picture's parameters; the size of the initial picture is filled in here.
    pub(super) parameters: ImageParameters,
    /// The picture to start from, as the client sent it.
    pub(super) init_image: Option<String>,
    /// Higher goes first.
    pub(super) priority: i32,
    /// The client's `Idempotency-Key`.
    pub(super) idempotency_key: Option<String>,
}

/// The model that `name` names; absent: the configured one, or the only one there is.
pub(super) async fn find_model(state: &ApiState, name: Option<&str>) -> Result<ModelDescription, ApiError> {
    let id = match name {
        Some(name) => {
            let id = name.parse::<ModelId>();
            Some(id.map_err(|error| ApiError::new(ErrorKind::ModelNotFound, error.to_string()).with_field("model"))?)
        }
        None => state.settings.default_image_model.clone(),
    };
    let models = state.models.clone();
    // The catalogue looks at the disk.
    let found = tokio::task::spawn_blocking(move || match id {
        Some(id) => Ok(models.describe(&id)?),
        None => models.default_image_model().ok_or_else(|| no_default_model(&models.list())),
    });
    found.await.map_err(ApiError::internal)?
}

fn no_default_model(installed: &[ModelDescription]) -> ApiError {
    if installed.is_empty() {
        return ApiError::new(ErrorKind::ModelNotFound, "no image model is installed").with_field("model");
    }
    let names: Vec<&str> = installed.iter().map(|model| model.id.as_str()).collect();
    ApiError::about(
        ErrorKind::MissingField,
        "model",
        format!("is missing and there is no default; installed: {}", names.join(", ")),
    )
}

/// Every usable model, and the one that requests without a model get.
pub(super) async fn list_models(state: &ApiState) -> Result<(Vec<ModelDescription>, Option<ModelId>), ApiError> {
    let (models, configured) = (state.models.clone(), state.settings.default_image_model.clone());
    let listed = tokio::task::spawn_blocking(move || {
        let default = configured.or_else(|| models.default_image_model().map(|model| model.id));
        (models.list(), default)
    });
    listed.await.map_err(ApiError::internal)
}

/// Checks and submits.
pub(super) async fn submit(
    state: &ApiState,
    principal: &Principal,
    model: &ModelDescription,
    submission: Submission,
) -> Result<Job, ApiError> {
    let Submission { mut parameters, init_image, priority, idempotency_key } = submission;
    let init_image = match init_image {
        Some(text) => Some(state.init_images.decode("init_image", text).await?),
        None => None,
    };
    parameters.init_image_size = init_image.as_ref().map(|picture| picture.size);
    let seed = match &idempotency_key {
        Some(key) => repeatable_seed(principal, key),
        None => getrandom::u32().map_err(|error| ApiError::internal(error.to_string()))?.into(),
    };
    let request = resolve_image_request(parameters, model, seed)?;
    let job = NewJob { request, init_image_png: init_image.map(|picture| picture.png), priority, idempotency_key };
    Ok(state.jobs.submit(principal, job).await?)
}

/// The seed of a request that names none but has an idempotency key: sent again, it must be the same request.
///
/// Like the random ones it has 32 bits, which every other program's seed field and JSON's numbers can hold.
fn repeatable_seed(principal: &Principal, idempotency_key: &str) -> u64 {
    let hash = Sha256::new().chain_update(principal.user.as_str()).chain_update([0]).chain_update(idempotency_key).finalize();
    u64::from(u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]))
}

/// The `Idempotency-Key` header.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        match value.to_str() {
            Ok(key) if !key.is_empty() && key.len() <= MAX_IDEMPOTENCY_KEY_BYTES => Ok(Self(Some(key.to_owned()))),
            _ => Err(ApiError::invalid(
                "Idempotency-Key",
                format!("must be 1 to {MAX_IDEMPOTENCY_KEY_BYTES} visible ASCII characters"),
            )),
        }
    }
}
