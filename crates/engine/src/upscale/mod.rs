//! Real-ESRGAN: pictures two or four times as large.
//!
//! - `config`: which network a file holds, from the shapes found in it;
//! - `rrdb`: `RRDBNet` (x4plus, x4plus-anime-6B, x2plus);
//! - `compact`: `SRVGGNetCompact` (animevideov3, general-x4v3);
//! - `tiles`: pictures in parts, so that memory has a bound;
//! - `upscaler`: files in, pictures out; `memory`: what it takes.

mod compact;
pub mod config;
mod memory;
mod rrdb;
mod tiles;
pub mod upscaler;

pub use config::{CompactConfig, RrdbConfig, UpscalerConfig};
pub use upscaler::Upscaler;
