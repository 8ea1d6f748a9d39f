//! What is written down and told of a task's calls.

use std::time::Duration;

use super::failures::call_ending;
use super::run::Run;
use crate::domain::{CallId, CallOutcome, Micros, WireCall};
use crate::ledger::{CallState, LedgerError, NewCall};
use crate::providers::ProviderFailure;

/// How often the ledger is asked before the task is given back.
const MOST_LEDGER_TRIES: u32 = 5;
/// The pause after the ledger failed.
const LEDGER_PAUSE: Duration = Duration::from_millis(200);

impl Run<'_> {
    /// Writes down how a call ended that the provider took, or may have taken. What cannot be written stays open, and is taken up by whoever
    /// finds it.
    pub(super) async fn end(&self, call: &NewCall, state: CallState, settled: Micros, failure: Option<&ProviderFailure>) {
        if self.write_end(call.id, state, settled, failure).await {
            self.inner.ended(call, state, settled, failure.map(|failure| failure.class));
        }
    }

    /// Writes down that a call gave nothing, and was not taken.
    pub(super) async fn end_untaken(&self, call: CallId, failure: &ProviderFailure) {
        self.write_end(call, CallState::Failed, Micros::ZERO, Some(failure)).await;
    }

    /// `false` where the call had ended before, since only the first ending counts, or where it cannot be written down.
    async fn write_end(&self, call: CallId, state: CallState, settled: Micros, failure: Option<&ProviderFailure>) -> bool {
        let ending = call_ending(&self.work.request.provider, state, settled, failure);
        let ledger = &self.inner.parts.ledger;
        let written = self.with_ledger(|| ledger.end(call, &ending, self.inner.now())).await;
        written.unwrap_or_else(|error| {
            tracing::error!(
                job.id = %self.work.job.id, call = %call, error = &error as &dyn std::error::Error,
                "Job {}: how a call to {} ended could not be written down: {error}", self.work.job.id, self.work.request.provider
            );
            false
        })
    }

    /// Tells what became of a call over the wire.
    pub(super) fn called(&self, call: WireCall, outcome: CallOutcome, elapsed: Duration) {
        self.inner.parts.observer.provider_called(&self.station.id, call, outcome, elapsed.as_secs_f64());
    }

    /// Asks the ledger, a few times if it fails.
    pub(super) async fn with_ledger<T, F>(&self, ask: impl Fn() -> F) -> Result<T, LedgerError>
    where
        F: Future<Output = Result<T, LedgerError>>,
    {
        let mut tries = 1;
        loop {
            match ask().await {
                Err(_) if tries < MOST_LEDGER_TRIES => tries += 1,
                answer => return answer,
            }
            tokio::time::sleep(LEDGER_PAUSE).await;
        }
    }
}
