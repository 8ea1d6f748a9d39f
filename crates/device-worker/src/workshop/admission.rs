//! Memory: what may begin, what makes room for it, and how much is done at once.

use super::Workshop;
use crate::models::need::Need;
use crate::task::{Failure, ModelFiles};

impl Workshop {
    /// Makes room for a request to the model of `files`, or refuses with the numbers what would have the system kill the worker.
    pub(crate) fn admit(&mut self, files: &ModelFiles, need: Need) -> Result<(), Failure> {
        self.shelf.mark_stale(files);
        let need = if self.shelf.has(files) { need.beside_weights() } else { need };
        self.make_room(need.least_bytes(), Some(files)).map_err(|free| need.refusal(Some(free)))
    }

    /// Makes room for a model alone.
    pub(crate) fn admit_weights(&mut self, files: &ModelFiles) -> Result<(), Failure> {
        if self.shelf.has(files) {
            return Ok(());
        }
        let need = Need::of_weights(files, &self.ops)?;
        self.make_room(need.least_bytes(), Some(files)).map_err(|free| need.refusal(Some(free)))
    }

    /// Frees memory until `needed` bytes are free: scratch first, then idle models other than that of `files`, the least recently used
    /// first. The error is what is free in the end.
    pub(crate) fn make_room(&mut self, needed: u64, files: Option<&ModelFiles>) -> Result<(), u64> {
        let too_little = |workshop: &Self| (workshop.free_bytes)().filter(|free| *free < needed);
        if too_little(self).is_none() {
            return Ok(());
        }
        // What earlier requests worked in counts as taken until it is given back.
        self.ops.release_scratch();
        loop {
            let Some(free) = too_little(self) else { return Ok(()) };
            if !self.shelf.evict_one(files) {
                return Err(free);
            }
        }
    }

    /// The device said that its memory is full: gives back everything that nobody uses.
    pub(crate) fn relieve(&mut self) {
        tracing::warn!("The device is out of memory; unloading what is idle");
        while self.shelf.evict_one(None) {}
        self.ops.release_scratch();
    }

    /// A failure of a task whose model is loaded: for lack of memory, with what was needed.
    pub(crate) fn with_numbers(&self, failure: Failure, need: Need) -> Failure {
        if failure.is_out_of_memory() { need.beside_weights().refusal((self.free_bytes)()) } else { failure }
    }

    /// How many rows an evaluation may have: as many as fit, at least one, at most what is configured. `bytes_of`: what so many take.
    pub(crate) fn rows_that_fit(&self, wanted: usize, bytes_of: impl Fn(usize) -> u64) -> usize {
        self.as_many_as_fit(wanted.min(self.max_batch_rows), bytes_of)
    }

    /// How many of something fit into what is free: at least one, at most `wanted`.
    pub(crate) fn as_many_as_fit(&self, wanted: usize, bytes_of: impl Fn(usize) -> u64) -> usize {
        if wanted <= 1 {
            return 1;
        }
        // What the arena keeps is used first.
        let Some(free) = (self.free_bytes)().map(|free| free.saturating_add(self.ops.kept_scratch_bytes())) else {
            return wanted;
        };
        most(wanted, |count| bytes_of(count) <= free)
    }
}

/// The most, at least one and at most `wanted`, that `fit`; fewer than fitting ones fit too.
fn most(wanted: usize, fit: impl Fn(usize) -> bool) -> usize {
    (2..=wanted).rev().find(|count| fit(*count)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_fit() {
        assert_eq!(most(8, |_| true), 8);
        assert_eq!(most(8, |rows| rows <= 5), 5);
        assert_eq!(most(8, |_| false), 1);
        assert_eq!(most(1, |_| false), 1);
    }
}
