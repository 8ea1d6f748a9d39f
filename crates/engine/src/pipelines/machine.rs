//! The step machine: what a pipeline run wants next, and what it is given.

use std::sync::Arc;

use crate::error::Result;
use crate::latent::Latent;
use crate::unet::Context;
use crate::vision::Picture;

/// What the prompt contributes to a row; shared by all evaluations of a request.
#[derive(Debug)]
pub struct Conditioning {
    /// Cross-attention keys and values.
    pub context: Context,
    /// Pooled text embedding.
    pub pooled: Vec<f32>,
    /// Size conditioning.
    pub time_ids: Vec<f32>,
}

/// One row of a model evaluation. `C` is what the model is conditioned on.
#[derive(Debug)]
pub struct Row<C = Conditioning> {
    /// The scaled model input.
    pub sample: Latent,
    /// The timestep.
    pub timestep: f32,
    /// Prompt and size.
    pub conditioning: Arc<C>,
}

impl<C> Clone for Row<C> {
    fn clone(&self) -> Self {
        Self { sample: self.sample.clone(), timestep: self.timestep, conditioning: Arc::clone(&self.conditioning) }
    }
}

/// What a machine needs next.
#[derive(Debug)]
pub enum Want<C = Conditioning> {
    /// A model evaluation of these rows (one with guidance off, two with it on: negative first).
    Evaluate {
        /// The rows.
        rows: Vec<Row<C>>,
    },
    /// These latents (already divided by the VAE's scaling factor) as a picture; of a clip, as many frames as are decoded together.
    Decode {
        /// The latents.
        latent: Latent,
    },
    /// Nothing: the picture, or the whole clip, is there.
    Done,
}

/// The answer to a [`Want`]. `D` is what latents are decoded to: a picture, or the frames of a clip.
#[derive(Clone, Debug)]
pub enum Outputs<D = Picture> {
    /// One latent per row.
    Evaluated(Vec<Latent>),
    /// The picture, or a frame per frame of the latents.
    Decoded(D),
}

/// A pipeline run for one picture or clip.
pub trait StepMachine {
    /// What the model's rows are conditioned on.
    type Conditioning;
    /// What its latents are decoded to.
    type Decoded;
    /// What is needed next. Asking twice gives the same answer.
    fn want(&self) -> Want<Self::Conditioning>;
    /// Gives what was wanted. An error leaves the machine as it was.
    fn give(&mut self, outputs: Outputs<Self::Decoded>) -> Result<()>;
    /// Evaluations done, evaluations in all.
    fn progress(&self) -> (usize, usize);
    /// The clean latents as now predicted (scaled), for previews.
    fn predicted(&self) -> Option<&Latent>;
    /// Position, latents, sampler history and generator state.
    fn checkpoint(&self) -> Vec<u8>;
    /// Continues from [`StepMachine::checkpoint`] of a machine begun with the same request on the same model.
    fn resume(&mut self, checkpoint: &[u8]) -> Result<()>;
}
