//! What a callback says. Pure.

use std::fmt;

use serde_json::{Value, json};

use super::store::Delivery;
use crate::domain::{CallbackEvent, CallbackFormat, ErrorCode, FileId, Job, JobState, MinimaxWords, UnixMs};

/// MiniMax's code of a success.
const MINIMAX_SUCCESS: u16 = 0;
/// MiniMax's code of an unknown error.
const MINIMAX_UNKNOWN: u16 = 1000;

/// What a completed job left, as the API shows it: whoever signs links gives it.
pub trait JobOutputs: Send + Sync + fmt::Debug {
    /// A document for each file; links begin with `base_url`.
    fn outputs(&self, job: &Job, base_url: &str, now: UnixMs) -> Vec<Value>;
}

/// The body of a delivery, of a job as it stands. A job that has gone on since is told as it was then.
pub fn body(delivery: &Delivery, job: &Job, outputs: &dyn JobOutputs, words: MinimaxWords, now: UnixMs) -> Value {
    match delivery.format {
        CallbackFormat::Standard => {
            let is_completed = delivery.id.event == CallbackEvent::Completed;
            let base_url = delivery.base_url.as_deref().filter(|_| is_completed);
            let outputs = base_url.map(|base_url| outputs.outputs(job, base_url, now));
            standard(delivery, job, outputs.as_deref())
        }
        CallbackFormat::Minimax => minimax(job, delivery.id.event, words),
    }
}

/// Our own words: `type` and `data`, as Standard Webhooks recommends.
fn standard(delivery: &Delivery, job: &Job, outputs: Option<&[Value]>) -> Value {
    let event = delivery.id.event;
    let error = job.error.as_ref().filter(|_| event == CallbackEvent::Failed);
    json!({
        "type": format!("task.{}", event.as_str()),
        "timestamp": delivery.created.to_string(),
        "data": {
            "task_id": job.id.to_string(),
            "status": event.state().as_str(),
            "model": job.request.model().to_string(),
            "project_id": job.project.as_ref().map(ToString::to_string),
            "retry_of": job.retry_of.as_ref().map(ToString::to_string),
            "created_at": job.created.to_string(),
            "error": error.map(|error| json!({ "code": error.code, "message": error.message })),
            "outputs": outputs,
        },
    })
}

/// MiniMax's words, which have no cancelled tasks.
fn minimax(job: &Job, event: CallbackEvent, words: MinimaxWords) -> Value {
    let (code, message) = match event {
        CallbackEvent::Failed => {
            job.error.as_ref().map_or((MINIMAX_UNKNOWN, "failed"), |error| (minimax_code(error.code), error.message.as_str()))
        }
        CallbackEvent::Cancelled => (MINIMAX_UNKNOWN, "cancelled"),
        CallbackEvent::Accepted | CallbackEvent::Started | CallbackEvent::Completed => (MINIMAX_SUCCESS, "success"),
    };
    json!({
        "task_id": job.id.to_string(),
        "status": match words {
            MinimaxWords::Query => minimax_status(event.state()),
            MinimaxWords::LowerCase => lower_case_status(event.state()),
        },
        "file_id": if event == CallbackEvent::Completed { FileId::of(job.id).to_string() } else { String::new() },
        "base_resp": { "status_code": code, "status_msg": message },
    })
}

/// MiniMax's code of a failure, the same as its query tells.
const fn minimax_code(code: ErrorCode) -> u16 {
    match code {
        ErrorCode::InvalidRequest | ErrorCode::ProviderRefused => 2013,
        // Of too little balance, which quotas come nearest to.
        ErrorCode::QuotaExceeded => 1008,
        ErrorCode::ModerationBlocked => 1026,
        ErrorCode::TimedOut => 1001,
        ErrorCode::ProviderUnavailable | ErrorCode::OutcomeUnknown | ErrorCode::ProviderFailed => 1033,
        ErrorCode::ModelUnavailable
        | ErrorCode::OutOfMemory
        | ErrorCode::DeviceFailed
        | ErrorCode::WorkerLost
        | ErrorCode::Stalled
        | ErrorCode::StorageFailed
        | ErrorCode::Internal => 1013,
    }
}

/// The word for a state in MiniMax's own callbacks.
const fn lower_case_status(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queueing",
        JobState::Running => "processing",
        JobState::Completed => "success",
        JobState::Failed | JobState::Cancelled => "failed",
    }
}

