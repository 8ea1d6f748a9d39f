//! A task in the envelope.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::links::NATIVE_LINK_SECONDS;
use crate::api::native::task_document::content_path;
use crate::api::state::ApiState;
use crate::domain::{Artifact, ErrorCode, Job, JobKind, JobRequest, JobResult, JobState, LOCAL_PROVIDER, UnixMs};

/// The envelope.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct UnifiedAnswer<T> {
    /// Whether the call did what it should.
    success: bool,
    /// The same for people.
    #[schema(example = "the task is pending")]
    message: String,
    /// The task, or what was asked for of several.
    results: T,
}

/// How a task is.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct UnifiedStatus {
    /// Its identifier.
    #[schema(example = "job_0199a5b6c7d87e0f8a1b2c3d4e5f6071")]
    task_id: String,
    /// `pending`, `running`, `completed`, `failed` or `cancelled`.
    #[schema(value_type = String, example = "running")]
    status: &'static str,
    /// The model.
    model: String,
    /// Who makes it: `local`, or a provider.
    #[schema(example = "local")]
    provider: String,
    /// Percent.
    progress: u32,
    /// Why it failed, for people.
    error: Option<String>,
    /// The same for programs.
    #[schema(value_type = Option<String>)]
    error_code: Option<ErrorCode>,
    /// Year to second.
    #[schema(example = "2025-06-16 20:08:58")]
    created_at: String,
    /// Year to second.
    updated_at: String,
}

/// A task and what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct UnifiedTask {
    #[serde(flatten)]
    status: UnifiedStatus,
    /// Once completed.
    result: Option<UnifiedResult>,
}

/// What came of a task.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct UnifiedResult {
    /// The task's identifier.
    id: String,
    /// The model.
    model: String,
    /// Who made it.
    provider: String,
    /// When the task was created.
    #[schema(example = "2025-06-16 20:08:58")]
    created: String,
    /// Of a film: it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    videos: Vec<UnifiedFile>,
    /// Of pictures: they.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<UnifiedFile>,
    /// What was asked for.
    prompt: String,
    /// The same as the provider rewrote it.
    actual_prompt: String,
    /// Width and height.
    #[schema(example = "1280x720")]
    resolution: String,
    /// What was used: seconds of film, or pictures.
    #[schema(value_type = Object)]
    usage: Value,
    /// What it cost; null for what was made here.
    #[schema(value_type = Option<Object>)]
    cost: Value,
    /// Where the provider had it.
    #[schema(value_type = Vec<String>)]
    original_urls: Value,
}

/// A file.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct UnifiedFile {
    /// From 0.
    index: usize,
    /// A link that needs no key and expires.
    url: String,
    /// The file, relative to the server's storage directory.
    local_path: String,
    /// Of a film: seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
}

impl<T> UnifiedAnswer<T> {
    /// A call that did what it should.
    pub(in crate::api) fn success(message: impl Into<String>, results: T) -> Self {
        Self { success: true, message: message.into(), results }
    }

    /// A task that was waited for and did not complete.
    pub(super) fn failure(message: impl Into<String>, results: T) -> Self {
        Self { success: false, message: message.into(), results }
    }
}

impl UnifiedStatus {
    /// How `job` is.
    pub(in crate::api) fn of(job: &Job, state: &ApiState) -> Self {
        let progress = if job.state == JobState::Completed { 100 } else { ((job.progress.fraction() * 100.0) as u32).min(99) };
        Self {
            task_id: job.id.to_string(),
            status: word(job.state),
            model: job.request.model().to_string(),
            provider: provider(job),
            progress,
            error: job.error.as_ref().map(|error| error.message.clone()),
            error_code: job.error.as_ref().map(|error| error.code),
            created_at: time(state, job.created),
            updated_at: time(state, job.updated),
        }
    }

    /// How it is, for people.
    pub(super) fn in_words(&self) -> String {
        match &self.error {
            Some(error) => error.clone(),
            None => format!("the task is {}", self.status),
        }
    }
}

impl UnifiedTask {
    pub(super) fn of(job: &Job, state: &ApiState, base_url: &str) -> Self {
        let result = job.result.as_ref().map(|result| UnifiedResult::of(job, result, state, base_url));
        Self { status: UnifiedStatus::of(job, state), result }
    }

    /// How it is, for people.
    pub(super) fn in_words(&self) -> String {
        self.status.in_words()
    }
}

impl UnifiedResult {
    fn of(job: &Job, result: &JobResult, state: &ApiState, base_url: &str) -> Self {
        let id = job.id.to_string();
        let expires = UnixMs(state.clock.now().0 + NATIVE_LINK_SECONDS * 1000);
        let file = |(index, artifact): (usize, &Artifact)| UnifiedFile {
            index,
            url: state.links.sign(base_url, &content_path(&id, "result", index), "", expires),
            local_path: artifact.key.clone(),
            duration: artifact.video.as_ref().map(|video| video.duration_ms as f64 / 1000.0),
        };
        let files: Vec<UnifiedFile> = result.artifacts.iter().enumerate().map(file).collect();
        let is_film = job.request.kind() == JobKind::Film;
        let seconds: f64 = files.iter().filter_map(|file| file.duration).sum();
        let used = if is_film { json!({ "seconds": seconds }) } else { json!({ "pictures": files.len() }) };
        let prompt = prompt(job.request.target(0));
        let said = |key: &str| result.manifest.get(key).filter(|value| !value.is_null()).cloned();
        let (videos, images) = if is_film { (files, Vec::new()) } else { (Vec::new(), files) };
        Self {
            model: job.request.model().to_string(),
            provider: provider(job),
            created: time(state, job.created),
            videos,
            images,
            actual_prompt: said("rewritten_prompt")
                .and_then(|text| text.as_str().map(str::to_owned))
                .unwrap_or_else(|| prompt.clone()),
            prompt,
            resolution: result.artifacts.first().map(|first| format!("{}x{}", first.width, first.height)).unwrap_or_default(),
            usage: said("usage").unwrap_or(used),
            cost: said("cost").unwrap_or(Value::Null),
            original_urls: said("original_urls").unwrap_or_else(|| json!([])),
            id,
        }
    }
}

const fn word(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "pending",
        other => other.as_str(),
    }
}

/// Who made it; before that, who is to be asked first.
fn provider(job: &Job) -> String {
    if let Some(result) = &job.result {
        return result.manifest.get("provider").and_then(Value::as_str).unwrap_or(LOCAL_PROVIDER).to_owned();
    }
    job.request.target(0).remote().map_or_else(|| LOCAL_PROVIDER.to_owned(), |request| request.provider.to_string())
}

fn prompt(request: &JobRequest) -> String {
    match request {
        JobRequest::Image(request) => request.prompt.clone(),
        JobRequest::Film(film) => {
            let of_scene = |scene: &crate::domain::film::Scene| {
                let camera = scene.camera.as_deref().unwrap_or_default();
                format!("{} {camera}", scene.prompt).trim().to_owned()
            };
            film.scenes.iter().map(of_scene).collect::<Vec<_>>().join("\n")
        }
        JobRequest::Remote(request) => request.prompt.clone(),
        JobRequest::Routed(_) => String::new(),
    }
}

fn time(state: &ApiState, at: UnixMs) -> String {
    match Timestamp::from_millisecond(at.0) {
        Ok(timestamp) => timestamp.to_zoned(state.tenants.zone().clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => at.to_string(),
    }
}
