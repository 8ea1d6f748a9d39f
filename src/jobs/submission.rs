//! From a checked request to a stored job.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::error::JobServiceError;
use super::feed::QueueChange;
use super::service::Shared;
use super::store::{Inserted, NewRecord, NewTask, QueuedTask, StoreError};
use crate::domain::film::InputFile;
use crate::domain::plan::{self, PlannedTask};
use crate::domain::{
    Callback, Job, JobEventKind, JobId, JobRequest, JobResult, JobState, Progress, ProjectId, Reservation, Sha256Digest, TaskId,
    UserId,
};

/// Files longer than this are hashed off the async threads.
const INLINE_HASH_BYTES: usize = 64 << 10;

/// A job to accept.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The checked request; the service sets what [`NewJob::inputs`] are for.
    pub request: JobRequest,
    /// Files that come with it; the service stores them and writes their keys into the request.
    pub inputs: Vec<NewInput>,
    /// Higher goes first; 0 is normal.
    pub priority: i32,
    /// The project that it is for.
    pub project: Option<ProjectId>,
    /// What it takes from the quotas, as `quota::reserve` says.
    pub reservations: Vec<Reservation>,
    /// The ended job that this one tries again.
    pub retry_of: Option<JobId>,
    /// `Idempotency-Key` header: the same key with the same request gives the same job.
    pub idempotency_key: Option<NamedRequest>,
    /// Where it tells what became of it. A job that tries another one again calls back where that one does.
    pub callback: Option<Callback>,
}

/// A request to which its client gave a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRequest {
    /// The name.
    pub name: String,
    /// The hash of what the client said, before defaults, prices and a route's choice: those may be others when it says it again.
    pub asked: Sha256Digest,
}

/// A file that comes with a job.
#[derive(Clone, Debug)]
pub struct NewInput {
    /// What it is for.
    pub purpose: InputPurpose,
    /// Its bytes; of a picture, those of a PNG.
    pub bytes: bytes::Bytes,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputPurpose {
    /// The picture that pictures begin with.
    InitImage,
    /// The mask of that picture.
    Mask,
    /// The picture that a scene begins with.
    Scene(usize),
    /// The sound track.
    Audio,
    /// A picture that a provider is sent, by its place among them.
    Picture(usize),
}

impl InputPurpose {
    /// Where such a file of a job lies in the storage.
    pub(super) fn key(self, job: JobId) -> String {
        match self {
            Self::InitImage => format!("inputs/{job}.png"),
            Self::Mask => format!("inputs/{job}-mask.png"),
            Self::Scene(index) => format!("inputs/{job}-{index}.png"),
            Self::Audio => format!("inputs/{job}-audio.bin"),
            Self::Picture(index) => format!("inputs/{job}-picture{index}.png"),
        }
    }

    /// What the same file is for in a target of a route: the first picture of a provider's is what one of ours begins with.
    fn as_of(self, target: &JobRequest) -> Self {
        match (self, target) {
            (Self::Picture(0) | Self::Scene(0), JobRequest::Image(_)) => Self::InitImage,
            (Self::Picture(0) | Self::InitImage, JobRequest::Film(_)) => Self::Scene(0),
            (Self::InitImage | Self::Scene(0), JobRequest::Remote(_)) => Self::Picture(0),
            (purpose, _) => purpose,
        }
    }

