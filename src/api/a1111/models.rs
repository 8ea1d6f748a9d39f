//! `/sdapi/v1/sd-models` and `/sdapi/v1/sd-vae`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::error::ApiError;
use crate::api::extract::Caller;
use crate::api::model_choice::list_models;
use crate::api::state::ApiState;
use crate::domain::{LOCAL_PROVIDER, ModelDescription, ModelId, ModelKind, Principal, Sha256Digest};

/// Digits of a hash that the web UI shows.
const SHORT_HASH_DIGITS: usize = 10;

/// A checkpoint.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::api) struct SdModel {
    /// What `sd_model_checkpoint` takes; the name alone does as well.
    #[schema(example = "demo-sdxl [0123456789]")]
    pub(super) title: String,
    /// The model's name.
    #[schema(example = "demo-sdxl")]
    pub(super) model_name: String,
    /// First digits of its denoiser's hash; null until it was first used.
    pub(super) hash: Option<String>,
    /// Its denoiser's hash; null until it was first used.
    pub(super) sha256: Option<String>,
    /// The model's name again: files are no client's to know.
    filename: String,
    /// Always null.
    #[schema(value_type = Option<String>)]
    config: Option<&'static str>,
}

/// A VAE.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct SdVae {
    model_name: String,
    filename: String,
}

impl SdModel {
    /// A model with the hash of its denoiser, if that is known.
    fn new(model: &ModelId, digest: Option<Sha256Digest>) -> Self {
        let hash = digest.map(|digest| digest.short(SHORT_HASH_DIGITS));
        Self {
            title: hash.as_ref().map_or_else(|| model.to_string(), |hash| format!("{model} [{hash}]")),
            model_name: model.to_string(),
            hash,
            sha256: digest.map(|digest| digest.to_string()),
            filename: model.to_string(),
            config: None,
        }
    }
}

/// The models of this server for pictures that the caller may use, and the one that its requests get which name none.
pub(super) async fn checkpoints(state: &ApiState, principal: &Principal) -> Result<(Vec<SdModel>, Option<SdModel>), ApiError> {
    let seen = list_models(state, principal).await?;
    let current = state.a1111.checkpoint(principal).or(seen.default_image);
    let is_checkpoint = |model: &ModelDescription| model.kind == ModelKind::Image && model.provider == LOCAL_PROVIDER;
    let ids: Vec<ModelId> = seen.models.into_iter().filter(is_checkpoint).map(|model| model.id).collect();
    let catalog = state.models.clone();
    let models = tokio::task::spawn_blocking(move || -> Vec<SdModel> {
        ids.iter().map(|id| SdModel::new(id, catalog.known_identity(id).and_then(|identity| identity.denoiser()))).collect()
    });
    let models = models.await.map_err(ApiError::internal)?;
    let current = current.and_then(|id| models.iter().find(|model| model.model_name == id.as_str()).cloned());
    Ok((models, current))
}

/// List the checkpoints
#[utoipa::path(get, path = "/sdapi/v1/sd-models", tag = "a1111", responses((status = 200, description = "Every model of this server for pictures that you may use", body = Vec<SdModel>)))]
pub(in crate::api) async fn list_sd_models(
    State(state): State<ApiState>,
    Caller(principal): Caller,
) -> Result<Json<Vec<SdModel>>, ApiError> {
    checkpoints(&state, &principal).await.map(|(models, _)| Json(models))
}

/// List the VAEs
///
/// None: a model uses the VAE that it comes with.
#[utoipa::path(get, path = "/sdapi/v1/sd-vae", tag = "a1111", responses((status = 200, description = "None", body = Vec<SdVae>)))]
pub(in crate::api) async fn list_sd_vaes() -> Json<Vec<SdVae>> {
    Json(Vec::new())
}
