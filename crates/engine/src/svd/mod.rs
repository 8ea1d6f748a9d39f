//! Stable Video Diffusion's networks: `UNetSpatioTemporalConditionModel` and `AutoencoderKLTemporalDecoder`.
//!
//! The rows of an activation are the frames of all clips, clip after clip. Spatial layers see rows; temporal ones are told how many
//! rows are a clip, and reach over them in place.
//!
//! - `resnet`, `transformer`: a spatial part, a temporal part, and a learned blend of the two;
//! - `blocks`, `network`: the UNet; `context`: what it takes of a picture, computed once per request;
//! - `decoder`, `vae`: the autoencoder, whose encoder is that of `AutoencoderKL`;
//! - `memory`: what either works in; `shapes`: configurations of a file that has none.

mod blocks;
pub mod config;
mod context;
mod decoder;
pub mod memory;
pub mod network;
mod resnet;
pub mod shapes;
mod transformer;
pub mod vae;
pub mod vae_config;

pub use config::SvdUNetConfig;
pub use context::SvdContext;
pub use network::{SvdRow, SvdUNet};
pub use vae::TemporalVae;
pub use vae_config::TemporalVaeConfig;

/// Groups of every group norm; no configuration names another number.
const NORM_GROUPS: usize = 32;
