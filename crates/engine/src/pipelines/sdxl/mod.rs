//! SDXL: text to picture and picture to picture.
//!
//! `info` reads what can be known without weights; `model` loads the networks and answers machines; `conditioning` makes rows'
//! conditioning of prompts; `generation` is the machine of one picture; `preview` and `memory` are formulas.

mod conditioning;
mod files;
mod generation;
mod guidance;
mod info;
mod memory;
mod model;
mod preview;
mod request;

pub use generation::Generation;
pub use info::ModelInfo;
pub use memory::MemoryEstimate;
pub use model::{Decoded, SdxlModel};
pub use request::ImageRequest;
