//! Models as OpenAI lists them.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::error::{ApiError, OpenAiErrorEnvelope};
use crate::api::extract::Caller;
use crate::api::model_choice::{find_model, list_models};
use crate::api::state::ApiState;
use crate::domain::ModelDescription;

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct OpenAiModel {
    id: String,
    #[schema(value_type = String, example = "model")]
    object: &'static str,
    /// Unix seconds.
    created: i64,
    #[schema(value_type = String, example = "framewright")]
    owned_by: &'static str,
}

/// Every model.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct OpenAiModelList {
    #[schema(value_type = String, example = "list")]
    object: &'static str,
    data: Vec<OpenAiModel>,
}

impl From<ModelDescription> for OpenAiModel {
    fn from(model: ModelDescription) -> Self {
        Self { id: model.id.to_string(), object: "model", created: model.created, owned_by: "framewright" }
    }
}

/// List the models
#[utoipa::path(get, path = "/v1/models", tag = "openai", responses((status = 200, description = "Every model that you may use", body = OpenAiModelList)))]
pub(in crate::api) async fn list_openai_models(
    State(state): State<ApiState>,
    Caller(principal): Caller,
) -> Result<Json<OpenAiModelList>, ApiError> {
    let models = list_models(&state, &principal).await?.models;
    Ok(Json(OpenAiModelList { object: "list", data: models.into_iter().map(OpenAiModel::from).collect() }))
}

/// Look at a model
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "openai", params(("id" = String, Path, description = "The model")),
    responses(
        (status = 200, description = "The model", body = OpenAiModel),
        (status = 404, description = "No such model", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn get_openai_model(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Json<OpenAiModel>, ApiError> {
    Ok(Json(find_model(&state, &principal, id).await?.into()))
}
