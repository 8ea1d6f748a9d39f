//! Watching a task: server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::scene_document::scenes_of;
use super::task_document::{TaskDocument, rounded_fraction};
use super::tasks::parse_task_id;
use crate::api::error::{ApiError, Problem};
use crate::api::extract::{BaseUrl, Caller};
use crate::api::state::ApiState;
use crate::domain::plan::TaskRole;
use crate::domain::{EventId, Job, JobEvent, JobEventKind, JobId, Principal, Progress, TaskStep};
use crate::jobs::{JobEvents, Previews};

/// How often a comment is sent when nothing else is, so that proxies keep the connection.
pub(in crate::api) const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Debug, Serialize)]
struct ProgressData {
    step: u32,
    steps: u32,
    fraction: f64,
}

#[derive(Debug, Serialize)]
struct PreviewData {
    index: u32,
    step: u32,
    steps: u32,
    image: String,
}

/// What became of a task of a film.
#[derive(Debug, Serialize)]
struct TaskData<'a> {
    task: &'static str,
    scene: Option<&'a str>,
    clip: Option<u32>,
    state: &'static str,
    attempt: i64,
}

impl<'a> TaskData<'a> {
    fn new(step: &TaskStep, scene_ids: &'a [String]) -> Self {
        let clip = if let TaskRole::Clip { clip, .. } = step.role { Some(clip) } else { None };
        let scene = step.role.scene().and_then(|scene| scene_ids.get(scene)).map(String::as_str);
        Self { task: step.role.as_str(), scene, clip, state: step.state.as_str(), attempt: step.attempt }
    }
}

impl From<Progress> for ProgressData {
    fn from(Progress { step, steps }: Progress) -> Self {
        Self { step, steps, fraction: rounded_fraction(step, steps) }
    }
}

/// Watch a task
///
/// Events: `state` (the task as `GET /api/v1/tasks/{id}` shows it), `progress` (`{step, steps, fraction}`), `preview`
/// (`{index, step, steps, image}`, `image` being a data URL), and of a film `task` (`{task, scene, clip, state, attempt}`: a keyframe, a
/// clip, a scene or the film begins or has ended). The first event is always a `state`; the stream ends after the one
/// that says how the task ended. A client that reconnects, with `Last-Event-ID` or without, begins with the task as it then stands.
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}/events", tag = "tasks",
    params(
        ("id" = String, Path, description = "The task"),
        ("Last-Event-ID" = Option<String>, Header, description = "Sent by browsers when they reconnect"),
    ),
    responses(
        (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
        (status = 404, description = "No such task, or not yours", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn watch_task(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let id = parse_task_id(&id)?;
    let (job, events) = state.jobs.watch(&principal, id, Previews::Wanted).await?;
    let shutdown = state.shutdown.clone();
    let scenes = job.request.film().map(|film| film.scenes.iter().map(|scene| scene.id.clone()).collect());
    let scene_ids = scenes.unwrap_or_default();
    let watcher =
        Watcher { state, principal, base_url, id, events, scene_ids, next: Next::State { job: Box::new(job), id: None } };
    let events = stream::unfold(watcher, Watcher::next_event).take_until(shutdown.cancelled_owned()).map(Ok);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One open stream.
struct Watcher {
    state: ApiState,
    principal: Principal,
    base_url: String,
    id: JobId,
    events: JobEvents,
    /// Of a film.
    scene_ids: Vec<String>,
    next: Next,
}

/// What the stream does next.
enum Next {
    /// Tell the state that has just been read.
    State { job: Box<Job>, id: Option<EventId> },
    /// Wait for an event.
    Event,
    /// Nothing more.
    End,
}

impl Watcher {
    async fn next_event(mut self) -> Option<(Event, Self)> {
        loop {
            match std::mem::replace(&mut self.next, Next::Event) {
                Next::End => return None,
                Next::State { job, id } => {
                    if job.state.is_terminal() {
                        self.next = Next::End;
                    }
                    // A film whose scenes cannot be read is shown without them.
                    let scenes = scenes_of(&job, &self.state, &self.principal, &self.base_url).await.unwrap_or_default();
                    let document = TaskDocument::new(*job, &self.state, &self.base_url).with_scenes(scenes);
                    if let Some(event) = sse_event("state", id, &document) {
                        return Some((event, self));
                    }
                }
                Next::Event => match self.events.recv().await {
                    Ok(event) if event.job != self.id => {}
                    Ok(JobEvent { id, kind: JobEventKind::State { .. }, .. }) => self.read_state(Some(id)).await,
                    Ok(event) => {
                        if let Some(event) = live_event(&event, &self.scene_ids) {
                            return Some((event, self));
                        }
                    }
                    // What was missed is in the store.
                    Err(RecvError::Lagged(_)) => self.read_state(None).await,
                    Err(RecvError::Closed) => {
                        self.read_state(None).await;
                        if !matches!(&self.next, Next::State { job, .. } if job.state.is_terminal()) {
                            return None;
                        }
                    }
                },
            }
        }
    }

    /// Reads the task again; a task that cannot be read ends the stream, and the client asks anew.
    async fn read_state(&mut self, id: Option<EventId>) {
        self.next = match self.state.jobs.get(&self.principal, self.id).await {
            Ok(job) => Next::State { job: Box::new(job), id },
            Err(error) => {
                ApiError::from(error).log();
                Next::End
            }
        };
    }
}

fn live_event(event: &JobEvent, scene_ids: &[String]) -> Option<Event> {
    match &event.kind {
        JobEventKind::State { .. } => None,
        JobEventKind::Task(step) => sse_event("task", Some(event.id), &TaskData::new(step, scene_ids)),
        JobEventKind::Progress(progress) => sse_event("progress", Some(event.id), &ProgressData::from(*progress)),
        JobEventKind::Preview { index, progress, png } => {
            let image = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png));
            let data = PreviewData { index: *index, step: progress.step, steps: progress.steps, image };
            sse_event("preview", Some(event.id), &data)
        }
    }
}

/// An event with JSON data; `None`, and a line in the log, if the data cannot be written as JSON.
pub(in crate::api) fn sse_event(name: &str, id: Option<EventId>, data: &impl Serialize) -> Option<Event> {
    let event = Event::default().event(name);
    let event = match id {
        Some(id) => event.id(id.to_string()),
        None => event,
    };
    with_data(event, data)
}

/// The same without a name.
pub(in crate::api) fn sse_data(data: &impl Serialize) -> Option<Event> {
    with_data(Event::default(), data)
}

fn with_data(event: Event, data: &impl Serialize) -> Option<Event> {
    match event.json_data(data) {
        Ok(event) => Some(event),
        Err(error) => {
            tracing::error!(%error, "An event could not be written");
            None
        }
    }
}