/// The word for a state in MiniMax's query.
pub const fn minimax_status(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "Queueing",
        JobState::Running => "Processing",
        JobState::Completed => "Success",
        JobState::Failed | JobState::Cancelled => "Fail",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::film::tests::film;
    use crate::domain::{DeliveryId, JobError, JobId, Progress};
    use crate::webhooks::store::DeliveryState;

    #[derive(Debug)]
    struct Links;

    impl JobOutputs for Links {
        fn outputs(&self, _: &Job, base_url: &str, now: UnixMs) -> Vec<Value> {
            vec![json!({ "url": format!("{base_url}/result?at={}", now.0) })]
        }
    }

    fn job() -> Job {
        Job {
            id: JobId::generate(),
            user: "ann".parse().unwrap(),
            project: Some("film".parse().unwrap()),
            retry_of: None,
            state: JobState::Completed,
            request: film(&[24]).into(),
            priority: 0,
            progress: Progress::default(),
            created: UnixMs(1_000),
            started: None,
            finished: None,
            updated: UnixMs(9_000),
            result: None,
            error: Some(JobError { code: ErrorCode::QuotaExceeded, message: "no time is left".to_owned() }),
        }
    }

    fn told(job: &Job, event: CallbackEvent, format: CallbackFormat) -> Value {
        told_in(job, event, format, MinimaxWords::Query)
    }

    fn told_in(job: &Job, event: CallbackEvent, format: CallbackFormat, words: MinimaxWords) -> Value {
        let delivery = Delivery {
            id: DeliveryId { job: job.id, event },
            user: job.user.clone(),
            project: job.project.clone(),
            url: "https://example.com/".to_owned(),
            host: "example.com".to_owned(),
            format,
            base_url: Some("http://server".to_owned()),
            state: DeliveryState::Pending,
            attempts: 1,
            tries: 1,
            due: UnixMs(0),
            created: UnixMs(2_000),
            updated: UnixMs(2_000),
            delivered: None,
            http_status: None,
            error: None,
        };
        body(&delivery, job, &Links, words, UnixMs(5))
    }

    #[test]
    fn our_words_tell_what_it_was_then() {
        let job = job();
        let body = told(&job, CallbackEvent::Completed, CallbackFormat::Standard);
        assert_eq!((&body["type"], &body["timestamp"]), (&json!("task.completed"), &json!("1970-01-01T00:00:02.000Z")));
        assert_eq!(body["data"]["outputs"], json!([{ "url": "http://server/result?at=5" }]));
        assert_eq!((&body["data"]["task_id"], &body["data"]["error"]), (&json!(job.id.to_string()), &Value::Null));
        for (event, status, has_error) in [
            (CallbackEvent::Accepted, "queued", false),
            (CallbackEvent::Started, "running", false),
            (CallbackEvent::Failed, "failed", true),
            (CallbackEvent::Cancelled, "cancelled", false),
        ] {
            let data = told(&job, event, CallbackFormat::Standard)["data"].take();
            assert_eq!((&data["status"], &data["outputs"]), (&json!(status), &Value::Null));
            assert_eq!(data["error"]["code"] == json!("quota_exceeded"), has_error, "{data}");
        }
    }

    #[test]
    fn minimax_words_are_those_of_its_query_or_of_its_own_callbacks() {
        let job = job();
        for (event, status, lower_case, code, has_file) in [
            (CallbackEvent::Accepted, "Queueing", "queueing", 0, false),
            (CallbackEvent::Started, "Processing", "processing", 0, false),
            (CallbackEvent::Completed, "Success", "success", 0, true),
            (CallbackEvent::Failed, "Fail", "failed", 1008, false),
            (CallbackEvent::Cancelled, "Fail", "failed", 1000, false),
        ] {
            let body = told(&job, event, CallbackFormat::Minimax);
            assert_eq!((&body["status"], &body["base_resp"]["status_code"]), (&json!(status), &json!(code)), "{body}");
            let mut lower = told_in(&job, event, CallbackFormat::Minimax, MinimaxWords::LowerCase);
            assert_eq!(lower["status"], lower_case, "{lower}");
            lower["status"] = json!(status);
            assert_eq!(lower, body, "nothing else differs");
            assert_eq!(body["file_id"] == json!(FileId::of(job.id).to_string()), has_file, "{body}");
            assert_eq!(body.as_object().unwrap().len(), 4, "{body}");
        }
    }
}
