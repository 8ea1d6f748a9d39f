//! Previews for clients that ask again and again instead of listening.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::api::state::ApiState;
use crate::domain::{JobEventKind, JobId, Principal};
use crate::jobs::{JobEvents, Previews};

/// Jobs whose previews are kept at a time; of further ones none are shown.
const MOST_JOBS: usize = 64;
/// A job that nobody has asked about for so long is not watched any longer: previews cost its device time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15);

/// The latest previews of the jobs that somebody looks at. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct LivePreviews {
    watched: Arc<Mutex<HashMap<JobId, Watched>>>,
}

#[derive(Debug)]
struct Watched {
    asked: Instant,
    latest: Option<Preview>,
}

/// A preview and its number within its job, from 1.
#[derive(Clone, Debug)]
pub(super) struct Preview {
    pub(super) number: i64,
    pub(super) png: Bytes,
}

impl LivePreviews {
    /// The latest preview of a job that the caller may see. The first question has them made from then on.
    pub(super) fn latest(&self, state: &ApiState, principal: &Principal, id: JobId) -> Option<Preview> {
        let mut watched = self.watched.lock();
        if let Some(known) = watched.get_mut(&id) {
            known.asked = Instant::now();
            return known.latest.clone();
        }
        if watched.len() < MOST_JOBS {
            watched.insert(id, Watched { asked: Instant::now(), latest: None });
            state.background.spawn(self.clone().watch(state.clone(), principal.clone(), id));
        }
        None
    }

    async fn watch(self, state: ApiState, principal: Principal, id: JobId) {
        match state.jobs.watch(&principal, id, Previews::Wanted).await {
            Ok((_, events)) => {
                let stopped = state.shutdown.clone();
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = self.follow(id, events) => {}
                }
            }
            Err(error) => {
                tracing::debug!(job.id = %id, error = &error as &dyn std::error::Error, "Task {id} is not watched for its previews");
            }
        }
        self.watched.lock().remove(&id);
    }

    async fn follow(&self, id: JobId, mut events: JobEvents) {
        let mut number = 0;
        loop {
            let Some(asked) = self.watched.lock().get(&id).map(|known| known.asked) else { return };
            let forgotten = asked + FORGOTTEN_AFTER;
            if forgotten <= Instant::now() {
                return;
            }
            let event = match tokio::time::timeout_at(forgotten, events.recv()).await {
                Ok(Ok(event)) => event,
                Ok(Err(RecvError::Closed)) => return,
                Ok(Err(RecvError::Lagged(_))) | Err(_) => continue,
            };
            if let JobEventKind::Preview { png, .. } = event.kind
                && let Some(known) = self.watched.lock().get_mut(&id)
            {
                number += 1;
                known.latest = Some(Preview { number, png });
            }
        }
    }
}
