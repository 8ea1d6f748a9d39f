//! A task from its beginning, or from where an earlier attempt left it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;

use super::answer;
use super::body_budget::BodyShare;
use super::create::{CREATE_PAUSE_MS, Sent, Unsendable};
use super::executor::Inner;
use super::failures::{class_of_word, class_word, error_code, job_error};
use super::follow::follow;
use super::generation::{self, Checked};
use super::large_answers::AnswerPlace;
use super::offer;
use super::patience::{Patience, is_short};
use super::station::{AccountLease, Admission, Station, Trial};
use crate::domain::{AccountKeyId, CallId, ErrorCode, JobError, Micros, UnixMs};
use crate::execution::{RemoteEnding, RemoteWork};
use crate::ledger::{CallEnding, CallState, LedgerError, NewCall, ProviderCall};
use crate::providers::{self, FailureClass, Finished, ProviderFailure, RemoteTask, SameKey, Underway};

/// Creates of one attempt at most, over all keys.
const MOST_CREATES: u32 = 8;
/// How long nothing is looked at while something is waited for.
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// A run of a task.
pub(super) struct Run<'a> {
    pub(super) inner: &'a Inner,
    pub(super) work: &'a RemoteWork,
    pub(super) station: Arc<Station>,
    /// What is known of the request from its model's tables.
    pub(super) checked: Checked,
    /// That of the last answer, where it was large.
    answer_place: Mutex<Option<AnswerPlace>>,
}

/// Runs a task to its end. What this attempt stored is removed again where it was not completed; what came with an answer is the
/// task's, and stays until its end is written down.
pub(super) async fn run(inner: &Inner, work: &RemoteWork) -> RemoteEnding {
    let ending = run_to_end(inner, work).await;
    if !matches!(ending, RemoteEnding::Completed { .. }) {
        work.attempt.delete_files(&inner.parts.storage).await;
    }
    ending
}

async fn run_to_end(inner: &Inner, work: &RemoteWork) -> RemoteEnding {
    let Some(station) = inner.station(&work.request.provider) else { return without_provider(inner, work).await };
    let run = Run::of(inner, work, station);
    let last = match run.with_ledger(|| inner.parts.ledger.last_of_task(work.task, &work.request.provider)).await {
        Ok(last) => last,
        Err(error) => return run.without_ledger(&error),
    };
    match last {
        None => run.make().await,
        Some(call) => run.take_up(&call).await,
    }
}

impl<'a> Run<'a> {
    /// A run that has not begun.
    pub(super) fn of(inner: &'a Inner, work: &'a RemoteWork, station: Arc<Station>) -> Self {
        let model = {
            let settings = station.settings();
            let tables = settings.provider().and_then(|provider| providers::model(provider, &work.request.provider_model));
            tables.map(|model| generation::check(model, &work.request))
        };
        let unknown = Checked { tier: None, expected_seconds: work.request.seconds, frame: work.request.frame };
        let checked = model.and_then(Result::ok).unwrap_or(unknown);
        Self { inner, work, station, checked, answer_place: Mutex::default() }
    }

    /// Waits for a place for the next large answer. What came with the one before is done with.
    pub(super) fn next_answer_place(&self) -> impl Future<Output = AnswerPlace> + use<> {
        self.answer_place.lock().take();
        self.inner.large_answers.take(&self.station.id)
    }

    /// Keeps the place of an answer as long as what came with it may be there.
    pub(super) fn keep_place(&self, place: Option<AnswerPlace>) {
        *self.answer_place.lock() = place;
    }

