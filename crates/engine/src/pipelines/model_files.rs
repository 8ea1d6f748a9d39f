//! Reading the JSON files of a model.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::small_file;

/// Far more than any configuration has.
const MOST_CONFIGURATION_BYTES: u64 = 1 << 20;

/// The text of a configuration; `None` when there is no such file.
pub(super) fn read_optional(path: &Path) -> Result<Option<String>> {
    small_file::read(path, MOST_CONFIGURATION_BYTES)
}

/// The text of a configuration that must be there.
pub(super) fn read(path: &Path) -> Result<String> {
    read_optional(path)?.ok_or_else(|| Error::File { path: path.to_owned(), source: std::io::ErrorKind::NotFound.into() })
}

/// JSON text from `path` as a `T`.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Malformed { path: path.to_owned(), reason: error.to_string() })
}
