//! The end of a server, in phases.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::parts::Parts;
use super::signals::Signals;

/// How long running jobs may go on after the first signal. What is not done by then is interrupted and runs again at the next start.
const DRAIN: Duration = Duration::from_secs(30);
/// How long answers may take to reach their clients once jobs have ended.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// How long callbacks that are under way may take; the others are in the database.
const LAST_CALLBACKS: Duration = Duration::from_secs(5);

/// Takes the server down. A second signal cuts the drain short.
pub(super) async fn run(parts: &Parts, http: &TaskTracker, close_http: &CancellationToken, signals: &mut Signals) {
    tracing::info!("Stopping: running jobs have {} s, then they are kept for the next start", DRAIN.as_secs());
    // 1. Not ready any more, and no new jobs.
    parts.api.jobs.close();
    // 2. Event streams end (they would keep connections open), and `health` says so.
    parts.api.shutdown.cancel();
    // 3. No new connections; open requests go on, because some wait for the jobs of the next phase.
    close_http.cancel();
    // 4. Nothing is claimed any more; running jobs end, or go back to the queue uncharged.
    tokio::select! {
        () = parts.scheduler.shut_down(DRAIN) => {}
        () = signals.wait() => {
            tracing::warn!("Second signal: running jobs are interrupted and will run again at the next start");
            parts.scheduler.shut_down(Duration::ZERO).await;
        }
    }
    // 5. The last answers.
    parts.api.background.close();
    let last_answers = async {
        http.wait().await;
        // A request that ends may leave something to be done behind it.
        parts.api.background.wait().await;
    };
    if tokio::time::timeout(LAST_ANSWERS, last_answers).await.is_err() {
        tracing::warn!("Some clients did not take their answers within {} s", LAST_ANSWERS.as_secs());
    }
    // 6. The last callbacks.
    parts.api.webhooks.shut_down(LAST_CALLBACKS).await;
    // 7. Nobody writes any more, not even for clients that have gone.
    parts.api.jobs.settled().await;
    parts.database.close().await;
    tracing::info!("Stopped");
}
