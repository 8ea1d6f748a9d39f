//! `/v1/tasks/{id}/stream`: any task, as a client watches it that knows three words.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use utoipa::ToSchema;

use super::result_links::result_links;
use crate::api::completion::{Happening, Waiting};
use crate::api::error::{ApiError, OpenAiErrorEnvelope};
use crate::api::extract::{BaseUrl, Caller};
use crate::api::native::events::{KEEP_ALIVE, sse_data};
use crate::api::native::tasks::parse_task_id;
use crate::api::state::ApiState;
use crate::api::submission::forecast;
use crate::domain::{Job, JobId, JobState, Principal, Progress};
use crate::jobs::Previews;

/// How a task stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(in crate::api) enum TaskStanding {
    /// It waits or runs.
    Processing {
        /// Percent, below 100.
        progress: u32,
        /// What happens, for people.
        remark: String,
    },
    /// It has been made.
    Completed {
        /// A link to the first picture, or to the film, that needs no key for an hour.
        url: String,
        /// Where there are several pictures: links to all of them.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        urls: Vec<String>,
    },
    /// It failed, or was cancelled.
    Failed {
        /// Why.
        error: String,
    },
}

/// Watch a task
///
/// Each event is a line of data: how the task stands. The last but one is `completed` or `failed`, the last is `[DONE]`. Hanging up
/// stops nothing.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/stream", tag = "openai", params(("id" = String, Path, description = "The task")),
    responses(
        (status = 200, description = "The events", body = TaskStanding, content_type = "text/event-stream"),
        (status = 404, description = "No such task, or not yours", body = OpenAiErrorEnvelope),
    )
)]
pub(in crate::api) async fn stream_task(
    State(state): State<ApiState>,
    Caller(principal): Caller,
    BaseUrl(base_url): BaseUrl,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let id = parse_task_id(&id)?;
    let job = state.jobs.get(&principal, id).await?;
    let waiting = Waiting::begin(state.clone(), principal.clone(), id, false, Previews::Unwanted).await?;
    let shutdown = state.shutdown.clone();
    let mut watch = Watch { state, principal, base_url, id, waiting, told: None, ready: VecDeque::new(), ended: false };
    watch.tell_progress(&job, job.progress);
    let events = stream::unfold(watch, Watch::next_event).take_until(shutdown.cancelled_owned()).map(Ok);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One open stream.
struct Watch {
    state: ApiState,
    principal: Principal,
    base_url: String,
    id: JobId,
    waiting: Waiting,
    /// The percentage and the remark that were told last.
    told: Option<(u32, String)>,
    /// Written but not yet sent.
    ready: VecDeque<Event>,
    ended: bool,
}

impl Watch {
    async fn next_event(mut self) -> Option<(Event, Self)> {
        while self.ready.is_empty() && !self.ended {
            match self.waiting.next().await {
                Ok(Happening::Preview { .. }) => {}
                Ok(Happening::Progress(progress)) => self.tell_running(progress),
                Ok(Happening::Completed { result, .. }) => {
                    let mut urls = result_links(&self.state, &self.base_url, self.id, &result);
                    let url = urls.first().cloned().unwrap_or_default();
                    urls.truncate(if urls.len() > 1 { urls.len() } else { 0 });
                    self.tell(&TaskStanding::Completed { url, urls });
                    self.end();
                }
                Err(error) => self.tell_failure(&error).await,
            }
        }
        let event = self.ready.pop_front()?;
        Some((event, self))
    }

    fn tell_progress(&mut self, job: &Job, progress: Progress) {
        match job.state {
            JobState::Queued => {
                let position = forecast(&self.state, job).map(|forecast| forecast.position);
                let remark =
                    position.map_or_else(|| "waiting".to_owned(), |position| format!("waiting, number {position} in the queue"));
                self.tell_step(0, remark);
            }
            JobState::Running => self.tell_running(progress),
            JobState::Completed | JobState::Failed | JobState::Cancelled => {}
        }
    }

    fn tell_running(&mut self, progress: Progress) {
        self.tell_step(progress.percent().min(99), format!("step {} of {}", progress.step, progress.steps));
    }

    /// Says how far it is, unless that was said last.
    fn tell_step(&mut self, progress: u32, remark: String) {
        if self.told.as_ref().is_some_and(|told| *told == (progress, remark.clone())) {
            return;
        }
        self.tell(&TaskStanding::Processing { progress, remark: remark.clone() });
        self.told = Some((progress, remark));
    }

    /// Says how it ended; a task that has not ended, or cannot be read, ends the stream without a word, and the client asks anew.
    async fn tell_failure(&mut self, error: &ApiError) {
        match self.state.jobs.get(&self.principal, self.id).await {
            Ok(job) if job.state.is_terminal() => {
                self.tell(&TaskStanding::Failed { error: error.message().to_owned() });
                self.end();
            }
            Ok(_) => self.ended = true,
            Err(unreadable) => {
                ApiError::from(unreadable).log();
                self.ended = true;
            }
        }
    }

    fn end(&mut self) {
        self.ready.push_back(Event::default().data("[DONE]"));
        self.ended = true;
    }

    fn tell(&mut self, standing: &TaskStanding) {
        self.ready.extend(sse_data(standing));
    }
}
