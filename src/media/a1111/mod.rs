//! What Stable Diffusion web UI (A1111) calls things: the text in its pictures, its samplers and its schedules.

mod generation_data;
mod infotext;
mod samplers;

pub use generation_data::parse_infotext;
pub use infotext::Infotext;
pub use samplers::{SAMPLERS, SCHEDULES, Sampler, SamplerNameError, Schedule, sampler_named, sampler_names};
