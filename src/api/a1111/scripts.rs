//! The web UI's scripts and extensions: there are none here, and clients ask before they use one.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::networks::NamedItem;

/// Names of scripts.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(in crate::api) struct Scripts {
    txt2img: Vec<String>,
    img2img: Vec<String>,
}

/// List the scripts
#[utoipa::path(get, path = "/sdapi/v1/scripts", tag = "a1111", responses((status = 200, description = "None", body = Scripts)))]
pub(in crate::api) async fn list_scripts() -> Json<Scripts> {
    Json(Scripts::default())
}

/// Describe the scripts
#[utoipa::path(get, path = "/sdapi/v1/script-info", tag = "a1111", responses((status = 200, description = "None", body = Vec<NamedItem>)))]
pub(in crate::api) async fn list_script_info() -> Json<Vec<NamedItem>> {
    Json(Vec::new())
}

/// List the extensions
#[utoipa::path(get, path = "/sdapi/v1/extensions", tag = "a1111", responses((status = 200, description = "None", body = Vec<NamedItem>)))]
pub(in crate::api) async fn list_extensions() -> Json<Vec<NamedItem>> {
    Json(Vec::new())
}
