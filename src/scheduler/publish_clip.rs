//! From the frames of a clip to a stored file.

use std::error::Error;
use std::sync::Arc;

use super::dispatcher::Shared;
use crate::domain::film::ClipRequest;
use crate::domain::{ErrorCode, JobError, JobResult, Spent};
use crate::execution::TaskOutput;
use crate::execution::film;
use crate::execution::results::{Attempt, clip_manifest};
use crate::jobs::RunningTask;
use crate::jobs::store::Outcome;
use crate::models::ModelIdentity;

/// Stores the frames of a task without loss. Gives how the task ends, and what it takes from the quotas but for the device time.
pub(super) async fn publish_clip(
    shared: &Shared,
    task: &Arc<RunningTask>,
    request: ClipRequest,
    output: TaskOutput,
    identity: Arc<ModelIdentity>,
) -> (Outcome, Spent) {
    let attempt = Attempt::new(&task.job, task.position, task.fence.attempt);
    let created = shared.clock().now();
    let storing = {
        let (storage, attempt) = (shared.parts.storage.clone(), attempt.clone());
        tokio::task::spawn_blocking(move || {
            let manifest = clip_manifest(&request, &identity, &output.facts, created);
            film::store_clip(&storage, &attempt, &request, output.pictures).map(|artifact| (artifact, manifest))
        })
    };
    let failed = |code, error: &(dyn Error + 'static)| {
        tracing::error!(job.id = %task.job.id, error, "Job {}: the clip could not be stored: {error}", task.job.id);
        (Outcome::Failed(JobError { code, message: format!("the clip could not be stored: {error}") }), Spent::default())
    };
    match storing.await {
        Ok(Ok((artifact, manifest))) => {
            let spent = Spent { storage_bytes: artifact.bytes as i64, ..Spent::default() };
            (Outcome::Completed(JobResult { artifacts: vec![artifact], manifest }), spent)
        }
        Ok(Err(error)) => {
            attempt.delete_files(&shared.parts.storage).await;
            failed(error.code(), &error)
        }
        Err(error) => {
            attempt.delete_files(&shared.parts.storage).await;
            failed(ErrorCode::Internal, &error)
        }
    }
}