    /// Goes on where an earlier attempt was.
    async fn take_up(&self, call: &ProviderCall) -> RemoteEnding {
        // Taken where it is needed: whoever holds it takes a place.
        let lease = || self.station.hold(&call.call.key);
        match (call.state, call.remote_id.clone()) {
            (CallState::Running | CallState::Finished, Some(id)) => {
                let Some(lease) = lease() else {
                    return self.lost(call, "the key that the task was made with is not configured any more").await;
                };
                let task = self.task(id);
                follow(self, &lease, &call.call, &task, Underway::Queued, true).await
            }
            (CallState::Sending, _) => match lease() {
                Some(lease) if lease.following(&call.call.model).knows_our_id => self.repeat(&lease, &call.call).await,
                _ => self.lost(call, "the server ended before the provider answered").await,
            },
            (CallState::Running | CallState::Finished, None) => self.deliver_kept(call).await,
            (CallState::Cancelled, _) => RemoteEnding::Cancelled { cost_micros: call.cost().get() },
            (CallState::Unknown, _) => self.lost(call, "").await,
            (CallState::Failed, _) => {
                let (word, message) = call.failure.clone().unwrap_or_default();
                let class = class_of_word(&word).unwrap_or(FailureClass::Upstream);
                // One that was turned away at the door may be sent again; what was made and failed may not.
                if call.remote_id.is_none() && (class.action().other_key || class.may_create_again(false)) {
                    return self.make().await;
                }
                let error = JobError { code: error_code(class), message };
                RemoteEnding::Failed { error, cost_micros: call.cost().get() }
            }
        }
    }

    /// Fetches what came with the answer to a create, which is not sent again.
    async fn deliver_kept(&self, call: &ProviderCall) -> RemoteEnding {
        let Some(answer) = &call.answer else {
            return self.lost(call, "the server ended before the result was kept").await;
        };
        let Some(lease) = self.station.hold(&call.call.key) else {
            return self.lost(call, "the key that the result was made with is not configured any more").await;
        };
        let place = tokio::select! {
            place = self.next_answer_place() => place,
            () = self.work.leave.cancelled() => return RemoteEnding::Left,
        };
        self.keep_place(Some(place));
        match answer::read(&self.inner.parts.storage, answer, true).await {
            Ok(finished) => super::delivery::deliver(self, &lease, &call.call, None, finished).await,
            Err(error) => self.lost(call, &error.to_string()).await,
        }
    }

    /// Keeps what came with the answer to a create, before it is fetched. What cannot be kept is fetched all the same: only a restart would
    /// not know of it.
    async fn keep_answer(&self, call: &NewCall, finished: &Finished) {
        let (parts, most) = (&self.inner.parts, self.work.request.count.max(1) as usize);
        let job = self.work.job.id;
        let warn = |error: &(dyn std::error::Error + 'static)| {
            tracing::error!(job.id = %job, call = %call.id, error, "Job {job}: the provider's answer could not be kept: {error}");
        };
        match answer::keep(&parts.storage, &self.work.attempt, finished, most).await {
            Ok(answer) => {
                if let Err(error) = self.with_ledger(|| parts.ledger.answered(call.id, &answer, self.inner.now())).await {
                    warn(&error);
                }
            }
            Err(error) => warn(&error),
        }
    }

    /// A create of which nobody knows what became.
    async fn lost(&self, call: &ProviderCall, why: &str) -> RemoteEnding {
        let failure = ProviderFailure::new(FailureClass::OutcomeUnknown, "", why);
        let cost = call.cost();
        if !call.state.is_ended() {
            tracing::warn!(job.id = %self.work.job.id, call = %call.call.id, "Job {}: {}: {why}", self.work.job.id, self.work.request.provider);
            self.end(&call.call, CallState::Unknown, cost, Some(&failure)).await;
        }
        let error = job_error(&self.work.request.provider, &failure);
        RemoteEnding::Failed { error, cost_micros: cost.get() }
    }

    /// Sends a create again that the provider knows by our id.
    async fn repeat(&self, lease: &AccountLease, call: &NewCall) -> RemoteEnding {
        let request = async {
            let share = self.body_share(self.body_bytes().await).await;
            self.request(lease, share).await
        };
        let request = tokio::select! {
            request = request => request,
            () = self.work.leave.cancelled() => return RemoteEnding::Left,
        };
        let Ok(request) = request else {
            let failure = ProviderFailure::new(FailureClass::OutcomeUnknown, "", "a file of the request cannot be read again");
            return self.failed_create(call, &failure).await;
        };
        let created = self.create(lease, call, &request, true).await;
        drop(request);
        match created {
            Ok(sent) => self.sent(lease, call, sent).await,
            Err(unsendable) => self.unsendable(Some(call.id), unsendable).await,
        }
    }

