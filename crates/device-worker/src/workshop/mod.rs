//! What all tasks of a device work with: its operations, its models, its memory.

mod admission;
pub(crate) mod evaluation;

use std::fmt;
use std::time::Instant;

use framewright_engine::ops::{Interrupt, Ops};

use crate::models::shelf::{Model, Shelf};
use crate::pulse::Pulse;
use crate::task::{Failure, ModelFiles};
use crate::work::cadence::WriteCost;

/// Bytes of memory that are free on the device; `None` where that is not known.
pub type FreeBytes = Box<dyn Fn() -> Option<u64>>;

/// A device without its tasks.
pub(crate) struct Workshop {
    pub(crate) ops: Ops,
    pub(crate) shelf: Shelf,
    pub(crate) write_cost: WriteCost,
    pulse: Pulse,
    free_bytes: FreeBytes,
    /// Rows of an evaluation at most.
    max_batch_rows: usize,
}

impl fmt::Debug for Workshop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workshop").field("ops", &self.ops).field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

impl Workshop {
    /// A device with the models of `shelf`. What needs more memory than `free_bytes` says is refused.
    pub(crate) fn new(ops: Ops, shelf: Shelf, free_bytes: FreeBytes, max_batch_rows: usize, pulse: Pulse) -> Self {
        Self { ops, shelf, write_cost: WriteCost::default(), pulse, free_bytes, max_batch_rows }
    }

    /// Says that work for these tasks begins, and gives the interrupt that it must look at.
    pub(crate) fn enter(&self, members: &[Interrupt]) -> Interrupt {
        self.pulse.enter(members)
    }

    /// What is free; without end where that is not known.
    pub(crate) fn free_bytes(&self) -> u64 {
        (self.free_bytes)().unwrap_or(u64::MAX)
    }

    /// The model, loaded, and the seconds that it took to load it if it was not.
    pub(crate) fn ensure(&mut self, files: &ModelFiles, interrupt: &Interrupt) -> Result<(Model, Option<f64>), Failure> {
        if let Some(model) = self.shelf.get(files) {
            return Ok((model, None));
        }
        let begun = Instant::now();
        let interrupt = self.enter(std::slice::from_ref(interrupt));
        let model = self.with_relief(|workshop| Ok(workshop.shelf.load(files, &workshop.ops, &interrupt)?))?;
        Ok((model, Some(begun.elapsed().as_secs_f64())))
    }

    /// Does `work`, and once more after [`Self::relieve`] when memory was too little.
    pub(crate) fn with_relief<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        match work(self) {
            Err(failure) if failure.is_out_of_memory() => {
                self.relieve();
                work(self)
            }
            done => done,
        }
    }
}
