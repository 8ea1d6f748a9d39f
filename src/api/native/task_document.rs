//! A task as the native API shows it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::scene_document::SceneDocument;
use crate::api::links::NATIVE_LINK_SECONDS;
use crate::api::state::ApiState;
use crate::api::submission::{forecast, forecasts};
use crate::domain::{Artifact, ErrorCode, Job, JobError, JobResult, JobState, UnixMs};
use crate::scheduler::forecast::Forecast;

/// A task: what was made of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct TaskDocument {
    /// Its identifier.
    #[schema(example = "job_0199a5b6c7d87e0f8a1b2c3d4e5f6071")]
    pub(super) task_id: String,
    /// `queued`, `running`, `completed`, `failed` or `cancelled`.
    #[schema(value_type = String, example = "running")]
    pub(super) status: &'static str,
    /// Whose it is.
    pub(super) user_id: String,
    /// The project that it is for.
    pub(super) project_id: Option<String>,
    /// The model.
    pub(super) model: String,
    /// Higher goes first; what the limits of user and project grant is in it.
    pub(super) priority: i32,
    /// The ended task that this one tries again.
    pub(super) retry_of: Option<String>,
    /// While it waits: how many start before it, and it; 1 is next.
    pub(super) queue_position: Option<usize>,
    /// While it waits: seconds until it is probably done, waiting included; null while nothing has been measured.
    pub(super) estimated_time: Option<f64>,
    /// While it waits for a provider that has no room for it: why, in one line.
    pub(super) waiting_for: Option<String>,
    /// 0 to 1.
    pub(super) progress: f64,
    /// Once completed.
    pub(super) result: Option<TaskResult>,
    /// Once failed.
    pub(super) error: Option<TaskError>,
    /// RFC 3339.
    pub(super) created_at: String,
    /// RFC 3339.
    pub(super) updated_at: String,
    /// When it last began to run, RFC 3339.
    pub(super) started_at: Option<String>,
    /// When it ended, RFC 3339.
    pub(super) finished_at: Option<String>,
    /// Of a film: its scenes, where one film is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scenes: Option<Vec<SceneDocument>>,
}

/// What a completed task left.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct TaskResult {
    /// A link to the first picture, or to the film; it needs no key and expires.
    output_path: String,
    /// A link to its thumbnail, a JPEG.
    thumbnail: String,
    /// Every picture, or the film.
    outputs: Vec<TaskOutput>,
    /// What made it: model and weights, seed, sampler, device, timings.
    #[schema(value_type = Object)]
    manifest: Value,
}

/// One picture.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct TaskOutput {
    /// A link that needs no key and expires.
    url: String,
    /// The same for the thumbnail.
    thumbnail_url: String,
    /// The file, relative to the server's storage directory.
    local_path: String,
    /// Pixels across.
    width: u32,
    /// Pixels down.
    height: u32,
    /// The seed that makes this picture again; null where a provider made it that was given none.
    seed: Option<u64>,
    /// The file's length.
    bytes: u64,
    /// The file's SHA-256, hexadecimal.
    sha256: String,
    /// The file's type.
    media_type: String,
    /// Of a film: what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<VideoDocument>,
}

/// What a film's file is.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct VideoDocument {
    /// Its frames, exactly.
    frames: u64,
    /// Frames a second: `24`, `24000/1001`.
    #[schema(example = "24")]
    frame_rate: String,
    /// Its length.
    duration_seconds: f64,
    /// How it is encoded.
    #[schema(example = "h264")]
    codec: String,
    /// A link to a sheet of small pictures of it, a JPEG; it needs no key and expires.
    sprite_sheet_url: Option<String>,
}

/// Why a task failed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct TaskError {
    /// The class, for programs.
    #[schema(value_type = String, example = "out_of_memory")]
    code: ErrorCode,
    /// What went wrong, for people.
    message: String,
}

