//! From finished pictures to stored files.

use std::error::Error;
use std::sync::Arc;

use super::dispatcher::Shared;
use crate::domain::{ErrorCode, ImageRequest, JobError, JobResult, Spent};
use crate::execution::results::{Attempt, ResultError, encode_pictures, manifest, store_pictures};
use crate::execution::{FinishedPicture, TaskOutput};
use crate::jobs::RunningTask;
use crate::jobs::store::Outcome;
use crate::models::ModelIdentity;
use crate::storage::StorageError;

/// Pixels of a [`PUBLISHING_UNITS`] unit.
const UNIT_PIXELS: usize = 1 << 16;
/// Units of pictures that may be held in memory while they are encoded and stored: 64 megapixels.
pub(super) const PUBLISHING_UNITS: usize = 1024;

/// Why finished pictures did not become stored files.
enum PublishError {
    Encode(ResultError),
    Store(StorageError),
}

/// How much of [`PUBLISHING_UNITS`] the pictures of an output take.
pub(super) fn units(output: &TaskOutput) -> u32 {
    let units = pixels(output).div_ceil(UNIT_PIXELS).clamp(1, PUBLISHING_UNITS);
    units as u32
}

fn pixels(output: &TaskOutput) -> usize {
    let size = |picture: &FinishedPicture| match picture {
        FinishedPicture::Pixels(picture) => picture.width.saturating_mul(picture.height),
        FinishedPicture::File { width, height, .. } => (*width as usize).saturating_mul(*height as usize),
    };
    output.pictures.iter().map(size).fold(0, usize::saturating_add)
}

/// Encodes and stores the pictures of a task. Gives how the task ends, and what it takes from the quotas but for the device time.
/// The picture that a scene of a film begins with is not delivered, and counts as none.
pub(super) async fn publish_pictures(
    shared: &Shared,
    task: &Arc<RunningTask>,
    request: ImageRequest,
    output: TaskOutput,
    identity: Arc<ModelIdentity>,
) -> (Outcome, Spent) {
    let job = &task.job;
    let failed = |code, message: &str, error: &(dyn Error + 'static)| {
        tracing::error!(job.id = %job.id, error, "Job {}: {message}: {error}", job.id);
        (Outcome::Failed(JobError { code, message: message.to_owned() }), Spent::default())
    };
    let created = shared.clock().now();
    let attempt = Attempt::new(job, task.position, task.fence.attempt);
    // One visit to another thread for all of it: encoding takes the processor's time, and storing waits for the disk.
    let publishing = {
        let (storage, attempt) = (shared.parts.storage.clone(), attempt.clone());
        tokio::task::spawn_blocking(move || {
            let pictures = encode_pictures(&output, &request, &identity, created).map_err(PublishError::Encode)?;
            let artifacts = store_pictures(&storage, &attempt, &pictures).map_err(PublishError::Store)?;
            Ok((artifacts, manifest(&request, request.seed, &identity, &output.facts, created)))
        })
    };
    match publishing.await {
        Ok(Ok((artifacts, manifest))) => {
            let spent = Spent {
                images: if task.is_whole_job() { artifacts.len() as i64 } else { 0 },
                storage_bytes: artifacts.iter().map(|artifact| artifact.bytes as i64).sum(),
                ..Spent::default()
            };
            (Outcome::Completed(JobResult { artifacts, manifest }), spent)
        }
        Ok(Err(PublishError::Store(error))) => {
            attempt.delete_files(&shared.parts.storage).await;
            failed(ErrorCode::StorageFailed, "the picture could not be stored", &error)
        }
        Ok(Err(PublishError::Encode(error))) => failed(ErrorCode::Internal, "the picture could not be encoded", &error),
        Err(error) => {
            attempt.delete_files(&shared.parts.storage).await;
            failed(ErrorCode::Internal, "the picture could not be encoded", &error)
        }
    }
}
