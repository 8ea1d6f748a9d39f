//! A model whose weights outweigh everything else that a process needs.

#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::fs;

use framewright_engine::ops::Ops;
use framewright_engine::unet::UNet;
use framewright_engine::weights::{Declarations, RandomWeights, Scope};
use tempfile::TempDir;

use crate::support;

/// A checkpoint with some 140 million parameters: `three_level` with a wider and deeper UNet, weights by formula, stored as f16.
pub(crate) fn large_checkpoint() -> TempDir {
    let directory = support::checkpoint("three_level");
    let unet = directory.path().join("unet");
    let path = unet.join("config.json");
    let mut config = support::json(&path);
    config["block_out_channels"] = [128, 256, 512].into();
    config["attention_head_dim"] = [2, 4, 8].into();
    config["transformer_layers_per_block"] = [1, 2, 4].into();
    fs::write(&path, config.to_string()).unwrap();
    let declarations = Declarations::default();
    let config = serde_json::from_value(config).unwrap();
    UNet::load(&Ops::declaring(), &Scope::root(&declarations), &config).unwrap();
    let weights = RandomWeights::salted("large/unet/");
    support::write_weights(&unet.join("diffusion_pytorch_model.safetensors"), &declarations.asked(), &weights, true);
    directory
}
