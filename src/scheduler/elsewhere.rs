//! What waits in the store and was not told by this server's own service: what waited at start, and what other servers change.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::dispatcher::Shared;
use crate::domain::{TaskId, UnixMs};
use crate::jobs::QueueChange;
use crate::jobs::store::{QueuePosition, QueuedTask, StoreError};

/// Tasks read at a time.
const PAGE: u32 = 1000;
/// How far a look goes back before the newest task seen: servers' clocks differ a little, and commits overtake each other.
const OVERLAP_MS: i64 = 2_000;
/// Changes of other servers are gathered for this long before they are read.
const GATHER: Duration = Duration::from_millis(50);
/// How often the whole queue is compared with the view, where other servers take from it …
const COMPARE_WITH_PEERS: Duration = Duration::from_secs(15);
/// … and where none do: against what a failed call may have left unsaid.
const COMPARE_ALONE: Duration = Duration::from_mins(2);
/// How often jobs are looked up that somebody watches here and that run elsewhere.
const FOLLOW: Duration = Duration::from_secs(1);
/// The pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Keeps the view true to the store.
pub(super) async fn follow(shared: Arc<Shared>) {
    let has_peers = shared.parts.options.has_peers;
    let compare_every = if has_peers { COMPARE_WITH_PEERS } else { COMPARE_ALONE };
    let mut newest = UnixMs(0);
    let mut next_comparison = Instant::now();
    let mut next_look = Instant::now();
    loop {
        let wake = if has_peers { next_comparison.min(next_look) } else { next_comparison };
        let is_changed = tokio::select! {
            () = shared.parts.runner.store().changed_elsewhere() => true,
            () = tokio::time::sleep_until(wake) => false,
        };
        let done = if is_changed {
            tokio::time::sleep(GATHER).await;
            read_newer(&shared, &mut newest).await
        } else if Instant::now() >= next_comparison {
            next_comparison = Instant::now() + compare_every;
            compare(&shared, &mut newest).await
        } else {
            next_look = Instant::now() + FOLLOW;
            shared.parts.runner.follow_elsewhere().await
        };
        if let Err(error) = done {
            tracing::warn!(error = &error as &dyn Error, "Cannot read the queue: {error}");
            next_comparison = Instant::now() + STORE_PAUSE;
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }
}

/// Announces what joined the queue since the last look.
async fn read_newer(shared: &Shared, newest: &mut UnixMs) -> Result<(), StoreError> {
    read(shared, look_back(*newest, shared.clock().now()), |page| *newest = (*newest).max(newest_of(page))).await
}

/// Reads the whole queue: announces what the view lacks, and takes out of it what waits no more.
async fn compare(shared: &Shared, newest: &mut UnixMs) -> Result<(), StoreError> {
    let begun = shared.clock().now();
    let mut seen: HashSet<TaskId> = HashSet::new();
    read(shared, QueuePosition { queued: UnixMs(0), task: None }, |page| {
        *newest = (*newest).max(newest_of(page));
        seen.extend(page.iter().map(|task| task.task));
    })
    .await?;
    // What joined while the queue was read may not have been on any page.
    let settled = UnixMs(begun.0.saturating_sub(OVERLAP_MS));
    let gone: Vec<QueueChange> = {
        let waiting = shared.waiting.lock();
        let missing = waiting.tasks().filter(|(task, queued)| *queued < settled && !seen.contains(task));
        missing.map(|(task, _)| QueueChange::Gone(task)).collect()
    };
    if !gone.is_empty() {
        tracing::debug!(tasks = gone.len(), "Found {} tasks that wait no more", gone.len());
        shared.parts.runner.announce(gone);
    }
    Ok(())
}

/// Where a look for news begins. The newest task may lie in the future: the clock has been put back since.
fn look_back(newest: UnixMs, now: UnixMs) -> QueuePosition {
    QueuePosition { queued: UnixMs(newest.min(now).0.saturating_sub(OVERLAP_MS)), task: None }
}

async fn read(shared: &Shared, from: QueuePosition, mut look: impl FnMut(&[QueuedTask])) -> Result<(), StoreError> {
    let runner = &shared.parts.runner;
    let mut after = from;
    loop {
        let page = runner.store().queued(after, PAGE).await?;
        look(&page);
        let Some(last) = page.last() else { return Ok(()) };
        after = QueuePosition { queued: last.queued, task: Some(last.task) };
        let is_last = page.len() < PAGE as usize;
        // One that runs here was read before it was claimed.
        runner.announce(page.into_iter().filter(|task| !runner.holds(task.task)).map(QueueChange::Arrived));
        if is_last {
            return Ok(());
        }
    }
}

fn newest_of(page: &[QueuedTask]) -> UnixMs {
    page.last().map_or(UnixMs(0), |task| task.queued)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_for_news_begins_before_the_newest_task_and_never_in_the_future() {
        let from = |newest, now| look_back(UnixMs(newest), UnixMs(now)).queued;
        assert_eq!(from(50_000, 60_000), UnixMs(50_000 - OVERLAP_MS));
        assert_eq!(from(3_600_000, 60_000), UnixMs(60_000 - OVERLAP_MS), "the clock was put back");
    }
}
