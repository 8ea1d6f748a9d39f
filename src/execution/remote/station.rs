//! A provider as the server uses it: its settings, its accounts, and how it has behaved lately.

use std::sync::Arc;

use parking_lot::Mutex;
use secrecy::ExposeSecret;
use tokio::sync::Notify;

use super::accounts::{self, ProviderSetupError, ReadDeclaration};
use super::breaker::{Breaker, BreakerState};
use super::keys::{KeyFacts, KeyRing, KeyState, Room};
use super::latency::Latencies;
use super::patience::{Patience, WaitRule};
use crate::domain::{AccountKey, AccountKeyId, ProviderEntry, ProviderId, Sha256Digest, UnixMs};
use crate::providers::capabilities::Following;
use crate::providers::{FailureClass, KeyConsequence, Provider, ProviderFailure};

/// How long a task may take at a provider of which nothing is known, seconds.
const USUAL_DEADLINE_SECONDS: u32 = 3600;

/// An account that can be spoken with.
pub(super) struct OpenAccount {
    /// Its key's name.
    pub(super) key: AccountKeyId,
    /// The wire.
    pub(super) provider: Arc<dyn Provider>,
}

/// What the settings say, opened. Whoever holds it goes on with it when the settings change.
pub(super) struct StationSettings {
    /// What the operator said.
    pub(super) entry: ProviderEntry,
    /// The accounts, one a key.
    pub(super) accounts: Vec<Arc<OpenAccount>>,
    /// Whether the settings still have it; if not, it is only there for the tasks that it runs.
    pub(super) is_configured: bool,
    /// How long a task may wait for its turn.
    pub(super) wait_rule: WaitRule,
}

impl StationSettings {
    /// Opens every account of a provider.
    pub(super) fn open(id: &ProviderId, entry: ProviderEntry, read: ReadDeclaration) -> Result<Self, ProviderSetupError> {
        let opened = accounts::open(&entry, read);
        let opened = opened.map_err(|source| ProviderSetupError { provider: id.clone(), source })?;
        let account = |(key, provider): (&AccountKey, _)| Arc::new(OpenAccount { key: key.id.clone(), provider });
        let accounts = entry.keys.iter().zip(opened).map(account).collect();
        let start_within_ms = entry.start_within_seconds.map(|seconds| i64::from(seconds) * 1000);
        let wait_rule = WaitRule { start_within_ms, unusable_ms: 0 };
        let mut settings = Self { entry, accounts, is_configured: true, wait_rule };
        settings.wait_rule.unusable_ms = i64::from(settings.longest_deadline_seconds()) * 1000;
        Ok(settings)
    }

    /// As long as a task may take there.
    fn longest_deadline_seconds(&self) -> u32 {
        let longest = self.provider().and_then(|provider| {
            provider.models().iter().map(|model| self.following(provider, model.name).deadline_seconds).max()
        });
        longest.unwrap_or(USUAL_DEADLINE_SECONDS)
    }

    /// The wire, to ask it what it can do; none where there is no key.
    pub(super) fn provider(&self) -> Option<&dyn Provider> {
        self.accounts.first().map(|account| &*account.provider)
    }

    /// How tasks of a model are followed.
    pub(super) fn following(&self, provider: &dyn Provider, model: &str) -> Following {
        let usual = provider.following(model);
        let first_pause_ms = self.entry.poll.first_pause_ms.unwrap_or(usual.first_pause_ms);
        let most_pause_ms = self.entry.poll.most_pause_ms.unwrap_or(usual.most_pause_ms).max(first_pause_ms);
        let deadline_seconds = self.entry.deadline_seconds.unwrap_or(usual.deadline_seconds);
        Following { first_pause_ms, most_pause_ms, deadline_seconds, ..usual }
    }

    fn facts(&self) -> Vec<KeyFacts> {
        let facts = |key: &AccountKey| KeyFacts {
            id: key.id.clone(),
            max_concurrent: key.max_concurrent,
            fingerprint: Sha256Digest::of(key.secret.expose_secret().as_bytes()),
        };
        self.entry.keys.iter().map(facts).collect()
    }
}

struct StationState {
    settings: Arc<StationSettings>,
    ring: KeyRing,
    breaker: Breaker,
    /// Whether an administrator switched it off.
    is_switched_off: bool,
    latencies: Latencies,
    /// Since when it has shown no sign that it can be used, from the first look that saw that it cannot.
    unusable_since: Option<UnixMs>,
}

