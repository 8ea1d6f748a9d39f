//! A provider's task, looked after until it has ended.

use std::time::{Duration, Instant};

use super::delivery::deliver;
use super::failures::{call_outcome, job_error};
use super::run::Run;
use super::sending::{Letter, Purpose, send};
use super::station::AccountLease;
use crate::domain::{ErrorCode, JobError, Micros, WireCall};
use crate::execution::RemoteEnding;
use crate::ledger::{CallState, NewCall};
use crate::providers::capabilities::Following;
use crate::providers::{
    Cancellation, FailureClass, Finished, Known, Polled, ProviderFailure, RemoteTask, Underway, WireRequest, WireResponse,
};

/// Looks in a row that fail for good before the task is given up.
const MOST_REFUSED_LOOKS: u32 = 3;
/// The most that a pause differs from what it should be, so that tasks that were made together are not looked after together: an eighth.
const JITTER_SHARE: u32 = 8;

/// How long a model takes of which nothing is known, milliseconds.
const USUAL_MS: u64 = 120_000;

/// What a look at a task gave.
pub(super) enum Look {
    /// An answer.
    Answered(Polled),
    /// None, and another look may have one.
    Again(ProviderFailure),
    /// None, and no other look will have one.
    Refused(ProviderFailure),
}

/// Follows a task until it has ended, or somebody asks to stop. `at_once`: it was made a while ago.
pub(super) async fn follow(
    run: &Run<'_>,
    lease: &AccountLease,
    call: &NewCall,
    task: &RemoteTask,
    state: Underway,
    at_once: bool,
) -> RemoteEnding {
    let (inner, work) = (run.inner, run.work);
    let following = lease.following(&call.model);
    let deadline = Run::deadline(call, following.deadline_seconds);
    let follower = inner.follower(&work.request.provider, &task.id);
    let mut known = Known { state, polls: 0 };
    // A provider that says less than before, or less than was guessed, takes nothing back.
    let (mut told_percent, mut most_percent) = (None, 0);
    let (mut pause_ms, mut refused_looks, mut has_told_word) =
        (if at_once { 0 } else { pause(following, known.polls) }, 0, false);
    let mut last_failure: Option<ProviderFailure> = None;
    loop {
        most_percent = most_percent.max(how_far(run, call, known.state, told_percent));
        (work.progress)(most_percent);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause_ms.into())) => {}
            () = follower.called() => {}
            () = work.stop.cancelled() => return cancel(run, lease, call, task, known).await,
            () = work.leave.cancelled() => return RemoteEnding::Left,
        }
        let look = look(run, lease, task, known).await;
        pause_ms = pause(following, known.polls);
        match look {
            Look::Answered(Polled::Underway { state, unknown_word, progress_percent }) => {
                told_percent = progress_percent.map(u32::from).or(told_percent);
                if let Some(word) = unknown_word.filter(|_| !std::mem::replace(&mut has_told_word, true)) {
                    tracing::warn!(job.id = %work.job.id, provider = %work.request.provider, word, "{} says '{word}' of a task", work.request.provider);
                }
                known = Known { state, polls: known.polls.saturating_add(1) };
                (refused_looks, last_failure) = (0, None);
            }
            Look::Answered(Polled::Finished(finished)) => {
                let ms = inner.now().0.saturating_sub(call.created.0);
                run.station.took(&call.model, u64::try_from(ms).unwrap_or(0));
                return deliver(run, lease, call, Some(task), finished).await;
            }
            Look::Answered(Polled::Failed(failure)) => return failed(run, lease, call, &failure).await,
            Look::Answered(Polled::Cancelled { is_billed }) => return cancelled_elsewhere(run, call, is_billed).await,
            Look::Again(failure) => {
                let asked_ms = failure.retry_after_seconds.unwrap_or(0).saturating_mul(1000);
                pause_ms = pause_ms.max(asked_ms);
                // The first in a row that nobody could read may be for want of a right declaration.
                if failure.is_unreadable() && last_failure.is_none() {
                    tracing::warn!(job.id = %work.job.id, provider = %work.request.provider, "Job {}: a look at its task: {failure}", work.job.id);
                } else {
                    tracing::debug!(job.id = %work.job.id, provider = %work.request.provider, "A look at a task failed: {failure}");
                }
                last_failure = Some(failure);
            }
            Look::Refused(failure) => {
                refused_looks += 1;
                tracing::warn!(
                    job.id = %work.job.id, provider = %work.request.provider, code = failure.code, message = failure.message,
                    "Job {}: {} does not say how far its task is: {failure}", work.job.id, work.request.provider
                );
                if refused_looks >= MOST_REFUSED_LOOKS {
                    return given_up(run, call, &failure).await;
                }
            }
        }
        if inner.now() >= deadline {
            return overdue(run, call, following.deadline_seconds, last_failure.as_ref()).await;
        }
    }
}

