//! The job of what is made without a server.

use crate::domain::{Clock, Job, JobId, JobRequest, JobState, Progress, SystemClock, UnixMs};

/// A job of nobody but this process: attempts at its tasks name their files after it.
pub(super) fn job(request: &JobRequest) -> Job {
    let Ok(user) = "local".parse() else { unreachable!("a plain word is a user's name") };
    Job {
        id: JobId::generate(),
        user,
        project: None,
        retry_of: None,
        state: JobState::Running,
        request: request.clone(),
        priority: 0,
        progress: Progress::default(),
        created: SystemClock.now(),
        started: None,
        finished: None,
        updated: UnixMs(0),
        result: None,
        error: None,
    }
}
