//! Random bytes for signatures, which tests bring themselves.

use std::fmt;

/// Where random bytes come from.
pub trait Randomness: fmt::Debug + Send + Sync {
    /// Fills all of `bytes`. Fails with [`NoRandomness`].
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness>;
}

/// There are no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random numbers, so the call cannot be signed")]
pub struct NoRandomness;

/// The operating system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        getrandom::fill(bytes).map_err(|_| NoRandomness)
    }
}
