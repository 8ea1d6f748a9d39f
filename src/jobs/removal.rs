//! The files of a job that has ended go with it.

use std::collections::BTreeSet;

use super::error::JobServiceError;
use super::store::JobStore;
use crate::domain::{Job, JobResult};
use crate::storage::ArtifactStorage;

/// Deletes what is stored for a job that has ended: what came with it, what its tasks have left, its results.
pub async fn delete_files(store: &dyn JobStore, storage: &ArtifactStorage, job: &Job) -> Result<(), JobServiceError> {
    let mut keys: BTreeSet<String> = job.request.inputs().into_iter().map(str::to_owned).collect();
    keys.extend(job.result.iter().flat_map(result_keys));
    if job.request.has_several_tasks() {
        let tasks = store.tasks_of(job.id).await?;
        keys.extend(tasks.iter().filter_map(|task| task.result.as_ref()).flat_map(result_keys));
    }
    for key in keys {
        storage.delete(&key).await?;
    }
    Ok(())
}

fn result_keys(result: &JobResult) -> Vec<String> {
    let sheet = |artifact: &crate::domain::Artifact| artifact.video.as_ref().and_then(|video| video.sprite_sheet_key.clone());
    result
        .artifacts
        .iter()
        .flat_map(|artifact| [Some(artifact.key.clone()), Some(artifact.thumbnail_key.clone()), sheet(artifact)])
        .flatten()
        .collect()
}