/// Looks at a task once.
pub(super) async fn look(run: &Run<'_>, lease: &AccountLease, task: &RemoteTask, known: Known) -> Look {
    let provider = lease.provider();
    let wire = match provider.poll(task, run.inner.now()) {
        Ok(wire) => wire,
        Err(failure) => return Look::Refused(failure),
    };
    let answered = ask(run, lease, WireCall::Poll, &wire, |answer| provider.read_polled(task, known, answer)).await;
    if !matches!(answered, Ok(Polled::Finished(_))) {
        // Others need not wait while this one pauses.
        run.keep_place(None);
    }
    match answered {
        Ok(Polled::Failed(failure)) => Look::Answered(Polled::Failed(lease.without_secrets(failure))),
        Ok(polled) => Look::Answered(polled),
        Err(failure) if failure.class.may_read_again() => Look::Again(failure),
        Err(failure) => Look::Refused(failure),
    }
}

/// Sends a call that makes nothing, and reads its answer.
pub(super) async fn ask<T>(
    run: &Run<'_>,
    lease: &AccountLease,
    call: WireCall,
    wire: &WireRequest,
    read: impl FnOnce(&WireResponse<'_>) -> Result<T, ProviderFailure>,
) -> Result<T, ProviderFailure> {
    let begun = Instant::now();
    let answered = send(&run.inner.parts.exchange, Letter::of(wire), Purpose::Read, run.next_answer_place()).await;
    let answered = answered.and_then(|(response, place)| {
        run.keep_place(place);
        read(&response.wire())
    });
    run.called(call, call_outcome(&answered), begun.elapsed());
    answered.map_err(|failure| lease.without_secrets(failure))
}

/// Results again, with fresh links; none where the task does not give them any more.
pub(super) async fn results_again(run: &Run<'_>, lease: &AccountLease, task: &RemoteTask) -> Option<Finished> {
    match look(run, lease, task, Known { state: Underway::Running, polls: u32::MAX }).await {
        Look::Answered(Polled::Finished(finished)) => Some(finished),
        _ => None,
    }
}

/// The pause before the next look, milliseconds.
fn pause(following: Following, polls: u32) -> u32 {
    let usual = following.pause_ms(polls);
    let span = usual / JITTER_SHARE;
    usual - span / 2 + chance(span)
}

/// A number from nothing to `span`. Where the system has no chance to give, there is none.
fn chance(span: u32) -> u32 {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        return span / 2;
    }
    ((u64::from(u32::from_le_bytes(bytes)) * (u64::from(span) + 1)) >> 32) as u32
}

/// How far a task is, percent: as the provider says, else by how long the model took lately.
fn how_far(run: &Run<'_>, call: &NewCall, state: Underway, told_percent: Option<u32>) -> u32 {
    if let Some(percent) = told_percent {
        return percent.min(99);
    }
    let usual_ms = run.station.usual_ms(&call.model).unwrap_or(USUAL_MS).max(1);
    let passed_ms = u64::try_from(run.inner.now().0.saturating_sub(call.created.0)).unwrap_or(0);
    percent(state, passed_ms, usual_ms)
}

/// Percent of a task that takes `usual_ms` as a rule: never all.
fn percent(state: Underway, passed_ms: u64, usual_ms: u64) -> u32 {
    match state {
        Underway::Queued => 5,
        // Half of what is left in the usual time, and ever slower.
        Underway::Running => {
            let share = u128::from(passed_ms) * 85 / (u128::from(passed_ms) + u128::from(usual_ms.max(1)) / 2).max(1);
            10 + u32::try_from(share).unwrap_or(85).min(85)
        }
    }
}

/// The task failed.
async fn failed(run: &Run<'_>, lease: &AccountLease, call: &NewCall, failure: &ProviderFailure) -> RemoteEnding {
    run.station.suffer(&lease.account.key, &call.model, failure, run.inner.now());
    let cost = if lease.settings.entry.bills_failures { call.estimated } else { Micros::ZERO };
    run.end(call, CallState::Failed, cost, Some(failure)).await;
    let error = job_error(&run.work.request.provider, failure);
    // What an account could not do, another's may; what the provider could not, is its answer.
    RemoteEnding::Failed { error, cost_micros: cost.get() }
}

