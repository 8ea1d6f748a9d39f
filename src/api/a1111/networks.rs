//! What the web UI puts beside its models, and this server has none of: empty lists in the web UI's forms.

use std::collections::BTreeMap;

use axum::Json;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Something with a name.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct NamedItem {
    name: String,
}

/// Embeddings by name.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(in crate::api) struct Embeddings {
    #[schema(value_type = Object)]
    loaded: BTreeMap<String, Value>,
    #[schema(value_type = Object)]
    skipped: BTreeMap<String, Value>,
}

/// List the LoRA networks
///
/// None: this version has none, and refuses prompts that ask for one.
#[utoipa::path(get, path = "/sdapi/v1/loras", tag = "a1111", responses((status = 200, description = "None", body = Vec<NamedItem>)))]
pub(in crate::api) async fn list_loras() -> Json<Vec<NamedItem>> {
    Json(Vec::new())
}

/// List the embeddings
#[utoipa::path(get, path = "/sdapi/v1/embeddings", tag = "a1111", responses((status = 200, description = "None", body = Embeddings)))]
pub(in crate::api) async fn list_embeddings() -> Json<Embeddings> {
    Json(Embeddings::default())
}

/// List the hypernetworks
#[utoipa::path(get, path = "/sdapi/v1/hypernetworks", tag = "a1111", responses((status = 200, description = "None", body = Vec<NamedItem>)))]
pub(in crate::api) async fn list_hypernetworks() -> Json<Vec<NamedItem>> {
    Json(Vec::new())
}

/// List what restores faces
#[utoipa::path(get, path = "/sdapi/v1/face-restorers", tag = "a1111", responses((status = 200, description = "None", body = Vec<NamedItem>)))]
pub(in crate::api) async fn list_face_restorers() -> Json<Vec<NamedItem>> {
    Json(Vec::new())
}

/// List the Real-ESRGAN models
///
/// None: those that films are enlarged with are no upscalers of single pictures.
#[utoipa::path(get, path = "/sdapi/v1/realesrgan-models", tag = "a1111", responses((status = 200, description = "None", body = Vec<NamedItem>)))]
pub(in crate::api) async fn list_realesrgan_models() -> Json<Vec<NamedItem>> {
    Json(Vec::new())
}

/// List the styles
#[utoipa::path(get, path = "/sdapi/v1/prompt-styles", tag = "a1111", responses((status = 200, description = "None", body = Vec<NamedItem>)))]
pub(in crate::api) async fn list_prompt_styles() -> Json<Vec<NamedItem>> {
    Json(Vec::new())
}
