//! Samplers: how a sequence of model evaluations becomes a picture. One file a sampler; sigmas and steps in torch's own order of
//! precision, latents f32 on the host, so that steps agree with diffusers to 1e-5.
//!
//! [`config`] reads a checkpoint's settings and makes samplers of them. `betas` → `spacing` → `sigmas` are the tables;
//! `run` is what all samplers keep; `multistep` is what the three multistep solvers share.

mod betas;
pub mod config;
mod ddim;
mod dpmpp_2m;
mod dpmpp_2m_sde;
mod euler;
mod euler_ancestral;
mod heun;
mod kind;
mod lcm;
mod multistep;
mod run;
mod scheduler_file;
mod sigmas;
mod spacing;
mod unipc;

pub(crate) use betas::linspace;
pub use config::SchedulerConfig;
pub use kind::SamplerKind;

use crate::error::Result;
use crate::latent::Latent;
use crate::noise::Generator;

/// One run of a sampler over one latent. Configured before the first step, advanced by [`Sampler::step`]; its state can be saved
/// between any two steps.
pub trait Sampler: std::fmt::Debug + Send {
    /// How many model evaluations the whole run takes (Heun: two a step but the last).
    fn evaluations(&self) -> usize {
        self.run().evaluations()
    }
    /// How many are done.
    fn done(&self) -> usize {
        self.run().done()
    }
    /// What the initial noise is multiplied by (text to picture).
    fn initial_noise_scale(&self) -> f32;
    /// Noises clean latents for a run that starts here (picture to picture).
    fn add_noise(&self, clean: &Latent, noise: &Latent) -> Latent;
    /// The timestep of the next evaluation (of the last one, when all are done).
    fn timestep(&self) -> f32 {
        self.run().timestep()
    }
    /// The model's input for the next evaluation.
    fn model_input(&self, sample: &Latent) -> Latent;
    /// Takes the model's output for the next evaluation and gives the next sample. Fails when the run is over, or when the two
    /// latents are not of one shape.
    fn step(&mut self, model_output: &Latent, sample: &Latent, generator: &mut Generator) -> Result<Latent>;
    /// The clean latents as predicted by the last step; `None` before the first.
    fn predicted(&self) -> Option<&Latent> {
        self.run().predicted()
    }
    /// The timesteps of the whole schedule, one an evaluation, including those that a run from a picture skips.
    fn timesteps(&self) -> &[f32] {
        self.run().timesteps()
    }
    /// The noise levels of the whole schedule and the final one; empty for samplers without sigmas (DDIM, LCM).
    fn sigmas(&self) -> &[f32] {
        self.run().sigmas()
    }
    /// History and position as bytes, for checkpoints.
    fn state(&self) -> Vec<u8>;
    /// Restores [`Sampler::state`] into a sampler of the same configuration. Bytes that are not such a state are an error, and leave
    /// the sampler as it was.
    fn restore(&mut self, state: &[u8]) -> Result<()>;
    #[doc(hidden)]
    fn run(&self) -> &run::Run;
}
