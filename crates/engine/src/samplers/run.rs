//! What every sampler keeps: its schedule, where it stands, and the last predicted picture.

use crate::error::{Error, Result};
use crate::latent::Latent;
use crate::snapshot::{Reader, Writer};

const VERSION: u8 = 1;

/// A schedule and a position in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    timesteps: Vec<f32>,
    sigmas: Vec<f32>,
    begin: usize,
    index: usize,
    predicted: Option<Latent>,
}

impl Run {
    /// `timesteps` has one entry an evaluation, `sigmas` one more or none. The first `begin` evaluations are skipped.
    pub(super) fn new(timesteps: Vec<f32>, sigmas: Vec<f32>, begin: usize) -> Self {
        let begin = begin.min(timesteps.len());
        Self { timesteps, sigmas, begin, index: begin, predicted: None }
    }

    pub(super) fn evaluations(&self) -> usize {
        self.timesteps.len() - self.begin
    }

    pub(super) fn done(&self) -> usize {
        self.index - self.begin
    }

    pub(super) fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    pub(super) fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    pub(super) fn predicted(&self) -> Option<&Latent> {
        self.predicted.as_ref()
    }

    /// Position in the whole schedule.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Evaluations to come, this one included.
    pub(super) fn remaining(&self) -> usize {
        self.timesteps.len() - self.index
    }

    /// Of the next evaluation, or the last one when all are done.
    pub(super) fn timestep(&self) -> f32 {
        self.timesteps.get(self.index).or(self.timesteps.last()).copied().unwrap_or_default()
    }

    /// σ `ahead` evaluations after the next one; past the end, the final level.
    pub(super) fn sigma(&self, ahead: usize) -> f32 {
        self.sigmas.get(self.index + ahead).or(self.sigmas.last()).copied().unwrap_or_default()
    }

    /// σ `back` evaluations before the next one; before the beginning, the first level.
    pub(super) fn sigma_before(&self, back: usize) -> f32 {
        self.sigmas.get(self.index.saturating_sub(back)).or(self.sigmas.last()).copied().unwrap_or_default()
    }

    /// What Euler's family multiplies unit noise by: the largest σ, with the clean part's unit variance where the schedule does not
    /// begin at pure noise (leading).
    pub(super) fn initial_noise_scale(&self, leading: bool) -> f32 {
        let greatest = self.sigmas.iter().copied().fold(0.0, f32::max);
        if leading { (greatest * greatest + 1.0).sqrt() } else { greatest }
    }

    /// Fails when the run is over or a latent has another shape than the sample.
    pub(super) fn check<'a>(&self, sample: &Latent, others: impl IntoIterator<Item = &'a Latent>) -> Result<()> {
        if self.index >= self.timesteps.len() {
            return Err(Error::checkpoint("sampler", format!("all {} evaluations are done", self.evaluations())));
        }
        if others.into_iter().any(|other| !other.same_shape(sample)) {
            return Err(Error::checkpoint(
                "sampler",
                "the model's output or the saved history has another shape than the sample",
            ));
        }
        Ok(())
    }

    /// One evaluation done.
    pub(super) fn advance(&mut self, predicted: Latent) {
        self.index += 1;
        self.predicted = Some(predicted);
    }

    /// A state that begins with this run, tagged with the sampler's kind.
    pub(super) fn save(&self, tag: [u8; 4]) -> Writer {
        let mut writer = Writer::new(tag, VERSION);
        writer.size(self.timesteps.len());
        writer.size(self.begin);
        writer.size(self.index);
        writer.optional_latent(self.predicted.as_ref());
        writer
    }

    /// Reads a state of a run over this schedule: the run as it was saved, and what `rest` takes from the bytes after it.
    pub(super) fn restored<T>(
        &self,
        tag: [u8; 4],
        state: &[u8],
        rest: impl FnOnce(&mut Reader<'_>, &Self) -> Option<T>,
    ) -> Result<(Self, T)> {
        let read = || {
            let mut reader = Reader::new(state, tag, VERSION)?;
            let (evaluations, begin, index) = (reader.size()?, reader.size()?, reader.size()?);
            let predicted = reader.optional_latent()?;
            let same = evaluations == self.timesteps.len() && begin == self.begin;
            if !same || !(begin..=evaluations).contains(&index) || predicted.is_some() != (index > begin) {
                return None;
            }
            let run = Self { timesteps: self.timesteps.clone(), sigmas: self.sigmas.clone(), begin, index, predicted };
            let rest = rest(&mut reader, &run)?;
            reader.finish()?;
            Some((run, rest))
        };
        read().ok_or_else(|| Error::checkpoint("sampler", "the saved state is broken or belongs to another run"))
    }
}

/// What the model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity (Salimans and Ho 2022).
    V,
    /// The clean latents.
    Sample,
}

impl Prediction {
    /// The clean latents where the sample is x0 + σ·noise (Euler's family).
    pub(super) fn clean_of_exploding(self, sigma: f32, output: &Latent, sample: &Latent) -> Latent {
        match self {
            Self::Epsilon => sample.zip(output, |sample, output| sample - sigma * output),
            Self::V => {
                let variance = sigma * sigma + 1.0;
                let factor = -sigma / variance.sqrt();
                sample.zip(output, |sample, output| output * factor + sample / variance)
            }
            Self::Sample => output.clone(),
        }
    }

    /// The clean latents where the sample is α·x0 + σ·noise with α² + σ² = 1.
    pub(super) fn clean_of_preserving(self, alpha: f32, sigma: f32, output: &Latent, sample: &Latent) -> Latent {
        match self {
            Self::Epsilon => sample.zip(output, |sample, output| (sample - sigma * output) / alpha),
            Self::V => sample.zip(output, |sample, output| alpha * sample - sigma * output),
            Self::Sample => output.clone(),
        }
    }
}

/// `clip_sample`: clean latents to ±`range`.
pub(super) fn clipped(clean: Latent, range: Option<f32>) -> Latent {
    match range {
        Some(range) => clean.map(|value| value.clamp(-range, range)),
        None => clean,
    }
}