    /// Writes into a request where the file lies.
    fn set(self, request: &mut JobRequest, file: InputFile) {
        match (self.as_of(request), request) {
            (Self::InitImage, JobRequest::Image(request)) => request.init_image = Some(file.key),
            (Self::Mask, JobRequest::Image(request)) => request.mask = Some(file.key),
            (Self::Scene(index), JobRequest::Film(film)) => {
                if let Some(scene) = film.scenes.get_mut(index) {
                    scene.init_image = Some(file);
                }
            }
            (Self::Audio, JobRequest::Film(film)) => film.audio = Some(file),
            (Self::Picture(index), JobRequest::Remote(request)) => {
                if let Some(picture) = request.pictures.get_mut(index) {
                    picture.file = Some(file);
                }
            }
            (_, JobRequest::Routed(routed)) => {
                for target in routed.targets_mut() {
                    self.set(target, file.clone());
                }
            }
            (Self::InitImage | Self::Mask | Self::Picture(_), JobRequest::Film(_))
            | (Self::Scene(_) | Self::Audio | Self::Picture(_), JobRequest::Image(_))
            | (Self::InitImage | Self::Mask | Self::Scene(_) | Self::Audio, JobRequest::Remote(_)) => {}
        }
    }
}

/// Every file that came with a request, by what it is for.
pub(super) fn inputs_of(request: &JobRequest) -> Vec<(InputPurpose, String)> {
    match request {
        JobRequest::Image(request) => {
            let picture = request.init_image.iter().map(|key| (InputPurpose::InitImage, key.clone()));
            picture.chain(request.mask.iter().map(|key| (InputPurpose::Mask, key.clone()))).collect()
        }
        JobRequest::Film(film) => {
            let scenes = film.scenes.iter().enumerate();
            let pictures = scenes.filter_map(|(index, scene)| Some((InputPurpose::Scene(index), scene.init_image.as_ref()?)));
            let audio = film.audio.iter().map(|audio| (InputPurpose::Audio, audio));
            pictures.chain(audio).map(|(purpose, file)| (purpose, file.key.clone())).collect()
        }
        JobRequest::Remote(request) => {
            let pictures = request.pictures.iter().enumerate();
            pictures
                .filter_map(|(index, picture)| Some((InputPurpose::Picture(index), picture.file.as_ref()?.key.clone())))
                .collect()
        }
        JobRequest::Routed(request) => {
            // The same file serves several targets.
            let mut known: Vec<(InputPurpose, String)> = Vec::new();
            for (purpose, key) in request.targets().iter().flat_map(inputs_of) {
                if !known.iter().any(|(_, other)| *other == key) {
                    known.push((purpose, key));
                }
            }
            known
        }
    }
}

/// The job of a key made by `InputPurpose::key`.
pub fn job_of_input(key: &str) -> Option<JobId> {
    let name = key.strip_prefix("inputs/")?;
    name.split(['-', '.']).next()?.parse().ok()
}

/// What a job takes over from an earlier one: files of tasks, by the hash of what they depend on.
pub(super) type TakenOver = Vec<(Sha256Digest, JobResult)>;

/// Stores a job of `user`, durable on return, and tells the scheduler. An idempotent answer takes nothing from any quota.
pub(super) async fn accept(
    shared: Arc<Shared>,
    id: JobId,
    user: UserId,
    job: NewJob,
    taken_over: TakenOver,
) -> Result<Job, JobServiceError> {
    let (digests, job) = if job.inputs.iter().all(|input| input.bytes.len() <= INLINE_HASH_BYTES) {
        (Digests::of(&job), job)
    } else {
        let hashing = tokio::task::spawn_blocking(move || (Digests::of(&job), job));
        hashing.await.map_err(|error| JobServiceError::Store(Box::new(error)))?
    };
    let mut request = job.request;
    let mut inputs = Vec::with_capacity(job.inputs.len());
    for (input, sha256) in job.inputs.into_iter().zip(&digests.inputs) {
        let key = input.purpose.key(id);
        shared.storage.put(&key, input.bytes).await?;
        inputs.push(key.clone());
        input.purpose.set(&mut request, InputFile { key, sha256: sha256.to_string() });
    }
    let now = shared.clock.now();
    let request_sha256 = digests.submission;
    let plan = plan::plan(&request);
    let steps = plan::total_steps(&plan, 0);
    let tasks = first_tasks(plan, &taken_over);
    let progress = first_progress(&tasks, steps);
    let record = NewRecord {
        tasks,
        idempotency_key: job.idempotency_key.map(|key| key.name),
        request_sha256,
        reservations: job.reservations,
        callback: job.callback,
        job: Job {
            id,
            user,
            project: job.project,
            retry_of: job.retry_of,
            state: JobState::Queued,
            request,
            priority: job.priority,
            progress,
            created: now,
            started: None,
            finished: None,
            updated: now,
            result: None,
            error: None,
        },
    };
    let inserted = shared.store.insert(&record, shared.options.queue_limit).await;
    // After any other error the job may be there after all.
    let is_refused = matches!(
        &inserted,
        Ok(Inserted::Existing(_)) | Err(StoreError::Duplicate | StoreError::QueueFull(_) | StoreError::Quota(_))
    );
    if is_refused {
        for key in &inputs {
            if let Err(error) = shared.storage.delete(key).await {
                tracing::warn!(%key, %error, "Cannot delete {key}, the input of a job that was not accepted");
            }
        }
    }
    match inserted? {
        Inserted::Existing(job) => Ok(shared.with_live_progress(*job)),
        Inserted::New => {
            let job = record.job;
            tracing::info!(job.id = %id, user.id = %job.user, model.id = %job.request.model(), "Accepted job {id}");
            shared.events.publish(id, JobEventKind::State { state: JobState::Queued, error: None });
            let waiting = record.tasks.iter().filter(|task| task.result.is_none());
            shared
                .feed
                .extend(waiting.map(|task| QueueChange::Arrived(waiting_task(task.id, task.position, &task.planned, &job))));
            Ok(job)
        }
    }
}

/// The tasks that a new job begins with: those that are there already, as far as `taken_over` has them, and those whose turn it is then.
/// A last one is always made: it is the job's own.
fn first_tasks(plan: Vec<PlannedTask>, taken_over: &TakenOver) -> Vec<NewTask> {
    let is_taken = |position: usize| {
        let planned = &plan[position];
        taken_over.iter().find(|(taken, _)| *taken == planned.key && !planned.is_last).map(|(_, result)| result.clone())
    };
    let results: Vec<Option<JobResult>> = (0..plan.len()).map(is_taken).collect();
    let ready = plan::ready(&plan, 0, |position| results[position as usize].as_ref().map(|_| true));
    plan.into_iter()
        .zip(results)
        .enumerate()
        .map(|(position, (planned, result))| NewTask { id: TaskId::generate(), position: position as u32, planned, result })
        .filter(|task| task.result.is_some() || ready.contains(&task.position))
        .collect()
}

/// How far a job of `steps` units is that begins with these tasks.
fn first_progress(tasks: &[NewTask], steps: u32) -> Progress {
    let taken_over = tasks.iter().filter(|task| task.result.is_some());
    match taken_over.fold(0, |sum: u32, task| sum.saturating_add(task.planned.steps)) {
        0 => Progress::default(),
        step => Progress { step, steps },
    }
}

/// How a task of a job waits, as of the job's last change.
pub(super) fn waiting_task(task: TaskId, position: u32, planned: &PlannedTask, job: &Job) -> QueuedTask {
    let (lane, batch, rows, alone) = planned.waits(&job.request);
    QueuedTask {
        task,
        job: job.id,
        user: job.user.clone(),
        project: job.project.clone(),
        position,
        lane,
        batch,
        rows,
        work: planned.work,
        priority: job.priority,
        created: job.created,
        queued: job.updated,
        run_after: None,
        alone,
        has_next_target: planned.has_next_target(&job.request),
        has_open_call: false,
    }
}

/// What a job and its files are to those who compare.
struct Digests {
    submission: Sha256Digest,
    inputs: Vec<Sha256Digest>,
}

impl Digests {
    /// What an idempotency key stands for: what the client said, the files that come with it, its project and its callback.
    fn of(job: &NewJob) -> Self {
        let mut hasher = Sha256::new();
        if let Some(key) = &job.idempotency_key {
            hasher.update(key.asked.0);
        }
        let inputs: Vec<Sha256Digest> = job.inputs.iter().map(|input| Sha256Digest::of(&input.bytes)).collect();
        for (input, digest) in job.inputs.iter().zip(&inputs) {
            if let InputPurpose::Scene(index) | InputPurpose::Picture(index) = input.purpose {
                hasher.update((index as u64).to_le_bytes());
            }
            hasher.update(digest.0);
        }
        if let Some(project) = &job.project {
            hasher.update(project.as_str());
        }
        if let Some(callback) = &job.callback {
            hasher.update(format!("\n{}\n{}\n", callback.format.as_str(), callback.url));
            callback.events.iter().for_each(|event| hasher.update(event.as_str()));
        }
        Self { submission: Sha256Digest(hasher.finalize().into()), inputs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::film::tests::film;

    #[test]
    fn inputs_name_their_job() {
        let job = JobId::generate();
        let all =
            [InputPurpose::InitImage, InputPurpose::Mask, InputPurpose::Scene(12), InputPurpose::Audio, InputPurpose::Picture(1)];
        for purpose in all {
            assert_eq!(job_of_input(&purpose.key(job)), Some(job));
        }
        for key in ["inputs/x.png", "images/job_0.png", "inputs/", "inputs/job_.png"] {
            assert_eq!(job_of_input(key), None, "{key}");
        }
    }

    #[test]
    fn what_is_there_is_not_made_again_but_the_film_is() {
        let before: JobRequest = film(&[24, 24]).into();
        let mut after = film(&[24, 24]);
        after.scenes[1].seed += 1;
        let (before, after) = (plan::plan(&before), plan::plan(&after.into()));
        let result = JobResult { artifacts: Vec::new(), manifest: serde_json::Value::Null };
        let taken: TakenOver = before.iter().map(|task| (task.key, result.clone())).collect();
        let tasks = first_tasks(after.clone(), &taken);
        let there: Vec<u32> = tasks.iter().filter(|task| task.result.is_some()).map(|task| task.position).collect();
        let waiting: Vec<u32> = tasks.iter().filter(|task| task.result.is_none()).map(|task| task.position).collect();
        assert_eq!((there, waiting), (vec![0, 1, 2], vec![3]), "the first scene is there; the second one's keyframe waits");
        let tasks = first_tasks(before.clone(), &taken);
        assert_eq!(
            tasks.iter().filter(|task| task.result.is_none()).map(|task| task.position).collect::<Vec<_>>(),
            [before.len() as u32 - 1]
        );
    }
}