impl StationState {
    /// Since when it cannot be used, if it cannot now. Busy keys can be used.
    fn unusable_since(&mut self, now: UnixMs) -> Option<UnixMs> {
        let is_unusable = !self.ring.has_ready(now) || !self.breaker.would_admit(now);
        is_unusable.then(|| *self.unusable_since.get_or_insert(now))
    }
}

/// A provider.
pub(super) struct Station {
    /// Its name.
    pub(super) id: ProviderId,
    state: Mutex<StationState>,
    /// Told when a task may have room that had none.
    room: Arc<Notify>,
}

impl std::fmt::Debug for Station {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Station({})", self.id)
    }
}

/// How a provider is.
#[derive(Clone, Debug)]
pub(super) struct StationStatus {
    pub(super) is_configured: bool,
    pub(super) breaker: BreakerState,
    pub(super) keys: Vec<KeyState>,
    pub(super) in_flight: u32,
    pub(super) latencies: Latencies,
}

/// What became of the wish to send a create.
pub(super) enum Admission {
    /// It may be sent with this account.
    Yes(AccountLease, Trial),
    /// Later: at this time at the latest, where one is given.
    Later(Option<UnixMs>),
    /// Not at all, as things are.
    Never,
}

impl Station {
    pub(super) fn new(id: ProviderId, settings: StationSettings, room: Arc<Notify>) -> Self {
        let mut ring = KeyRing::default();
        ring.replace(settings.facts());
        let (settings, breaker, latencies) = (Arc::new(settings), Breaker::default(), Latencies::default());
        let state = StationState { settings, ring, breaker, is_switched_off: false, latencies, unusable_since: None };
        Self { id, state: Mutex::new(state), room }
    }

    /// Takes new settings; what keys have suffered stays with those that are the same.
    pub(super) fn replace(&self, settings: StationSettings) {
        let mut state = self.state.lock();
        state.ring.replace(settings.facts());
        state.settings = Arc::new(settings);
        state.unusable_since = None;
    }

    pub(super) fn settings(&self) -> Arc<StationSettings> {
        self.state.lock().settings.clone()
    }

    /// Whether it is used at all.
    pub(super) fn is_used(&self) -> bool {
        let state = self.state.lock();
        state.settings.entry.is_enabled && !state.is_switched_off
    }

    pub(super) fn status(&self, now: UnixMs) -> StationStatus {
        let state = self.state.lock();
        StationStatus {
            is_configured: state.settings.is_configured,
            breaker: state.breaker.state(now),
            keys: state.ring.states().cloned().collect(),
            in_flight: state.ring.out(),
            latencies: state.latencies.clone(),
        }
    }

    /// How long a task waits for its turn, as things are now.
    pub(super) fn patience(&self, now: UnixMs, since: UnixMs, has_next_target: bool) -> Patience {
        let mut state = self.state.lock();
        let unusable_since = state.unusable_since(now);
        state.settings.wait_rule.patience(since, has_next_target, unusable_since)
    }

    /// Whether another task has room.
    pub(super) fn room(&self, now: UnixMs) -> Room {
        let state = self.state.lock();
        if !state.settings.entry.is_enabled || state.is_switched_off {
            return Room::Never;
        }
        match (state.ring.room(None, now, &[]), state.breaker.state(now)) {
            (Room::Now, BreakerState::Open { until }) => Room::Later(Some(until)),
            (Room::Now, _) if !state.breaker.would_admit(now) => Room::Later(None),
            (room, _) => room,
        }
    }

    /// Lets a create for a model go out with the next account that is none of `except`, or says why not.
    pub(super) fn admit(self: &Arc<Self>, model: &str, now: UnixMs, except: &[AccountKeyId]) -> Admission {
        let mut state = self.state.lock();
        if !state.settings.entry.is_enabled || state.is_switched_off {
            return Admission::Never;
        }
        match state.ring.room(Some(model), now, except) {
            Room::Now => {}
            Room::Later(until) => return Admission::Later(until),
            Room::Never => return Admission::Never,
        }
        if !state.breaker.would_admit(now) {
            return Admission::Later(match state.breaker.state(now) {
                BreakerState::Open { until } => Some(until),
                BreakerState::Closed | BreakerState::HalfOpen => None,
            });
        }
        let settings = state.settings.clone();
        let Some(key) = state.ring.take(model, now, except) else { return Admission::Later(None) };
        let Some(account) = settings.accounts.iter().find(|account| account.key == key).cloned() else {
            state.ring.give_back(&key);
            return Admission::Never;
        };
        state.breaker.admit(now);
        drop(state);
        let lease = AccountLease { station: self.clone(), account, settings };
        Admission::Yes(lease, Trial { station: self.clone(), is_decided: false })
    }

