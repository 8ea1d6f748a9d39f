//! How much memory a clip takes, as a formula of the networks' shapes and the device. The networks' own part is `svd/memory.rs`.

use crate::ops::DeviceFacts;
use crate::pipelines::memory::{HOST_BYTES, HOST_VALUE_BYTES, MemoryEstimate, Weights, vae_precision};
use crate::svd::memory::{unet_live_bytes, vae_decode_live_bytes, vae_encode_live_bytes};
use crate::svd::{SvdUNetConfig, TemporalVaeConfig};

/// Copies of a picture as f32 while it is resized: itself, blurred along one axis, and along both.
const PICTURE_COPIES: u64 = 3;
/// Copies of a chunk's frames as f32: what the decoder gives, and what was not yet taken.
const FRAME_COPIES: u64 = 2;
/// Latents of a clip on the host at once: the sample, the prediction, and what a step and a row make of them.
const LATENT_COPIES: u64 = 6;

/// What a request's memory depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    /// Height and width in latent positions.
    pub(super) latent: (usize, usize),
    pub(super) frames: usize,
    /// Frames that are decoded together.
    pub(super) chunk_frames: usize,
    /// Whether every evaluation has a second row.
    pub(super) guided: bool,
    /// Pixels of the initial picture.
    pub(super) init_pixels: u64,
}

/// What the formulas need of a model's shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// Image encoder and UNet.
    pub(super) networks: Weights,
    pub(super) autoencoder: Weights,
    pub(super) unet: SvdUNetConfig,
    pub(super) vae: TemporalVaeConfig,
}

/// The memory of one clip. Weights are those of all components together; activations are the largest of what an evaluation, the
/// autoencoder and loading take, which never happen at once.
pub(super) fn estimate(layout: &Layout, demand: Demand, facts: DeviceFacts) -> MemoryEstimate {
    let vae_facts = facts.with_precision(vae_precision(facts.precision, layout.vae.force_upcast));
    let factor = layout.vae.factor();
    let pixels = (demand.latent.0 * factor, demand.latent.1 * factor);
    let frame = frame_bytes(layout, demand.latent);

    let encode = vae_facts.held_bytes(vae_encode_live_bytes(&layout.vae, pixels, vae_facts)) + 2 * frame;
    let chunk = demand.chunk_frames as u64;
    let decode = vae_facts.held_bytes(vae_decode_live_bytes(&layout.vae, demand.latent, demand.chunk_frames, vae_facts))
        + FRAME_COPIES * chunk * frame;
    let load = layout.networks.load_bytes().max(layout.autoencoder.load_bytes());
    let init = demand.init_pixels * layout.vae.in_channels as u64;
    let resize = PICTURE_COPIES * init * HOST_VALUE_BYTES;
    let others = encode.max(decode).max(load).max(resize);
    let held = init + host_latent_bytes(layout, demand.latent, demand.frames) + HOST_BYTES;
    let total = |rows| others.max(evaluation_bytes(layout, demand.latent, demand.frames, rows, facts)) + held;
    MemoryEstimate {
        weights_bytes: layout.networks.bytes(facts) + layout.autoencoder.bytes(vae_facts),
        activations_bytes: total(if demand.guided { 2 } else { 1 }),
        least_activations_bytes: total(1),
    }
}

/// The memory of an evaluation of `rows` rows, bytes: what grows with a batch.
pub(super) fn evaluation_bytes(layout: &Layout, latent: (usize, usize), frames: usize, rows: usize, facts: DeviceFacts) -> u64 {
    facts.held_bytes(rows as u64 * unet_live_bytes(&layout.unet, latent, frames, facts))
}

/// A frame as f32 on the host.
fn frame_bytes(layout: &Layout, latent: (usize, usize)) -> u64 {
    let factor = layout.vae.factor() as u64;
    latent.0 as u64 * latent.1 as u64 * factor * factor * layout.vae.out_channels as u64 * HOST_VALUE_BYTES
}

fn host_latent_bytes(layout: &Layout, latent: (usize, usize), frames: usize) -> u64 {
    let values = latent.0 as u64 * latent.1 as u64 * frames as u64 * layout.unet.in_channels as u64;
    LATENT_COPIES * values * HOST_VALUE_BYTES
}
