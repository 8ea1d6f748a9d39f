//! Random numbers: torch's CPU generator, reproduced, so that a seed gives diffusers' noise; and CUDA's, as others offer it.

pub mod generator;
mod mersenne;
pub mod philox;

pub use generator::Generator;
pub use philox::PhiloxGenerator;