    /// Sends the request with one key after the other, as failures allow, and sees to what comes of it.
    async fn make(&self) -> RemoteEnding {
        let (mut tried, mut last): (Vec<AccountKeyId>, Option<ProviderFailure>) = (Vec::new(), None);
        let (mut creates, mut same_key_tries) = (0, 0);
        let (begun, bytes) = (self.inner.now(), self.body_bytes().await);
        let mut kept_share: Option<BodyShare> = None;
        loop {
            if self.work.stop.is_cancelled() {
                return RemoteEnding::Cancelled { cost_micros: 0 };
            }
            if self.work.leave.is_cancelled() {
                return RemoteEnding::Left;
            }
            let now = self.inner.now();
            let since = if last.is_some() { begun } else { self.work.waiting_since };
            let patience = self.station.patience(now, since, self.work.has_next_target);
            let changed = self.inner.room_changed();
            let (lease, trial) = match self.station.admit(&self.work.request.provider_model, now, &tried) {
                Admission::Yes(lease, trial) if creates < MOST_CREATES => (lease, trial),
                // What has failed is another target's chance, and a long rest is not waited for.
                Admission::Later(until)
                    if patience.waits(now, until) && (last.is_none() || (!patience.has_next_target && is_short(now, until))) =>
                {
                    kept_share = None;
                    self.pause(changed, until.map(|until| until.0 - now.0)).await;
                    continue;
                }
                Admission::Later(_) if last.is_none() => return self.waited_in_vain(patience, now),
                Admission::Yes(..) | Admission::Later(_) | Admission::Never => return self.given_up(last.as_ref()),
            };
            let Some(share) = kept_share.take().or_else(|| self.body_share(bytes).now_or_never()) else {
                // Others may have the place, and the only trial, while this one waits for memory.
                drop((trial, lease));
                kept_share = self.wait_for_memory(bytes, patience).await;
                if kept_share.is_none() && !self.is_told_to_stop() {
                    return self.without_memory(last.as_ref());
                }
                continue;
            };
            let request = tokio::select! {
                request = self.request(&lease, share) => request,
                () = self.told_to_stop() => continue,
            };
            let request = match request {
                Ok(request) => request,
                Err(unsendable) => return self.unsendable(None, unsendable).await,
            };
            creates += 1;
            let call = self.new_call(&lease);
            match self.with_ledger(|| self.inner.parts.ledger.begin(&call, self.work.hold.as_ref())).await {
                Ok(true) => {}
                Ok(false) => return self.somebody_elses(),
                Err(error) => return self.without_ledger(&error),
            }
            // Writing it down may have taken a while.
            if self.is_told_to_stop() {
                let failure = ProviderFailure::not_sent("it was stopped before it was sent");
                self.end_untaken(call.id, &failure).await;
                continue;
            }
            let created = self.create(&lease, &call, &request, false).await;
            drop(request);
            let failure = match created {
                Err(unsendable) => return self.unsendable(Some(call.id), unsendable).await,
                Ok(Sent::Failed(failure)) => failure,
                Ok(sent) => {
                    trial.succeeded();
                    return self.sent(&lease, &call, sent).await;
                }
            };
            if self.is_final(&call, &lease, trial, &failure) {
                return self.failed_create(&call, &failure).await;
            }
            self.end_untaken(call.id, &failure).await;
            let key = lease.account.key.clone();
            drop(lease);
            match failure.class.action().same_key {
                SameKey::AtMost(most) if same_key_tries < most => {
                    same_key_tries += 1;
                    self.rest(Duration::from_millis(CREATE_PAUSE_MS << same_key_tries.min(8))).await;
                }
                SameKey::AfterPause => {}
                SameKey::AtMost(_) | SameKey::No => {
                    same_key_tries = 0;
                    tried.push(key);
                }
            }
            last = Some(failure);
        }
    }

    /// Tells key and breaker of a failed create; whether there is nothing left to try.
    fn is_final(&self, call: &NewCall, lease: &AccountLease, trial: Trial, failure: &ProviderFailure) -> bool {
        let now = self.inner.now();
        if trial.failed(failure.class, now) {
            self.inner.parts.observer.provider_left_alone(&self.station.id);
        }
        self.station.suffer(&lease.account.key, &call.model, failure, now);
        tracing::warn!(
            job.id = %self.work.job.id, provider = %self.work.request.provider, key = %lease.account.key, call = %call.id,
            class = class_word(failure.class), code = failure.code, message = failure.message,
            "Job {}: {} did not take the request: {failure}", self.work.job.id, self.work.request.provider
        );
        let action = failure.class.action();
        action.same_key == SameKey::No && !action.other_key
    }

