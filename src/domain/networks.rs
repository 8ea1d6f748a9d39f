//! The networks that films are finished with, as requests and task keys speak of them.

use serde::{Deserialize, Serialize};

/// Which network it is: with another one, or in another precision, frames come out otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkIdentity {
    /// SHA-256 of the file of its weights, hexadecimal.
    pub sha256: String,
    /// The precision that it computes in: `f32`, `bf16`.
    pub precision: String,
}

/// The networks that a server has beside its models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstalledNetworks {
    /// RIFE, which makes frames between frames.
    pub rife: Option<NetworkIdentity>,
    /// Real-ESRGAN, which enlarges.
    pub realesrgan: Option<NetworkIdentity>,
}
