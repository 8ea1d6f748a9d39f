//! An ended job once more.

use std::sync::Arc;

use super::error::JobServiceError;
use super::service::Shared;
use super::submission::{self, NewInput, NewJob, TakenOver, inputs_of};
use crate::domain::plan::plan;
use crate::domain::{Artifact, InstalledNetworks, Job, JobId, JobRequest, JobResult, JobState, Reservation, Sha256Digest};
use crate::storage::{StorageError, part_key, thumbnail_key};

/// What shall be different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// The scene of a film that is made anew; absent: none.
    pub scene: Option<String>,
    /// That scene's seed.
    pub seed: u64,
    /// What scenes are finished with now: what another network has made is made anew, so that no film is of two.
    pub networks: InstalledNetworks,
}

/// The request of the new job. Refuses what has not ended, or has nothing to be tried again.
pub fn request(earlier: &Job, retry: &Retry) -> Result<JobRequest, JobServiceError> {
    let may_retry = match earlier.state {
        JobState::Failed | JobState::Cancelled => true,
        JobState::Completed => retry.scene.is_some(),
        JobState::Queued | JobState::Running => false,
    };
    if !may_retry {
        return Err(JobServiceError::NotRetryable { id: earlier.id, state: earlier.state.as_str() });
    }
    let mut request = earlier.request.clone();
    match &mut request {
        JobRequest::Film(film) => film.name_networks(&retry.networks),
        JobRequest::Routed(routed) => {
            for target in routed.targets_mut() {
                if let JobRequest::Film(film) = target {
                    film.name_networks(&retry.networks);
                }
            }
        }
        JobRequest::Image(_) | JobRequest::Remote(_) => {}
    }
    let Some(id) = &retry.scene else { return Ok(request) };
    let refuse = |known: String| {
        let scene = id.chars().take(64).collect();
        Err(JobServiceError::NoScene { id: earlier.id, scene, known })
    };
    let JobRequest::Film(film) = &mut request else {
        return refuse(": it is no film that this server made scene by scene".to_owned());
    };
    let known: Vec<String> = film.scenes.iter().map(|scene| scene.id.clone()).collect();
    match film.scenes.iter_mut().find(|scene| scene.id == *id) {
        Some(scene) => {
            scene.seed = retry.seed;
            Ok(request)
        }
        None => refuse(format!("; it has {}", known.join(", "))),
    }
}

/// Stores the new job with `inputs` and its own copies of the earlier one's files: that one may be forgotten before this one has run.
pub(super) async fn accept(
    shared: Arc<Shared>,
    earlier: Job,
    request: JobRequest,
    mut inputs: Vec<NewInput>,
    reservations: Vec<Reservation>,
) -> Result<Job, JobServiceError> {
    let id = JobId::generate();
    for (purpose, key) in inputs_of(&request) {
        inputs.push(NewInput { purpose, bytes: shared.storage.get(&key).await? });
    }
    let taken_over = if request.has_several_tasks() { take_over(&shared, &earlier, &request, id).await? } else { Vec::new() };
    let job = NewJob {
        request,
        inputs,
        priority: earlier.priority,
        project: earlier.project,
        reservations,
        retry_of: Some(earlier.id),
        idempotency_key: None,
        callback: None,
    };
    let copied: Vec<String> = taken_over.iter().flat_map(|(_, result)| keys(result)).collect();
    let accepted = submission::accept(shared.clone(), id, earlier.user, job, taken_over).await;
    if accepted.is_err() {
        for key in copied {
            if let Err(error) = shared.storage.delete(&key).await {
                tracing::warn!(%key, %error, "Cannot delete {key}, a copy for a job that was not accepted");
            }
        }
    }
    accepted
}

fn keys(result: &JobResult) -> Vec<String> {
    result.artifacts.iter().flat_map(|artifact| [artifact.key.clone(), artifact.thumbnail_key.clone()]).collect()
}

