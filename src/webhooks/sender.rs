//! Sends what is due: looks, claims, posts, writes down.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::body;
use super::schedule::{self, Tried, UnderWay, Verdict};
use super::service::WebhookParts;
use super::store::{Backlog, Delivery, DeliveryState, Settlement, WebhookStoreError};
use crate::domain::{CallbackOutcome, UnixMs, UserId};
use crate::jobs::store::StoreError;
use crate::net::retry::Failure;
use crate::net::webhook_signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::net::{FetchError, HeaderMap, HeaderName, HeaderValue, Limits};

/// What a receiver has for its answer, of which only the status counts.
const LIMITS: Limits = Limits { max_bytes: 16 << 10, total: Duration::from_secs(15), idle: Duration::from_secs(10) };
/// How often it is looked for what is due.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A claimed delivery of which nothing more was heard is due again after this time: longer than one may take.
const CLAIM_MS: i64 = 2 * 60 * 1000;
/// Characters of an error that are kept.
const MAX_ERROR_CHARACTERS: usize = 500;

/// What the service and the sender have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) parts: WebhookParts,
    /// Somebody knows of something that may be due.
    pub(super) wake: Notify,
    /// Nothing new is sent.
    pub(super) stop: CancellationToken,
    /// What is under way is given up.
    pub(super) cut_off: CancellationToken,
    /// The sender, the count of what is pending, and each delivery that is under way.
    pub(super) tasks: TaskTracker,
    /// The deliveries that are under way.
    under_way: Mutex<UnderWay>,
    /// What was pending when it was last counted; nothing where that failed.
    pub(super) backlog: Mutex<Option<Backlog>>,
}

impl Shared {
    pub(super) fn new(parts: WebhookParts) -> Self {
        Self {
            parts,
            wake: Notify::new(),
            stop: CancellationToken::new(),
            cut_off: CancellationToken::new(),
            tasks: TaskTracker::new(),
            under_way: Mutex::default(),
            backlog: Mutex::default(),
        }
    }
}

/// The one that sends.
#[derive(Debug)]
pub(super) struct Sender {
    shared: Arc<Shared>,
}

