//! `UNet2DConditionModel` with every SDXL feature.

mod blocks;
pub mod config;
mod context;
mod embedding;
pub mod network;
mod resnet;
mod transformer;

pub use config::UNetConfig;
pub use context::Context;
pub(crate) use embedding::{EmbeddingLayers, Sinusoid, push_sinusoid};
pub use network::{Residuals, UNet, UNetRow};
pub(crate) use resnet::{Resnet, ResnetConfig, conv_1x1, conv_3x3, resnet_bytes};
