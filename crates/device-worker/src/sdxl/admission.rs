//! Memory: what may begin, what makes room for it, and what is said when there is too little.

use framewright_engine::pipelines::sdxl::{ImageRequest, MemoryEstimate, ModelInfo};

use super::SdxlDevice;
use super::models::smallest_request;
use crate::task::{Failure, FailureClass, ModelFiles};

impl SdxlDevice {
    /// Makes room for a request, or refuses with the numbers what would have the system kill the worker.
    pub(super) fn admit(&mut self, files: &ModelFiles, request: &ImageRequest) -> Result<(), Failure> {
        self.shelf.mark_stale(files);
        let info = ModelInfo::read(&files.directory)?;
        let mut estimate = info.memory_estimate(request, &self.ops);
        if self.shelf.has(files) {
            estimate.weights_bytes = 0;
        }
        // Whole layers where they fit, tiles where only those do; less than tiles need is refused.
        let needed = estimate.weights_bytes + estimate.least_activations_bytes;
        self.make_room(needed, files).map_err(|free| too_little(request, estimate, Some(free)))
    }

    /// Makes room for a model alone.
    pub(super) fn admit_weights(&mut self, files: &ModelFiles) -> Result<(), Failure> {
        if self.shelf.has(files) {
            return Ok(());
        }
        let info = ModelInfo::read(&files.directory)?;
        let request = smallest_request();
        let estimate = info.memory_estimate(&request, &self.ops);
        self.make_room(estimate.weights_bytes, files).map_err(|free| too_little(&request, estimate, Some(free)))
    }

    /// Frees memory until `needed` bytes are free: scratch first, then idle models, the least recently used first. The error is what
    /// is free in the end.
    fn make_room(&mut self, needed: u64, files: &ModelFiles) -> Result<(), u64> {
        let too_little = |device: &Self| (device.free_bytes)().filter(|free| *free < needed);
        if too_little(self).is_none() {
            return Ok(());
        }
        // What earlier requests worked in counts as taken until it is given back.
        self.ops.release_scratch();
        loop {
            let Some(free) = too_little(self) else { return Ok(()) };
            if !self.shelf.evict_one(Some(files)) {
                return Err(free);
            }
        }
    }

    /// The device said that its memory is full: gives back everything that nobody uses.
    pub(super) fn relieve(&mut self) {
        tracing::warn!("The device is out of memory; unloading what is idle");
        while self.shelf.evict_one(None) {}
        self.ops.release_scratch();
    }

    /// A failure for lack of memory, with what was needed.
    pub(super) fn with_numbers(&self, failure: Failure, info: &ModelInfo, request: &ImageRequest) -> Failure {
        if !failure.is_out_of_memory() {
            return failure;
        }
        let estimate = MemoryEstimate { weights_bytes: 0, ..info.memory_estimate(request, &self.ops) };
        too_little(request, estimate, (self.free_bytes)())
    }

    /// How many rows an evaluation may have: as many as fit, at least one, at most what is configured.
    pub(super) fn rows_that_fit(&self, info: &ModelInfo, (width, height): (u32, u32), wanted: usize) -> usize {
        let most = wanted.min(self.options.max_batch_rows);
        if most <= 1 {
            return 1;
        }
        // What the arena keeps is used first.
        let Some(free) = (self.free_bytes)().map(|free| free.saturating_add(self.ops.kept_scratch_bytes())) else { return most };
        most_rows(most, |rows| info.evaluation_bytes(width as usize, height as usize, rows, &self.ops) <= free)
    }
}

/// The most rows, at least one and at most `most`, that `fit`; fewer rows than fitting ones fit too.
fn most_rows(most: usize, fit: impl Fn(usize) -> bool) -> usize {
    (2..=most).rev().find(|rows| fit(*rows)).unwrap_or(1)
}

fn too_little(request: &ImageRequest, estimate: MemoryEstimate, free: Option<u64>) -> Failure {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let free = free.map_or_else(|| "too little is free".to_owned(), |free| format!("{:.2} GB are free", gigabytes(free)));
    let message = format!(
        "{}x{} needs about {:.2} GB of memory ({:.2} GB for the weights, {:.2} GB to work in) and {free}; \
         ask for a smaller picture, or use bf16 (FRAMEWRIGHT_PRECISION=bf16) or a machine with more memory",
        request.width,
        request.height,
        gigabytes(estimate.weights_bytes + estimate.least_activations_bytes),
        gigabytes(estimate.weights_bytes),
        gigabytes(estimate.least_activations_bytes),
    );
    Failure::new(FailureClass::OutOfMemory, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rows_as_fit() {
        assert_eq!(most_rows(8, |_| true), 8);
        assert_eq!(most_rows(8, |rows| rows <= 5), 5);
        assert_eq!(most_rows(8, |_| false), 1);
        assert_eq!(most_rows(1, |_| false), 1);
    }
}