    /// Ends a call that gave nothing, and the task with it.
    async fn failed_create(&self, call: &NewCall, failure: &ProviderFailure) -> RemoteEnding {
        let is_unknown = matches!(failure.class, FailureClass::OutcomeUnknown | FailureClass::Duplicate);
        let cost = if is_unknown { call.estimated } else { Micros::ZERO };
        if is_unknown {
            self.end(call, CallState::Unknown, cost, Some(failure)).await;
        } else {
            self.end_untaken(call.id, failure).await;
        }
        let error = job_error(&self.work.request.provider, failure);
        RemoteEnding::Failed { error, cost_micros: cost.get() }
    }

    /// Sees to what a create gave.
    async fn sent(&self, lease: &AccountLease, call: &NewCall, sent: Sent) -> RemoteEnding {
        match sent {
            Sent::Taken(task, state) => {
                let ledger = &self.inner.parts.ledger;
                if let Err(error) = self.with_ledger(|| ledger.taken(call.id, &task.id, self.inner.now())).await {
                    // Followed all the same: it is paid for. Only a restart would not know of it.
                    tracing::error!(
                        job.id = %self.work.job.id, call = %call.id, error = &error as &dyn std::error::Error,
                        "Job {}: the ledger does not know yet that {} has taken the request: {error}",
                        self.work.job.id, self.work.request.provider
                    );
                }
                follow(self, lease, call, &task, state, false).await
            }
            Sent::Finished(finished) => {
                self.keep_answer(call, &finished).await;
                super::delivery::deliver(self, lease, call, None, finished).await
            }
            Sent::Failed(failure) => self.failed_create(call, &failure).await,
        }
    }

    fn new_call(&self, lease: &AccountLease) -> NewCall {
        let (work, id) = (self.work, CallId::generate());
        let request = &work.request;
        let estimated = match request.estimated_cost_micros {
            told if told > 0 => Micros::new(told),
            _ => {
                let settings = &lease.settings;
                offer::priced(&settings.entry, settings.provider(), &request.provider_model, request, self.checked).estimated
            }
        };
        NewCall {
            id,
            task: work.task,
            job: work.job.id,
            user: work.job.user.clone(),
            project: work.job.project.clone(),
            provider: request.provider.clone(),
            model: request.provider_model.clone(),
            key: lease.account.key.clone(),
            our_id: id.to_string(),
            estimated,
            created: self.inner.now(),
        }
    }

    /// Ends the task because the request cannot be sent as it is; with it a call that was to be.
    async fn unsendable(&self, call: Option<CallId>, unsendable: Unsendable) -> RemoteEnding {
        let (code, class, message) = match unsendable {
            Unsendable::Refused(message) => (ErrorCode::InvalidRequest, FailureClass::InvalidRequest, message),
            Unsendable::Unreadable(message) => (ErrorCode::StorageFailed, FailureClass::InvalidRequest, message),
        };
        if let Some(call) = call {
            let failure = ProviderFailure::new(class, "not_sent", &message);
            self.end_untaken(call, &failure).await;
        }
        RemoteEnding::Failed { error: JobError { code, message }, cost_micros: 0 }
    }

    /// The end of a task that no key was free for.
    fn waited_in_vain(&self, patience: Patience, now: UnixMs) -> RemoteEnding {
        if !patience.is_over(now) {
            return unavailable(self.work, "every key of this server is busy or rests");
        }
        let seconds = patience.most_ms / 1000;
        let why = if self.station.settings().entry.start_within_seconds.is_some() {
            format!("no key of this server was free within {seconds} s (start_within_seconds)")
        } else {
            format!("for {seconds} s every key of this server rested, or the provider failed")
        };
        unavailable(self.work, &why)
    }

    /// The end of a task that there was no memory for.
    fn without_memory(&self, last: Option<&ProviderFailure>) -> RemoteEnding {
        if last.is_some() {
            return self.given_up(last);
        }
        unavailable(self.work, "other requests with pictures took all memory that this server has for them; try again later")
    }

