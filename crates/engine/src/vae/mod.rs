//! `AutoencoderKL`: pictures to latents and back.

mod attention;
pub mod config;
mod decoder;
mod encoder;
mod memory;
mod mid_block;
pub mod network;
mod tiling;

pub(crate) use attention::SpatialAttention;
pub use config::VaeConfig;
pub(crate) use encoder::EncoderHalf;
pub use memory::{DecodePlan, decode_bytes, decode_plan};
pub(crate) use memory::{attention_bytes, encode_live_bytes};
pub use network::{Moments, Vae};

use crate::unet::ResnetConfig;

/// Of every group norm of an autoencoder.
pub(crate) const NORM_EPSILON: f32 = 1e-6;

/// A resnet of an autoencoder: no time embedding.
fn resnet_config(config: &VaeConfig, in_channels: usize, out_channels: usize) -> ResnetConfig {
    ResnetConfig { in_channels, out_channels, groups: config.norm_num_groups, epsilon: NORM_EPSILON, time_channels: None }
}
