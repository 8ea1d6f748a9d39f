//! From a provider's results to a job's: fetched, kept, paid for.

use std::time::Duration;

use super::download::{DownloadError, keep_all};
use super::follow::results_again;
use super::manifest::manifest;
use super::offer::{billed, priced_names};
use super::price::{price_of, settle};
use super::run::Run;
use super::station::AccountLease;
use crate::domain::{ErrorCode, JobError, JobResult, Micros};
use crate::execution::RemoteEnding;
use crate::ledger::{CallState, NewCall};
use crate::providers::{FailureClass, Finished, ProviderFailure, RemoteTask};

/// How often fresh links are asked for.
const MOST_FRESH_LINKS: u32 = 3;
/// The pause before that.
const FRESH_LINKS_PAUSE: Duration = Duration::from_millis(200);

/// Fetches and keeps the results, and ends the call.
pub(super) async fn deliver(
    run: &Run<'_>,
    lease: &AccountLease,
    call: &NewCall,
    task: Option<&RemoteTask>,
    finished: Finished,
) -> RemoteEnding {
    let made = run.inner.now();
    let (mut finished, mut fresh_links) = (finished, 0);
    let kept = loop {
        let error = match keep_all(run, lease, &finished.results).await {
            Ok(kept) => break kept,
            Err(DownloadError::Interrupted) => return interrupted(run, lease, call, &finished).await,
            Err(error) => error,
        };
        let Some(task) = task.filter(|_| error.may_be_asked_again() && fresh_links < MOST_FRESH_LINKS) else {
            return failed(run, lease, call, &finished, &error).await;
        };
        fresh_links += 1;
        tokio::time::sleep(FRESH_LINKS_PAUSE).await;
        match results_again(run, lease, task).await {
            Some(again) => finished = again,
            None => return failed(run, lease, call, &finished, &error).await,
        }
    };
    let cost = cost(run, lease, call, &finished, kept.artifacts.len());
    let times = [made, run.inner.now()];
    let document = manifest(run, call, task, &finished, &kept, cost, times);
    run.end(call, CallState::Finished, cost, None).await;
    tracing::info!(
        job.id = %run.work.job.id, provider = %run.work.request.provider, call = %call.id, cost = %cost,
        "Job {}: {} gave {} files", run.work.job.id, run.work.request.provider, kept.artifacts.len()
    );
    let result = JobResult { artifacts: kept.artifacts, manifest: document };
    RemoteEnding::Completed { result, cost_micros: cost.get() }
}

/// What results cost. Where no price is configured any more, what was told.
pub(super) fn cost(run: &Run<'_>, lease: &AccountLease, call: &NewCall, finished: &Finished, made: usize) -> Micros {
    let price = price_of(&lease.settings.entry.prices, &priced_names(lease.settings.provider(), &call.model), run.checked.tier);
    if price.is_none() {
        return call.estimated;
    }
    let made = u32::try_from(made).unwrap_or(u32::MAX);
    settle(price, &billed(&run.work.request, run.checked), &finished.usage, made)
}

/// Somebody asked to stop while results were fetched. They are paid for.
async fn interrupted(run: &Run<'_>, lease: &AccountLease, call: &NewCall, finished: &Finished) -> RemoteEnding {
    if !run.work.stop.is_cancelled() {
        return RemoteEnding::Left;
    }
    let cost = cost(run, lease, call, finished, finished.results.len());
    run.end(call, CallState::Cancelled, cost, None).await;
    RemoteEnding::Cancelled { cost_micros: cost.get() }
}

/// The results are made and paid for, and are not here.
async fn failed(run: &Run<'_>, lease: &AccountLease, call: &NewCall, finished: &Finished, error: &DownloadError) -> RemoteEnding {
    let (work, provider) = (run.work, &run.work.request.provider);
    tracing::error!(job.id = %work.job.id, provider = %provider, call = %call.id, "Job {}: {error}", work.job.id);
    // What failed after all, though its state said otherwise, is the provider's failure.
    let (failure, cost, code) = match error {
        DownloadError::Provider(failure)
            if matches!(failure.class, FailureClass::TaskFailed | FailureClass::Moderation | FailureClass::InvalidRequest) =>
        {
            let cost = if lease.settings.entry.bills_failures { call.estimated } else { Micros::ZERO };
            (failure.clone(), cost, super::failures::error_code(failure.class))
        }
        error => {
            let failure = ProviderFailure::new(FailureClass::Upstream, "result_lost", &error.to_string());
            let code =
                if matches!(error, DownloadError::Storage(_)) { ErrorCode::StorageFailed } else { ErrorCode::ProviderFailed };
            (failure, cost(run, lease, call, finished, finished.results.len()), code)
        }
    };
    run.end(call, CallState::Failed, cost, Some(&failure)).await;
    let error = JobError { code, message: format!("{provider}: {error}") };
    RemoteEnding::Failed { error, cost_micros: cost.get() }
}
