//! RIFE 4.25 and 4.26: frames between frames.
//!
//! - `head`: the features of a frame; `block`: one refinement of the flow; `network`: all of them;
//! - `interpolator`: files and frames in, frames out; `memory`: what it takes;
//! - `times`: which frames a change of the rate needs.

mod block;
mod config;
mod head;
pub mod interpolator;
mod memory;
mod network;
pub mod times;

pub use config::InterpolatorConfig;
pub use interpolator::{Encoded, Interpolator};
pub use times::resample_times;