    /// Takes the account that a task was made with, whatever its health; none where it is not there any more.
    pub(super) fn hold(self: &Arc<Self>, key: &AccountKeyId) -> Option<AccountLease> {
        let mut state = self.state.lock();
        let settings = state.settings.clone();
        let account = settings.accounts.iter().find(|account| account.key == *key).cloned()?;
        let is_held = state.ring.hold(key);
        drop(state);
        is_held.then(|| AccountLease { station: self.clone(), account, settings })
    }

    /// What a failure with a model does to a key.
    pub(super) fn suffer(&self, key: &AccountKeyId, model: &str, failure: &ProviderFailure, now: UnixMs) {
        self.state.lock().ring.suffer(key, model, failure.class, failure.retry_after_seconds, now);
    }

    /// A task of a model gave its results after so many milliseconds.
    pub(super) fn took(&self, model: &str, ms: u64) {
        self.state.lock().latencies.record(model, ms);
    }

    /// How long a model takes, milliseconds.
    pub(super) fn usual_ms(&self, model: &str) -> Option<u64> {
        self.state.lock().latencies.median_ms(model)
    }

    /// An administrator's word of the provider.
    pub(super) fn switch(&self, is_on: bool) {
        self.state.lock().is_switched_off = !is_on;
        self.room.notify_waiters();
    }

    /// An administrator's word of a key. `false` where there is no such key.
    pub(super) fn switch_key(&self, key: &AccountKeyId, is_on: bool) -> bool {
        let is_known = {
            let mut state = self.state.lock();
            state.unusable_since = None;
            state.ring.switch(key, is_on)
        };
        self.room.notify_waiters();
        is_known
    }
}

/// An account that a task holds. Dropped, it has a place again.
pub(super) struct AccountLease {
    station: Arc<Station>,
    pub(super) account: Arc<OpenAccount>,
    pub(super) settings: Arc<StationSettings>,
}

impl AccountLease {
    pub(super) fn provider(&self) -> &dyn Provider {
        &*self.account.provider
    }

    /// A failure without the account's own secrets, which some providers repeat.
    pub(super) fn without_secrets(&self, failure: ProviderFailure) -> ProviderFailure {
        let entry = &self.settings.entry;
        let key = entry.keys.iter().find(|key| key.id == self.account.key).map(|key| &key.secret);
        let secrets = key.into_iter().chain(entry.secrets.values());
        secrets.fold(failure, |failure, secret| failure.without(secret.expose_secret()))
    }

    /// How tasks of a model are followed.
    pub(super) fn following(&self, model: &str) -> Following {
        self.settings.following(self.provider(), model)
    }
}

impl Drop for AccountLease {
    fn drop(&mut self) {
        self.station.state.lock().ring.give_back(&self.account.key);
        self.station.room.notify_waiters();
    }
}

/// A create that goes out, of which the breaker wants to hear. Dropped undecided, it says nothing of the provider.
pub(super) struct Trial {
    station: Arc<Station>,
    is_decided: bool,
}

impl Trial {
    /// It was answered.
    pub(super) fn succeeded(mut self) {
        self.answered(true);
    }

    fn answered(&mut self, has_usable_key: bool) {
        self.is_decided = true;
        let mut state = self.station.state.lock();
        state.breaker.succeeded();
        if has_usable_key {
            state.unusable_since = None;
        }
    }

    /// It failed. `true` where the provider is left alone for a while from now on.
    pub(super) fn failed(mut self, class: FailureClass, now: UnixMs) -> bool {
        match class {
            FailureClass::Transient | FailureClass::OutcomeUnknown => {
                self.is_decided = true;
                let mut state = self.station.state.lock();
                state.breaker.failed(now)
            }
            // A body that cannot be read says neither.
            FailureClass::Upstream => false,
            // Whoever refuses, works.
            _ => {
                self.answered(class.action().key == KeyConsequence::Keep);
                false
            }
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if !self.is_decided {
            self.station.state.lock().breaker.undecided();
        }
        self.station.room.notify_waiters();
    }
}
