//! Answers of `/v1/images`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::output_format::OutputFormat;

/// The whole answer.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ImagesResponse {
    /// Unix seconds.
    pub(super) created: i64,
    /// The pictures.
    pub(super) data: Vec<ImageData>,
    /// Always `opaque`.
    #[schema(value_type = String, example = "opaque")]
    pub(super) background: &'static str,
    /// The files' format.
    pub(super) output_format: OutputFormat,
    /// As asked, when it was `low`, `medium`, `high`, `xhigh` or `max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quality: Option<String>,
    /// `WxH`.
    #[schema(example = "1024x1024")]
    pub(super) size: String,
    /// Nothing here is counted in tokens.
    pub(super) usage: Usage,
}

/// One picture, in the form that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ImageData {
    /// The file in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) b64_json: Option<String>,
    /// A link that needs no key, for an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
}

/// Token counts: all 0, since nothing here is counted in tokens; clients want the keys.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub(in crate::api) struct Usage {
    input_tokens: u64,
    input_tokens_details: InputTokensDetails,
    output_tokens: u64,
    total_tokens: u64,
}

/// Token counts: all 0.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
struct InputTokensDetails {
    image_tokens: u64,
    text_tokens: u64,
}

/// `image_generation.partial_image` and, with `usage` instead of the index, `image_generation.completed`; of an edit, `image_edit.…`.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ImageEvent {
    /// The event's name again.
    #[schema(value_type = String, example = "image_generation.partial_image")]
    pub(super) r#type: &'static str,
    /// The picture in base64.
    pub(super) b64_json: String,
    /// Always `opaque`.
    #[schema(value_type = String, example = "opaque")]
    pub(super) background: &'static str,
    /// Unix seconds.
    pub(super) created_at: i64,
    /// The picture's format.
    pub(super) output_format: OutputFormat,
    /// Which partial picture, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partial_image_index: Option<u32>,
    /// As asked, or `auto`.
    pub(super) quality: String,
    /// `WxH`.
    #[schema(example = "1024x1024")]
    pub(super) size: String,
    /// Of the completed picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Usage>,
}
