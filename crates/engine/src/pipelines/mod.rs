//! Pipelines as step machines: they say what they want evaluated, and never run a network themselves.

pub mod driver;
pub mod machine;
pub mod sdxl;

pub use driver::{Ended, Evaluator, Proceed, drive};
pub use machine::{Conditioning, Outputs, Row, StepMachine, Want};
