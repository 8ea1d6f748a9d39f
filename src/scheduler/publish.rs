//! From finished pictures to stored files.

use std::error::Error;
use std::sync::Arc;

use super::dispatcher::Shared;
use crate::domain::{ErrorCode, JobError, JobResult, Spent};
use crate::execution::results::{Attempt, encode_pictures, manifest, store_pictures};
use crate::execution::{FinishedPicture, ImageOutput};
use crate::jobs::RunningTask;
use crate::jobs::store::Outcome;
use crate::models::ModelIdentity;

/// Pixels of a [`PUBLISHING_UNITS`] unit.
const UNIT_PIXELS: usize = 1 << 16;
/// Units of pictures that may be held in memory while they are encoded and stored: 64 megapixels.
pub(super) const PUBLISHING_UNITS: usize = 1024;
/// Pictures up to this size together are encoded at once, where the task runs: going to another thread would take longer.
const INLINE_PIXELS: usize = 128 * 128;

/// How much of [`PUBLISHING_UNITS`] the pictures of an output take.
pub(super) fn units(output: &ImageOutput) -> u32 {
    let units = pixels(output).div_ceil(UNIT_PIXELS).clamp(1, PUBLISHING_UNITS);
    units as u32
}

fn pixels(output: &ImageOutput) -> usize {
    let size = |picture: &FinishedPicture| match picture {
        FinishedPicture::Pixels(picture) => picture.width.saturating_mul(picture.height),
        FinishedPicture::File { width, height, .. } => (*width as usize).saturating_mul(*height as usize),
    };
    output.pictures.iter().map(size).fold(0, usize::saturating_add)
}

/// Encodes and stores the pictures of a task. Gives how the task ends, and what it takes from the quotas but for the device time.
pub(super) async fn publish(
    shared: &Shared,
    task: &Arc<RunningTask>,
    output: ImageOutput,
    identity: Arc<ModelIdentity>,
) -> (Outcome, Spent) {
    let job = &task.job;
    let failed = |code, message: &str, error: &(dyn Error + 'static)| {
        tracing::error!(job.id = %job.id, error, "Job {}: {message}: {error}", job.id);
        (Outcome::Failed(JobError { code, message: message.to_owned() }), Spent::default())
    };
    let created = shared.clock().now();
    let is_small =
        pixels(&output) <= INLINE_PIXELS && output.pictures.iter().all(|picture| matches!(picture, FinishedPicture::Pixels(_)));
    let encode = {
        let task = task.clone();
        move || {
            let request = &task.job.request;
            let document = manifest(request, request.seed, &identity, &output.facts, created);
            encode_pictures(&output, request, &identity, created).map(|pictures| (pictures, document))
        }
    };
    let encoded = if is_small { Ok(encode()) } else { tokio::task::spawn_blocking(encode).await };
    let (pictures, manifest) = match encoded {
        Ok(Ok(encoded)) => encoded,
        Ok(Err(error)) => return failed(ErrorCode::Internal, "the picture could not be encoded", &error),
        Err(error) => return failed(ErrorCode::Internal, "the picture could not be encoded", &error),
    };
    match store_pictures(&shared.parts.storage, &Attempt::new(job, task.fence.attempt), pictures).await {
        Ok(artifacts) => {
            let spent = Spent {
                images: artifacts.len() as i64,
                gpu_ms: 0,
                storage_bytes: artifacts.iter().map(|artifact| artifact.bytes as i64).sum(),
            };
            (Outcome::Completed(JobResult { artifacts, manifest }), spent)
        }
        Err(error) => failed(ErrorCode::StorageFailed, "the picture could not be stored", &error),
    }
}
