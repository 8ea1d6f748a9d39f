//! Why a film, or a part of one, was not made.

use crate::domain::ErrorCode;
use crate::media::video::MediaError;
use crate::storage::StorageError;

/// Why a film, or a part of one, was not made. `Display` is a line for users.
#[derive(Debug, thiserror::Error)]
pub enum FilmError {
    /// Somebody stopped it.
    #[error("interrupted")]
    Interrupted,
    /// A file could not be read or written as film.
    #[error(transparent)]
    Media(MediaError),
    /// The storage failed.
    #[error("a part of the film cannot be read from the storage, or written to it")]
    Storage(#[from] StorageError),
    /// What a device left cannot be read.
    #[error("a finished frame cannot be read: {0}")]
    Frame(std::io::Error),
    /// What the task before should have left is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A network that the film asks for has no weights here.
    #[error("{network} is not configured on this server; set {key}, or ask for a film without it")]
    NotConfigured {
        /// Which.
        network: &'static str,
        /// The key that names its weights.
        key: &'static str,
    },
    /// This server's network is not the one that the film was accepted with.
    #[error("this server's {network} is another one than the film was accepted with; retry the film to make it with that of now")]
    OtherNetwork {
        /// Which.
        network: &'static str,
    },
    /// The weights of a network are not those that the server started with.
    #[error("the weights of {network} were replaced since this server started; restart it, then retry the film")]
    Replaced {
        /// Which.
        network: &'static str,
    },
    /// The weights of a network cannot be used.
    #[error("the weights of {network} cannot be read; the server's log says why")]
    Weights {
        /// Which.
        network: &'static str,
        /// Why.
        source: framewright_engine::Error,
    },
    /// A network failed.
    #[error("{network}: {source}")]
    Network {
        /// Which.
        network: &'static str,
        /// Why.
        source: framewright_engine::Error,
    },
    /// A task that a device runs.
    #[error("'{0}' is made by a device")]
    NotHere(&'static str),
}

impl FilmError {
    /// What `network` failed with.
    pub(super) fn network(network: &'static str, source: framewright_engine::Error) -> Self {
        use framewright_engine::Error;
        match source {
            Error::Cancelled => Self::Interrupted,
            // These name files of the server.
            Error::File { .. } | Error::Malformed { .. } | Error::Checkpoint { .. } => Self::Weights { network, source },
            Error::Request { .. } | Error::Device(_) | Error::Candle(_) => Self::Network { network, source },
        }
    }

    /// The class that users see.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Storage(_) | Self::Frame(_) | Self::Missing(_) => ErrorCode::StorageFailed,
            Self::Media(MediaError::StorageFull { .. } | MediaError::Write { .. } | MediaError::NotVideo { .. }) => {
                ErrorCode::StorageFailed
            }
            Self::Media(MediaError::Setting { .. } | MediaError::NotAudio { .. })
            | Self::Network { source: framewright_engine::Error::Request { .. }, .. } => ErrorCode::InvalidRequest,
            Self::NotConfigured { .. } | Self::OtherNetwork { .. } | Self::Replaced { .. } | Self::Weights { .. } => {
                ErrorCode::ModelUnavailable
            }
            Self::Network { .. } => ErrorCode::DeviceFailed,
            Self::Media(_) | Self::NotHere(_) | Self::Interrupted => ErrorCode::Internal,
        }
    }
}

impl From<MediaError> for FilmError {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Interrupted => Self::Interrupted,
            other => Self::Media(other),
        }
    }
}
