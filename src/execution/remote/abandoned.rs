//! Calls that nobody follows any more: their task was cancelled while it waited to be taken up again, or ended without them. They are
//! cancelled at the provider, as far as it does that, and settled: what may be billed is billed. Results that nobody wants are not fetched.

use std::time::Duration;

use super::answer;
use super::delivery::cost;
use super::executor::Inner;
use super::failures::{call_ending, class_of_word};
use super::follow::{Look, cancelled, look};
use super::run::Run;
use super::sending::CREATE_TIME;
use super::station::AccountLease;
use crate::domain::{Micros, UnixMs};
use crate::execution::{AbandonedCall, RemoteWork};
use crate::ledger::{AbandonedFilter, CallEnding, CallState, LedgerError, ProviderCall};
use crate::providers::{FailureClass, Finished, Known, Polled, ProviderFailure, Underway};

/// Calls that are taken in one turn.
const TAKEN_TOGETHER: u32 = 16;
/// How long they are nobody else's: as long as a look and a cancellation may take, twice.
const TAKEN_FOR: Duration = Duration::from_mins(5);
/// How old a call is that nobody answered any more: creates of three tries, and a while for their answers to be written down.
const UNANSWERED_AFTER: Duration = Duration::from_secs(3 * CREATE_TIME.as_secs() + 60);
/// How long a call waits for a server that knows its provider, or for its key to come back.
const STRANGE_AFTER: Duration = Duration::from_hours(24);

fn before(now: UnixMs, age: Duration) -> UnixMs {
    UnixMs(now.0.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
}

/// Takes some of them.
pub(super) async fn take(inner: &Inner) -> Result<Vec<AbandonedCall>, LedgerError> {
    let now = inner.now();
    let wanted = AbandonedFilter {
        providers: inner.provider_ids(),
        or_begun_before: before(now, STRANGE_AFTER),
        unanswered_before: before(now, UNANSWERED_AFTER),
        now,
    };
    let until = UnixMs(now.0.saturating_add(TAKEN_FOR.as_millis() as i64));
    let taken = inner.parts.ledger.take_abandoned(&wanted, until, TAKEN_TOGETHER).await?;
    Ok(taken.into_iter().map(|call| AbandonedCall { task: call.call.task, job: call.call.job, call }).collect())
}

/// Tells that a call is settled.
pub(super) fn settled(inner: &Inner, abandoned: &AbandonedCall, ending: &CallEnding) {
    let call = &abandoned.call.call;
    let class = ending.failure.as_ref().and_then(|(word, _)| class_of_word(word));
    inner.ended(call, ending.state, ending.settled, class);
    tracing::info!(
        job.id = %call.job, provider = %call.provider, call = %call.id, cost = %ending.settled, state = ending.state.as_str(),
        "Job {}: its call to {}, which nobody follows any more, is settled", call.job, call.provider
    );
}

/// Sees to one, and says how it ends; nothing where another look may tell.
pub(super) async fn wind_up(inner: &Inner, call: &ProviderCall, work: Option<&RemoteWork>) -> Option<CallEnding> {
    let unknown = |why: &str| Some(ending(call, CallState::Unknown, call.call.estimated, Some(&lost(why))));
    let Some(work) = work else { return unknown("nothing is left of the job that it was for") };
    if call.remote_id.is_none() && call.answer.is_none() {
        return unknown("the job ended before the provider's answer was kept");
    }
    let station = inner.station(&call.call.provider);
    let Some((run, lease)) =
        station.and_then(|station| station.hold(&call.call.key).map(|lease| (Run::of(inner, work, station), lease)))
    else {
        let is_old = call.call.created < before(inner.now(), STRANGE_AFTER);
        return if is_old { unknown("the key that it was made with is not configured any more") } else { None };
    };
    let Some(remote_id) = &call.remote_id else { return made_at_once(&run, &lease, call).await };
    let following = lease.following(&call.call.model);
    let is_overdue = inner.now() >= Run::deadline(&call.call, following.deadline_seconds);
    let task = run.task(remote_id.clone());
    let bills_failures = lease.settings.entry.bills_failures;
    match look(&run, &lease, &task, Known { state: Underway::Queued, polls: 0 }).await {
        Look::Answered(Polled::Finished(finished)) => {
            let cost = cost(&run, &lease, &call.call, &finished, finished.results.len());
            Some(ending(call, CallState::Cancelled, cost, None))
        }
        Look::Answered(Polled::Failed(failure)) => {
            let cost = if bills_failures { call.call.estimated } else { Micros::ZERO };
            Some(ending(call, CallState::Failed, cost, Some(&failure)))
        }
        Look::Answered(Polled::Cancelled { is_billed }) => {
            let cost = if is_billed { call.call.estimated } else { Micros::ZERO };
            Some(ending(call, CallState::Cancelled, cost, None))
        }
        Look::Answered(Polled::Underway { state, .. }) => {
            match cancelled(&run, &lease, &call.call, &task, Known { state, polls: 1 }).await {
                Err(failure) if failure.class.may_read_again() && !is_overdue => None,
                cancelled => {
                    let cost = cancelled.unwrap_or(call.call.estimated);
                    Some(ending(call, CallState::Cancelled, cost, None))
                }
            }
        }
        // A key that is being changed is turned away too, and a task may be known again in a while.
        Look::Again(_) | Look::Refused(_) if !is_overdue => None,
        Look::Again(failure) | Look::Refused(failure) => {
            // It may run on, and be billed. What cannot be looked at may be cancelled all the same.
            let running = Known { state: Underway::Running, polls: 1 };
            let _ = cancelled(&run, &lease, &call.call, &task, running).await;
            Some(ending(call, CallState::Unknown, call.call.estimated, Some(&failure)))
        }
    }
}

/// How a call ends whose results came with the answer.
async fn made_at_once(run: &Run<'_>, lease: &AccountLease, call: &ProviderCall) -> Option<CallEnding> {
    let answer = call.answer.as_ref()?;
    let finished = answer::read(&run.inner.parts.storage, answer, false).await;
    let billed = |finished: Finished| cost(run, lease, &call.call, &finished, finished.results.len());
    Some(ending(call, CallState::Cancelled, finished.map_or(call.call.estimated, billed), None))
}

fn lost(why: &str) -> ProviderFailure {
    ProviderFailure::new(FailureClass::OutcomeUnknown, "", why)
}

fn ending(call: &ProviderCall, state: CallState, settled: Micros, failure: Option<&ProviderFailure>) -> CallEnding {
    call_ending(&call.call.provider, state, settled, failure)
}
