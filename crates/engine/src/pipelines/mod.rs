//! Pipelines as step machines: they say what they want evaluated, and never run a network themselves.

pub mod driver;
pub mod machine;
mod memory;
mod model_files;
mod preview;
pub mod sdxl;
pub mod svd;

pub use driver::{Ended, Evaluator, Proceed, drive};
pub use machine::{Conditioning, Outputs, Row, StepMachine, Want};
pub use memory::MemoryEstimate;