impl TaskDocument {
    /// The document of `job`, its links beginning with `base_url`.
    pub(super) fn new(job: Job, state: &ApiState, base_url: &str) -> Self {
        let forecast = forecast(state, &job);
        Self::foretold(job, forecast, state, base_url)
    }

    /// The same with a film's scenes.
    pub(super) fn with_scenes(self, scenes: Option<Vec<SceneDocument>>) -> Self {
        Self { scenes, ..self }
    }

    /// The documents of a page of jobs.
    pub(super) fn of_page(jobs: Vec<Job>, state: &ApiState, base_url: &str) -> Vec<Self> {
        let forecasts = forecasts(state, &jobs);
        jobs.into_iter().zip(forecasts).map(|(job, forecast)| Self::foretold(job, forecast, state, base_url)).collect()
    }

    fn foretold(job: Job, forecast: Option<Forecast>, state: &ApiState, base_url: &str) -> Self {
        let progress = match job.state {
            JobState::Completed => 1.0,
            _ => rounded_fraction(job.progress.step, job.progress.steps),
        };
        let id = job.id.to_string();
        let waiting_for = if job.state.is_terminal() { None } else { state.scheduler.waits_for(job.id) };
        Self {
            waiting_for,
            status: job.state.as_str(),
            user_id: job.user.to_string(),
            project_id: job.project.map(|project| project.to_string()),
            model: job.request.model().to_string(),
            priority: job.priority,
            retry_of: job.retry_of.map(|earlier| earlier.to_string()),
            queue_position: forecast.map(|forecast| forecast.position),
            estimated_time: forecast.and_then(|forecast| forecast.seconds).map(rounded_seconds),
            progress,
            result: job.result.map(|result| task_result(result, &id, state, base_url)),
            error: job.error.map(|JobError { code, message }| TaskError { code, message }),
            created_at: job.created.to_string(),
            updated_at: job.updated.to_string(),
            started_at: job.started.map(|at| at.to_string()),
            finished_at: job.finished.map(|at| at.to_string()),
            scenes: None,
            task_id: id,
        }
    }
}

/// Four digits are enough for a progress bar, and do not print as 0.30000001.
pub(super) fn rounded_fraction(step: u32, steps: u32) -> f64 {
    if steps == 0 { 0.0 } else { (f64::from(step) / f64::from(steps) * 1e4).round() / 1e4 }
}

/// Forecasts are not known to the microsecond.
pub(super) fn rounded_seconds(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

fn task_result(result: JobResult, id: &str, state: &ApiState, base_url: &str) -> TaskResult {
    let expires = UnixMs(state.clock.now().0 + NATIVE_LINK_SECONDS * 1000);
    let link = |what: &str, index: usize| state.links.sign(base_url, &content_path(id, what, index), "", expires);
    let seeds: Vec<Option<u64>> = result.artifacts.iter().map(|artifact| result.seed_of(artifact)).collect();
    let outputs: Vec<TaskOutput> = result
        .artifacts
        .into_iter()
        .zip(seeds)
        .enumerate()
        .map(|(index, (Artifact { key, thumbnail_key: _, media_type, width, height, bytes, sha256, seed: _, video }, seed))| {
            TaskOutput {
                url: link("result", index),
                thumbnail_url: link("thumbnail", index),
                video: video.map(|video| VideoDocument {
                    frames: video.frames,
                    frame_rate: video.frame_rate.to_string(),
                    duration_seconds: video.duration_ms as f64 / 1000.0,
                    codec: video.codec,
                    sprite_sheet_url: video.sprite_sheet_key.map(|_| link("spritesheet", index)),
                }),
                local_path: key,
                width,
                height,
                seed,
                bytes,
                sha256,
                media_type,
            }
        })
        .collect();
    TaskResult { output_path: link("result", 0), thumbnail: link("thumbnail", 0), outputs, manifest: result.manifest }
}

/// Path of a task's file: `what` is `result`, `thumbnail` or `spritesheet`.
pub(in crate::api) fn content_path(id: &str, what: &str, index: usize) -> String {
    format!("/api/v1/tasks/{id}/{what}/{index}")
}
