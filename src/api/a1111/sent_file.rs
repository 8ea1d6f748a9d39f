//! A file within a request: base64, bare or in a data URL, or a link.

use base64::Engine;
use bytes::Bytes;

use crate::api::error::ApiError;
use crate::api::film_submission::OrderedFile;
use crate::api::init_image::{BASE64, base64_of};
use crate::api::linked_file::{MOST_LINKED_BYTES, is_link};
use crate::api::state::ApiState;

/// The file that is the value of `field`, fetched if that is a link.
pub(super) async fn sent_file(state: &ApiState, field: &'static str, text: String) -> Result<OrderedFile, ApiError> {
    if is_link(&text) {
        return Ok(OrderedFile::Bytes(state.linked_files.fetch(field, &text, MOST_LINKED_BYTES).await?));
    }
    base64_of(field, text).map(OrderedFile::Text)
}

/// Its bytes. Takes the processor for as long as the file is.
pub(super) fn bytes_of(field: &'static str, file: OrderedFile) -> Result<Bytes, ApiError> {
    match file {
        OrderedFile::Bytes(bytes) => Ok(bytes),
        OrderedFile::Text(text) => {
            let decoded = BASE64.decode(text.trim());
            decoded.map(Bytes::from).map_err(|error| ApiError::invalid(field, format!("is not base64 of a picture: {error}")))
        }
    }
}
