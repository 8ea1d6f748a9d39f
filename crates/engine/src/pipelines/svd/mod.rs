//! Stable Video Diffusion: picture to clip.
//!
//! `info` reads what can be known without weights, from the `files` of a model; `model` loads the networks and answers machines;
//! `generation` is the machine of one clip; `memory` is a formula.

mod files;
mod generation;
mod guidance;
mod info;
mod memory;
mod model;
mod request;

pub use generation::{ClipConditioning, Generation};
pub use info::VideoModelInfo;
pub use model::SvdModel;
pub use request::VideoRequest;

pub use super::memory::MemoryEstimate;
