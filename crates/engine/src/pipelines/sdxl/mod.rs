//! SDXL: text to picture and picture to picture.
//!
//! `info` reads what can be known without weights; `model` loads the networks and answers machines; `conditioning` makes rows'
//! conditioning of prompts; `generation` is the machine of one picture; `memory` is a formula.

mod conditioning;
mod files;
mod generation;
mod guidance;
mod info;
mod memory;
mod model;
mod request;

pub use generation::Generation;
pub use info::ModelInfo;
pub use model::{Decoded, SdxlModel};
pub use request::ImageRequest;

pub use super::memory::MemoryEstimate;