/// Copies what the earlier film has left of the new one. A file that has gone is made again.
async fn take_over(shared: &Shared, earlier: &Job, request: &JobRequest, id: JobId) -> Result<TakenOver, JobServiceError> {
    let wanted: Vec<(u32, Sha256Digest)> = plan(request)
        .into_iter()
        .enumerate()
        .filter(|(_, task)| !task.is_last)
        .map(|(position, task)| (position as u32, task.key))
        .collect();
    let earlier_plan = plan(&earlier.request);
    let mut taken = TakenOver::new();
    for record in shared.store.tasks_of(earlier.id).await? {
        let Some(key) = earlier_plan.get(record.position as usize).map(|task| task.key) else { continue };
        let Some(result) = record.result.filter(|_| record.state == JobState::Completed) else { continue };
        let Some((position, _)) = wanted.iter().find(|(_, other)| *other == key) else { continue };
        if taken.iter().any(|(other, _)| *other == key) {
            continue;
        }
        match copy(shared, &result, id, *position).await {
            Ok(result) => taken.push((key, result)),
            Err(StorageError::NotFound(file)) => {
                tracing::warn!(job.id = %earlier.id, "File {file} of job {} has gone and is made again", earlier.id);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(taken)
}

async fn copy(shared: &Shared, result: &JobResult, id: JobId, position: u32) -> Result<JobResult, StorageError> {
    let mut artifacts = Vec::with_capacity(result.artifacts.len());
    for artifact in &result.artifacts {
        let extension = artifact.key.rsplit_once('.').map_or("bin", |(_, extension)| extension);
        let key = part_key(id, position, 0, extension);
        let thumbnail = thumbnail_key(&key);
        shared.storage.copy(&artifact.key, &key).await?;
        match shared.storage.copy(&artifact.thumbnail_key, &thumbnail).await {
            // Clips have none.
            Ok(()) | Err(StorageError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        artifacts.push(Artifact { key, thumbnail_key: thumbnail, ..artifact.clone() });
    }
    Ok(JobResult { artifacts, manifest: result.manifest.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::film::Interpolation;
    use crate::domain::film::tests::film;
    use crate::domain::{FilmRequest, NetworkIdentity, Progress, UnixMs};

    fn job(state: JobState) -> Job {
        Job {
            id: JobId::generate(),
            user: "ann".parse().unwrap(),
            project: None,
            retry_of: None,
            state,
            request: film(&[24, 24]).into(),
            priority: 0,
            progress: Progress::default(),
            created: UnixMs(0),
            started: None,
            finished: None,
            updated: UnixMs(0),
            result: None,
            error: None,
        }
    }

    #[test]
    fn a_scene_gets_another_seed_and_the_others_keep_theirs() {
        let retry = Retry { scene: Some("s2".to_owned()), seed: 99, ..Retry::default() };
        let again = request(&job(JobState::Completed), &retry).unwrap();
        let seeds: Vec<u64> = again.film().unwrap().scenes.iter().map(|scene| scene.seed).collect();
        assert_eq!(seeds, [7, 99]);
        assert_eq!(request(&job(JobState::Failed), &Retry::default()).unwrap(), film(&[24, 24]).into());
    }

    #[test]
    fn a_film_is_tried_again_with_the_networks_of_now() {
        let network = |digit: &str| Some(NetworkIdentity { sha256: digit.repeat(64), precision: "f32".to_owned() });
        let mut before = FilmRequest { interpolation: Interpolation::Rife, ..film(&[24, 24]) };
        before.interpolation_network = network("1");
        let earlier = Job { request: before.clone().into(), ..job(JobState::Failed) };
        let networks = InstalledNetworks { rife: network("2"), realesrgan: network("3") };
        let again = request(&earlier, &Retry { networks, ..Retry::default() }).unwrap();
        let after = FilmRequest { interpolation_network: network("2"), ..before };
        assert_eq!(again.film(), Some(&after));
    }

    #[test]
    fn what_cannot_be_tried_again_is_said() {
        for state in [JobState::Queued, JobState::Running, JobState::Completed] {
            assert!(matches!(request(&job(state), &Retry::default()), Err(JobServiceError::NotRetryable { .. })), "{state:?}");
        }
        let retry = Retry { scene: Some("x".to_owned()), seed: 1, ..Retry::default() };
        let error = request(&job(JobState::Failed), &retry).unwrap_err().to_string();
        assert!(error.starts_with("scene 'x' is not in task job_") && error.ends_with("; it has s1, s2"), "{error}");
    }
}
