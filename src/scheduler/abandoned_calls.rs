//! Calls to providers that are open though their tasks have ended: wound up, and charged to their jobs.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::dispatcher::Shared;
use crate::domain::plan::plan;
use crate::execution::results::Attempt;
use crate::execution::{AbandonedCall, RemoteExecution, RemoteWork};
use crate::jobs::store::StoreError;

/// Winds up a few of them, all at once; gives how many are settled.
pub(super) async fn wind_up(shared: &Shared) -> u64 {
    let Some(remote) = shared.parts.remote.clone() else { return 0 };
    let calls = remote.abandoned().await;
    let settled = join_all(calls.iter().map(|call| wind_up_one(shared, &*remote, call))).await;
    let count = settled.into_iter().zip(&calls).filter(|(settled, call)| match settled {
        Ok(is_settled) => *is_settled,
        Err(error) => {
            tracing::warn!(job.id = %call.job, error = error as &dyn std::error::Error, "Job {}: {error}", call.job);
            false
        }
    });
    count.count() as u64
}

/// The call ends and its job is charged at once, or neither: a call that is open is found again.
async fn wind_up_one(shared: &Shared, remote: &dyn RemoteExecution, call: &AbandonedCall) -> Result<bool, StoreError> {
    let work = work_of(shared, call).await?;
    let Some(ending) = remote.wind_up(call, work.as_ref()).await else { return Ok(false) };
    if shared.parts.runner.store().settle_late(&call.call.call, &ending, shared.clock().now()).await? {
        remote.settled(call, &ending);
    }
    if let Some(work) = work {
        work.attempt.delete_answer(&shared.parts.storage).await;
    }
    Ok(true)
}

/// The task that a call was made for, as far as it is still there.
async fn work_of(shared: &Shared, call: &AbandonedCall) -> Result<Option<RemoteWork>, StoreError> {
    let store = shared.parts.runner.store();
    let Some(job) = store.jobs_of(&[call.job]).await?.pop() else { return Ok(None) };
    let tasks = match store.tasks_of(call.job).await {
        Err(StoreError::NotFound(_)) => return Ok(None),
        tasks => tasks?,
    };
    let Some(record) = tasks.into_iter().find(|record| record.id == call.task) else { return Ok(None) };
    let planned = plan(&job.request).into_iter().nth(record.position as usize);
    let request = planned.and_then(|planned| job.request.target(planned.stage).remote().cloned());
    let stop = CancellationToken::new();
    stop.cancel();
    Ok(request.map(|request| RemoteWork {
        task: call.task,
        attempt: Attempt::new(&job, record.position, record.attempt),
        hold: None,
        job,
        request,
        has_next_target: false,
        waiting_since: shared.clock().now(),
        stop,
        leave: CancellationToken::new(),
        progress: Arc::new(|_| {}),
    }))
}
