//! `/sdapi/v1/png-info`: what a picture says of itself.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::sent_file::{bytes_of, sent_file};
use crate::api::error::{A1111ValidationError, ApiError};
use crate::api::extract::JsonBody;
use crate::api::state::ApiState;
use crate::media::a1111::parse_infotext;
use crate::media::decode::DecodeError;
use crate::media::png_text::read_png_texts;

/// A picture.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct PngInfoRequest {
    /// Base64 of a file, a data URL, or a link.
    image: String,
}

/// What it says.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct PngInfo {
    /// The text that says how it was made; empty without one.
    info: String,
    /// Its other texts, by keyword.
    #[schema(value_type = Object)]
    items: Map<String, Value>,
    /// The fields of `info`, and what the web UI takes for granted where it is silent.
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
}

/// Read how a picture was made
///
/// From the texts of a PNG file. A JPEG or WebP file says nothing here.
#[utoipa::path(
    post, path = "/sdapi/v1/png-info", tag = "a1111", request_body = PngInfoRequest,
    responses(
        (status = 200, description = "What it says", body = PngInfo),
        (status = 422, description = "It is no picture", body = A1111ValidationError),
    )
)]
pub(in crate::api) async fn read_png_info(
    State(state): State<ApiState>,
    JsonBody(request): JsonBody<PngInfoRequest>,
) -> Result<Json<PngInfo>, ApiError> {
    const FIELD: &str = "image";
    let file = sent_file(&state, FIELD, request.image).await?;
    let read = state.init_images.beside_others(move || {
        let bytes = bytes_of(FIELD, file)?;
        match read_png_texts(&bytes) {
            Ok(texts) => Ok(PngInfo::new(texts)),
            Err(DecodeError::UnknownFormat) if is_picture(&bytes) => Ok(PngInfo::new(Vec::new())),
            Err(error) => Err(ApiError::invalid(FIELD, format!("cannot be used: {error}"))),
        }
    });
    read.await.map(Json)
}

impl PngInfo {
    fn new(texts: Vec<(String, String)>) -> Self {
        let (mut info, mut items) = (String::new(), Map::new());
        for (keyword, text) in texts {
            if keyword == "parameters" {
                info = text;
            } else {
                items.insert(keyword, Value::from(text));
            }
        }
        Self { parameters: parse_infotext(&info), info, items }
    }
}

/// A JPEG or WebP file by its first bytes.
fn is_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xD8, 0xFF]) || (bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"))
}