impl Sender {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Until the server stops.
    pub(super) async fn run(self) {
        loop {
            if let Err(error) = self.send_due().await {
                let cause = &error as &dyn Error;
                tracing::warn!(error = cause, "Cannot look for callbacks that are due: {error}");
            }
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// Begins to send what is due, as far as there is room.
    async fn send_due(&self) -> Result<(), WebhookStoreError> {
        let parts = &self.shared.parts;
        let Some(bounds) = self.shared.under_way.lock().bounds() else { return Ok(()) };
        let due = parts.store.due(parts.clock.now(), &bounds).await?;
        if due.is_empty() || !parts.store.lead().await? {
            return Ok(());
        }
        let chosen = schedule::choose(due, &self.shared.under_way.lock());
        if chosen.is_empty() || self.shared.stop.is_cancelled() {
            return Ok(());
        }
        let now = parts.clock.now();
        for delivery in parts.store.claim(&chosen, now, UnixMs(now.0.saturating_add(CLAIM_MS))).await? {
            let place = Place::take(&self.shared, &delivery);
            let shared = self.shared.clone();
            self.shared.tasks.spawn(async move {
                tokio::select! {
                    () = deliver(&shared.parts, &delivery) => {}
                    () = shared.cut_off.cancelled() => {}
                }
                drop(place);
            });
        }
        Ok(())
    }
}

/// A place among those that are under way; what waited for it is looked for when it is given back.
struct Place {
    shared: Arc<Shared>,
    user: UserId,
    host: String,
}

impl Place {
    fn take(shared: &Arc<Shared>, delivery: &Delivery) -> Self {
        let (user, host) = (delivery.user.clone(), delivery.host.clone());
        shared.under_way.lock().begin(user.clone(), host.clone());
        Self { shared: shared.clone(), user, host }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.under_way.lock().end(&self.user, &self.host);
        self.shared.wake.notify_one();
    }
}

/// How a try went, for the log that the owner reads.
struct Report {
    tried: Tried,
    http_status: Option<u16>,
    error: Option<String>,
}

impl Report {
    fn refused(error: &impl ToString) -> Self {
        Self { tried: Tried::Refused, http_status: None, error: Some(error.to_string()) }
    }

    fn of_answer(status: u16, retry_after: Option<Duration>) -> Self {
        let tried = Tried::Answered { status, retry_after };
        let error = (!(200..300).contains(&status)).then(|| format!("the receiver answered {status}"));
        Self { tried, http_status: Some(status), error }
    }

    fn of_error(error: &FetchError) -> Self {
        let (tried, http_status) = match error.failure() {
            Failure::Refused => (Tried::Refused, None),
            Failure::Answered { status } => (Tried::Answered { status, retry_after: None }, Some(status)),
            Failure::NotSent | Failure::OutcomeUnknown | Failure::Unusable => (Tried::Unanswered, None),
        };
        Self { tried, http_status, error: Some(error.to_string().chars().take(MAX_ERROR_CHARACTERS).collect()) }
    }
}

/// Sends a claimed delivery, and writes down what became of it.
async fn deliver(parts: &WebhookParts, delivery: &Delivery) {
    let (id, host) = (delivery.id, &delivery.host);
    let report = match attempt(parts, delivery).await {
        Ok(report) => report,
        // Nothing was sent, and nothing is written: it becomes due again by itself.
        Err(error) => {
            tracing::warn!(delivery.id = %id, error = &error as &dyn Error, "Callback {id} cannot be made: {error}");
            return;
        }
    };
    let chance = getrandom::u32().map_or(1.0, |number| f64::from(number) / f64::from(u32::MAX));
    let now = parts.clock.now();
    let tries = u32::try_from(delivery.tries).unwrap_or(u32::MAX);
    let (state, due, outcome) = match schedule::verdict(tries, report.tried, chance) {
        Verdict::Delivered => (DeliveryState::Delivered, now, CallbackOutcome::Delivered),
        Verdict::Again(pause) => {
            let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
            (DeliveryState::Pending, UnixMs(now.0.saturating_add(pause_ms)), CallbackOutcome::Retried)
        }
        Verdict::GivenUp => (DeliveryState::Failed, now, CallbackOutcome::GivenUp),
    };
    let reason = report.error.as_deref().unwrap_or("taken");
    match state {
        DeliveryState::Failed => tracing::info!(delivery.id = %id, host, "Callback {id} is given up: {reason}"),
        DeliveryState::Pending | DeliveryState::Delivered => tracing::debug!(delivery.id = %id, host, "Callback {id}: {reason}"),
    }
    parts.observer.callback_tried(outcome);
    let Report { http_status, error, .. } = report;
    let settlement = Settlement { id, attempt: delivery.attempts, state, due, http_status, error };
    match parts.store.settle(&settlement, now).await {
        Ok(true) => {}
        Ok(false) => tracing::debug!(delivery.id = %id, "Callback {id} was sent again, or its job removed, meanwhile"),
        Err(error) => {
            let cause = &error as &dyn Error;
            tracing::warn!(delivery.id = %id, error = cause, "What became of callback {id} cannot be stored: {error}");
        }
    }
}

/// One try. An error is none of the receiver's.
async fn attempt(parts: &WebhookParts, delivery: &Delivery) -> Result<Report, StoreError> {
    let job = match parts.jobs.job(delivery.id.job).await {
        Ok(job) => job,
        // Its row has gone, and the delivery's with it.
        Err(StoreError::NotFound(id)) => return Ok(Report::refused(&StoreError::NotFound(id))),
        Err(StoreError::Corrupt(_)) => return Ok(Report::refused(&"the task cannot be read by this version of the server")),
        Err(error) => return Err(error),
    };
    // The rules may have changed since it was submitted.
    let url = match parts.egress.policy().check(&delivery.url) {
        Ok(url) => url,
        Err(refusal) => return Ok(Report::refused(&refusal)),
    };
    let now = parts.clock.now();
    let json = Bytes::from(body(delivery, &job, &*parts.outputs, parts.minimax_words, now).to_string());
    let Some(headers) = headers(parts, delivery, &json, now) else {
        return Ok(Report::refused(&"the message cannot be signed"));
    };
    let begun = Instant::now();
    let answered = parts.egress.post_json(&url, headers, json, &LIMITS).await;
    parts.observer.callback_answered(begun.elapsed().as_secs_f64());
    Ok(match answered {
        Ok(answer) => Report::of_answer(answer.status, answer.retry_after(parts.clock.now())),
        Err(error) => Report::of_error(&error),
    })
}

/// The headers of Standard Webhooks.
fn headers(parts: &WebhookParts, delivery: &Delivery, json: &[u8], now: UnixMs) -> Option<HeaderMap> {
    let (id, seconds) = (delivery.id.to_string(), now.seconds());
    let signature = parts.secrets.of(&delivery.user).ok()?.sign(&id, seconds, json).ok()?;
    let fields = [(ID_HEADER, id), (TIMESTAMP_HEADER, seconds.to_string()), (SIGNATURE_HEADER, signature)];
    fields.into_iter().map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))).collect()
}
