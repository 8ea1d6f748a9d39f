//! Why tasks fail.

use serde::{Deserialize, Serialize};

/// Why a task failed, in classes that a server can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The model's files are missing or broken.
    ModelUnavailable,
    /// It did not fit into the device's memory.
    OutOfMemory,
    /// The device failed.
    DeviceFailed,
    /// The request turned out to be impossible for the model.
    InvalidRequest,
    /// A file of the task could not be read or written.
    StorageFailed,
    /// Anything else; the log has the cause.
    Internal,
}

/// Why a task gave no pictures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Failure {
    /// It was interrupted.
    #[error("cancelled")]
    Cancelled,
    /// It failed.
    #[error("{message}")]
    Failed {
        /// The class.
        class: FailureClass,
        /// One line for users.
        message: String,
    },
}

impl Failure {
    /// A failure of a class.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self::Failed { class, message: message.into() }
    }

    /// Whether more memory would have helped.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Failed { class: FailureClass::OutOfMemory, .. })
    }
}

/// Whether an error of the engine means that the device had no memory left.
pub(crate) fn is_out_of_memory(error: &framewright_engine::Error) -> bool {
    use framewright_engine::Error;
    matches!(error, Error::Device(_) | Error::Candle(_)) && {
        let text = error.to_string().to_ascii_lowercase();
        text.contains("out of memory") || text.contains("out_of_memory")
    }
}

impl From<framewright_engine::Error> for Failure {
    fn from(error: framewright_engine::Error) -> Self {
        use framewright_engine::Error;
        let class = match &error {
            Error::Cancelled => return Self::Cancelled,
            Error::Request { .. } => FailureClass::InvalidRequest,
            Error::File { .. } | Error::Malformed { .. } | Error::Checkpoint { .. } => FailureClass::ModelUnavailable,
            Error::Device(_) | Error::Candle(_) if is_out_of_memory(&error) => FailureClass::OutOfMemory,
            Error::Device(_) | Error::Candle(_) => FailureClass::DeviceFailed,
        };
        Self::new(class, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_engine_have_classes() {
        use framewright_engine::Error;
        let class = |error: Error| match Failure::from(error) {
            Failure::Failed { class, .. } => Some(class),
            Failure::Cancelled => None,
        };
        assert_eq!(class(Error::Cancelled), None);
        assert_eq!(class(Error::request("width", "no")), Some(FailureClass::InvalidRequest));
        assert_eq!(class(Error::checkpoint("unet", "no")), Some(FailureClass::ModelUnavailable));
        assert_eq!(class(Error::Device("CUDA_ERROR_OUT_OF_MEMORY".to_owned())), Some(FailureClass::OutOfMemory));
        assert_eq!(class(Error::Device("it is on fire".to_owned())), Some(FailureClass::DeviceFailed));
    }
}
