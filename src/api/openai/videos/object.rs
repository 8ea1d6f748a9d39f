//! A film as OpenAI's clients know it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::error::ApiError;
use crate::domain::{ErrorCode, Job, JobKind, JobRequest, JobState, UnixMs};

/// A video.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct VideoObject {
    /// Its identifier; the native API knows it as a task.
    id: String,
    /// `video`.
    object: &'static str,
    /// The model.
    model: String,
    /// `queued`, `in_progress`, `completed` or `failed`.
    #[schema(value_type = String)]
    status: &'static str,
    /// Percent.
    progress: u32,
    /// Unix seconds.
    created_at: i64,
    /// Unix seconds.
    completed_at: Option<i64>,
    /// Videos are kept as long as the server's configuration says, and no time is promised.
    expires_at: Option<i64>,
    /// Why it failed; of a cancelled one, `cancelled`.
    error: Option<VideoError>,
    /// What it shows, scene after scene.
    prompt: Option<String>,
    /// The video that this one was made from.
    remixed_from_video_id: Option<String>,
    /// Its length, as a text.
    #[schema(example = "4")]
    seconds: String,
    /// Width and height.
    #[schema(example = "1280x720")]
    size: String,
    /// The seed of its first scene.
    seed: u64,
}

/// Why a video failed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct VideoError {
    /// For programs.
    code: String,
    /// For people.
    message: String,
}

impl VideoObject {
    /// The video of a job; a job of another kind is none.
    pub(in crate::api) fn of(job: &Job) -> Option<Self> {
        if job.request.kind() != JobKind::Film {
            return None;
        }
        let facts = VideoRequestFacts::of(job);
        let (status, error) = match job.state {
            JobState::Queued => ("queued", None),
            JobState::Running => ("in_progress", None),
            JobState::Completed => ("completed", None),
            JobState::Failed => {
                let (code, message) = job.error.as_ref().map_or_else(
                    || (word(ErrorCode::Internal), "no reason given".to_owned()),
                    |error| (word(error.code), error.message.clone()),
                );
                ("failed", Some(VideoError { code, message }))
            }
            JobState::Cancelled => {
                let message = "the video was cancelled".to_owned();
                ("failed", Some(VideoError { code: "cancelled".to_owned(), message }))
            }
        };
        // Whoever reads 100 expects a file; the last step is done before it is kept.
        let progress = if job.state == JobState::Completed { 100 } else { job.progress.percent().min(99) };
        Some(Self {
            id: job.id.to_string(),
            object: "video",
            model: job.request.model().to_string(),
            status,
            progress,
            created_at: job.created.seconds(),
            completed_at: job.finished.filter(|_| job.state == JobState::Completed).map(UnixMs::seconds),
            expires_at: None,
            error,
            prompt: (!facts.prompt.is_empty()).then_some(facts.prompt),
            remixed_from_video_id: job.retry_of.map(|id| id.to_string()),
            seconds: seconds(facts.duration_ms),
            size: facts.size,
            seed: job.request.seed(),
        })
    }

    /// The same where the job has been found to be a film.
    pub(in crate::api) fn of_film(job: &Job) -> Result<Self, ApiError> {
        Self::of(job).ok_or_else(|| ApiError::internal("a video's job is no film"))
    }
}

/// What a film's request says, whoever makes it; once it is there, what it is.
struct VideoRequestFacts {
    prompt: String,
    duration_ms: i64,
    /// Width and height, or the provider's tier or shape; empty where it chooses.
    size: String,
}

impl VideoRequestFacts {
    fn of(job: &Job) -> Self {
        let asked = Self::asked(job.request.target(0));
        let made = job.result.as_ref().and_then(|result| result.artifacts.first());
        match made.and_then(|artifact| Some((artifact, artifact.video.as_ref()?))) {
            Some((artifact, video)) if job.request.film().is_none() => {
                Self { duration_ms: video.duration_ms, size: format!("{}x{}", artifact.width, artifact.height), ..asked }
            }
            _ => asked,
        }
    }

    fn asked(request: &JobRequest) -> Self {
        match request {
            JobRequest::Film(film) => {
                let prompts: Vec<&str> =
                    film.scenes.iter().map(|scene| scene.prompt.as_str()).filter(|text| !text.is_empty()).collect();
                let size = format!("{}x{}", film.width, film.height);
                Self { prompt: prompts.join("\n"), duration_ms: film.duration_ms(), size }
            }
            JobRequest::Remote(remote) => Self {
                prompt: remote.prompt.clone(),
                duration_ms: remote.duration_ms(),
                size: remote.frame.map(|frame| frame.to_string()).unwrap_or_default(),
            },
            JobRequest::Image(_) | JobRequest::Routed(_) => Self { prompt: String::new(), duration_ms: 0, size: String::new() },
        }
    }
}

/// The word of an error code, as JSON has it.
fn word(code: ErrorCode) -> String {
    serde_json::to_value(code).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Seconds without what they do not need: `4`, `2.5`.
fn seconds(milliseconds: i64) -> String {
    let text = format!("{:.3}", milliseconds as f64 / 1000.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_plain_texts() {
        for (ms, text) in [(4000, "4"), (2500, "2.5"), (1001, "1.001"), (0, "0"), (10_000, "10")] {
            assert_eq!(seconds(ms), text);
        }
        assert_eq!(word(ErrorCode::OutOfMemory), "out_of_memory");
    }
}
