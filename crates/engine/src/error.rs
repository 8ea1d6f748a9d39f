//! The errors of the engine.

use std::path::PathBuf;

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the engine. `Display` is one line that a user may read; `source` carries the cause for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A request value is outside what the model can do. `field` is the request's field name.
    #[error("{field}: {reason}")]
    Request {
        /// The field of the request, as users write it (`width`, `num_inference_steps`, …).
        field: &'static str,
        /// What is wrong, the allowed range, and what to do.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what its name promises: broken header, wrong JSON, offsets outside the file.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint asks for something that this engine does not have, or its tensors do not match its configuration.
    #[error("{component}: {reason}")]
    Checkpoint {
        /// `unet`, `vae`, `text_encoder`, …
        component: String,
        /// The tensor or configuration key, and what was expected.
        reason: String,
    },
    /// The device or its memory failed.
    #[error("device: {0}")]
    Device(String),
    /// candle failed on the CUDA path.
    #[error("device: {0}")]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// A request error on `field`.
    pub fn request(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Request { field, reason: reason.into() }
    }

    /// A checkpoint error in `component`.
    pub fn checkpoint(component: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Checkpoint { component: component.into(), reason: reason.into() }
    }
}

/// Text out of a file as an error shows it: hostile files hold megabytes.
pub(crate) fn shortened(text: &str) -> String {
    const MOST_CHARACTERS: usize = 120;
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_text_is_shortened() {
        assert_eq!(shortened("é".repeat(120).as_str()), "é".repeat(120));
        assert_eq!(shortened("é".repeat(121).as_str()), "é".repeat(120) + "…");
    }
}
