//! Diffusion networks, samplers and pipelines.
//!
//! This package is the mathematics of framewright. It knows nothing of servers: no async runtime, no HTTP, no database, no YAML,
//! no environment variables, no network. It can be published and used alone.
//!
//! Reading order: [`activation`] (what flows between operations) → [`ops`] (the few operations that cost time, one implementation
//! per kind of device) → [`unet`], [`vae`], [`svd`], [`text`], [`vision`] (networks, written against `ops` alone; [`upscale`] and
//! [`interpolate`] for what comes after) → [`samplers`] and [`noise`] → [`pipelines`] (step machines that say what they want evaluated
//! and never run a network themselves).
//!
//! Invariants:
//! - networks see [`activation::Activation`] and [`ops`]; no network calls a candle tensor method;
//! - on the CPU a row's bits depend neither on its batch mates nor on the number of threads;
//! - every tensor of a checkpoint is either used or named in an error;
//! - a model computes the same whether its weights are in memory of its own or mapped from a shared file ([`weights::packed`]);
//! - `unsafe` lives in `ops::kernels` alone.

pub mod activation;
pub mod error;
pub mod fingerprint;
pub mod interpolate;
pub mod latent;
pub mod noise;
pub mod ops;
pub mod pipelines;
pub mod samplers;
mod small_file;
mod snapshot;
pub mod svd;
pub mod text;
pub mod unet;
pub mod upscale;
pub mod vae;
pub mod vision;
pub mod weights;

pub use error::{Error, Result};

/// The version, and a number for the sources of this package: another build may compute, and pack weights, differently.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("FRAMEWRIGHT_SOURCES"));
