//! SDXL: text to picture, picture to picture, and a masked part of a picture.
//!
//! `info` reads what can be known without weights; `model` loads the networks and answers machines; `conditioning` makes rows'
//! conditioning of prompts; `generation` is the machine of one picture, `inpainting` what a mask changes of it; `memory` is a formula.

mod conditioning;
mod files;
mod generation;
mod guidance;
mod info;
mod inpainting;
mod memory;
mod model;
mod request;

pub use generation::Generation;
pub use info::ModelInfo;
pub use model::{Decoded, SdxlModel};
pub use request::ImageRequest;

pub use super::memory::MemoryEstimate;