    /// The end of a task that no key could send.
    fn given_up(&self, last: Option<&ProviderFailure>) -> RemoteEnding {
        let Some(failure) = last else {
            return unavailable(self.work, "no key of this server can be used for the model at the moment");
        };
        let error = job_error(&self.work.request.provider, failure);
        RemoteEnding::Failed { error, cost_micros: 0 }
    }

    /// A provider's task, by its id.
    pub(super) fn task(&self, id: String) -> RemoteTask {
        let request = &self.work.request;
        RemoteTask { id, model: request.provider_model.clone(), kind: generation::kind_of(request) }
    }

    /// Without the ledger nothing is sent: the task waits for another attempt.
    fn without_ledger(&self, error: &LedgerError) -> RemoteEnding {
        tracing::error!(
            job.id = %self.work.job.id, error = error as &dyn std::error::Error,
            "Job {}: nothing is sent to {} as long as it cannot be written down: {error}", self.work.job.id, self.work.request.provider
        );
        RemoteEnding::Left
    }

    /// Somebody else has the task, or it has ended: whatever this server sent would be made beside what they send.
    fn somebody_elses(&self) -> RemoteEnding {
        let (job, provider) = (self.work.job.id, &self.work.request.provider);
        tracing::warn!(job.id = %job, %provider, "Job {job}: nothing is sent to {provider}: the task is not this server's any more");
        RemoteEnding::Left
    }

    /// Waits for so many milliseconds, or for room, or for somebody who asks to stop, and not for long.
    async fn pause(&self, changed: impl Future<Output = ()>, ms: Option<i64>) {
        let asked = ms.map_or(LONGEST_WAIT, |ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1)));
        tokio::select! {
            () = tokio::time::sleep(asked.min(LONGEST_WAIT)) => {}
            () = changed => {}
            () = self.work.stop.cancelled() => {}
            () = self.work.leave.cancelled() => {}
        }
    }

    /// Waits so long, or for somebody who asks to stop.
    pub(super) async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.told_to_stop() => {}
        }
    }

    fn is_told_to_stop(&self) -> bool {
        self.work.stop.is_cancelled() || self.work.leave.is_cancelled()
    }

    /// Completes when this run shall not go on, for whatever reason.
    pub(super) async fn told_to_stop(&self) {
        tokio::select! {
            () = self.work.stop.cancelled() => {}
            () = self.work.leave.cancelled() => {}
        }
    }

    /// When a call's task must have ended.
    pub(super) fn deadline(call: &NewCall, seconds: u32) -> UnixMs {
        UnixMs(call.created.0.saturating_add(i64::from(seconds) * 1000))
    }
}

/// The end of a task whose provider is not there any more. What an earlier attempt had made is not followed, and may be billed.
async fn without_provider(inner: &Inner, work: &RemoteWork) -> RemoteEnding {
    let provider = &work.request.provider;
    let call = match inner.parts.ledger.last_of_task(work.task, provider).await {
        Ok(Some(call)) if !call.state.is_ended() => call,
        Ok(_) => return unavailable(work, "it is not configured on this server"),
        Err(error) => {
            tracing::error!(job.id = %work.job.id, error = &error as &dyn std::error::Error, "Job {}: {error}", work.job.id);
            return RemoteEnding::Left;
        }
    };
    let failure = ProviderFailure::new(FailureClass::OutcomeUnknown, "", "the provider is not configured any more");
    let failed = Some((class_word(failure.class).to_owned(), failure.to_string()));
    let ending = CallEnding { state: CallState::Unknown, settled: call.cost(), failure: failed };
    if let Err(error) = inner.parts.ledger.end(call.call.id, &ending, inner.now()).await {
        tracing::error!(job.id = %work.job.id, error = &error as &dyn std::error::Error, "Job {}: {error}", work.job.id);
        return RemoteEnding::Left;
    }
    RemoteEnding::Failed { error: job_error(provider, &failure), cost_micros: call.cost().get() }
}

fn unavailable(work: &RemoteWork, why: &str) -> RemoteEnding {
    let message = format!("{}: {why}", work.request.provider);
    let error = JobError { code: ErrorCode::ProviderUnavailable, message };
    RemoteEnding::Failed { error, cost_micros: 0 }
}