/// Somebody cancelled the task at the provider.
async fn cancelled_elsewhere(run: &Run<'_>, call: &NewCall, is_billed: bool) -> RemoteEnding {
    let cost = if is_billed { call.estimated } else { Micros::ZERO };
    if run.work.stop.is_cancelled() {
        run.end(call, CallState::Cancelled, cost, None).await;
        return RemoteEnding::Cancelled { cost_micros: cost.get() };
    }
    let failure = ProviderFailure::new(FailureClass::TaskFailed, "cancelled", "the task was cancelled at the provider");
    run.end(call, CallState::Failed, cost, Some(&failure)).await;
    let error = job_error(&run.work.request.provider, &failure);
    RemoteEnding::Failed { error, cost_micros: cost.get() }
}

/// The task took too long. It may go on, and be billed.
async fn overdue(run: &Run<'_>, call: &NewCall, deadline_seconds: u32, last: Option<&ProviderFailure>) -> RemoteEnding {
    let provider = &run.work.request.provider;
    let last = last.map_or_else(String::new, |failure| format!("; the last look at it: {failure}"));
    let message =
        format!("{provider}: the task did not end within {deadline_seconds} s; it may go on there, and be billed{last}");
    let failure = ProviderFailure::new(FailureClass::OutcomeUnknown, "timed_out", &message);
    run.end(call, CallState::Unknown, call.estimated, Some(&failure)).await;
    let error = JobError { code: ErrorCode::TimedOut, message };
    RemoteEnding::Failed { error, cost_micros: call.estimated.get() }
}

/// The provider does not say any more how far the task is.
async fn given_up(run: &Run<'_>, call: &NewCall, failure: &ProviderFailure) -> RemoteEnding {
    run.end(call, CallState::Unknown, call.estimated, Some(failure)).await;
    let message = format!("{}: {failure}; the task may go on there, and be billed", run.work.request.provider);
    let error = JobError { code: ErrorCode::ProviderFailed, message };
    RemoteEnding::Failed { error, cost_micros: call.estimated.get() }
}

/// Cancels a task, where the provider does that. What runs already is billed.
async fn cancel(run: &Run<'_>, lease: &AccountLease, call: &NewCall, task: &RemoteTask, known: Known) -> RemoteEnding {
    let cost = cancelled(run, lease, call, task, known).await.unwrap_or(call.estimated);
    run.end(call, CallState::Cancelled, cost, None).await;
    RemoteEnding::Cancelled { cost_micros: cost.get() }
}

/// Cancels a task, where the provider does that, and gives what it costs all the same. Fails where the provider does not say.
pub(super) async fn cancelled(
    run: &Run<'_>,
    lease: &AccountLease,
    call: &NewCall,
    task: &RemoteTask,
    known: Known,
) -> Result<Micros, ProviderFailure> {
    let provider = lease.provider();
    let Some(wire) = provider.cancel(task, known, run.inner.now()) else { return Ok(call.estimated) };
    match ask(run, lease, WireCall::Cancel, &wire, |answer| provider.read_cancelled(task, known, answer)).await {
        Ok(Cancellation::Cancelled) => Ok(Micros::ZERO),
        Ok(Cancellation::TooLate | Cancellation::Removed) => Ok(call.estimated),
        Err(failure) => {
            tracing::warn!(
                job.id = %run.work.job.id, provider = %run.work.request.provider, code = failure.code,
                "Job {}: the task at {} could not be cancelled: {failure}", run.work.job.id, run.work.request.provider
            );
            Err(failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_grows_and_never_says_that_all_is_done() {
        assert_eq!(percent(Underway::Queued, 1_000_000, 1), 5);
        let told: Vec<u32> =
            [0, 10, 60, 120, 600, 1_000_000].map(|seconds| percent(Underway::Running, seconds * 1000, 120_000)).into();
        assert!(told.is_sorted() && told[0] == 10 && told.iter().all(|percent| *percent <= 95), "{told:?}");
        assert_eq!(percent(Underway::Running, u64::MAX, 1), 95);
    }

    #[test]
    fn pauses_differ_by_an_eighth_at_most() {
        let following = Following {
            first_pause_ms: 10_000,
            most_pause_ms: 15_000,
            deadline_seconds: 1200,
            link_seconds: 3600,
            cancels_queued: false,
            knows_our_id: false,
        };
        for _ in 0..200 {
            assert!((9375..=10_625).contains(&pause(following, 0)));
        }
        assert_eq!(pause(Following { first_pause_ms: 1, most_pause_ms: 1, ..following }, 9), 1);
    }
}
