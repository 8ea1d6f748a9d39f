//! The executor: all providers of the settings, and the tasks that they run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::abandoned;
use super::accounts::{ProviderSetupError, ReadDeclaration};
use super::body_budget::BodyBudget;
use super::breaker::BreakerState;
use super::callbacks::CallbackAddresses;
use super::failures::{class_word, task_end};
use super::keys::{KeyHealth, ModelRest, Room};
use super::large_answers::LargeAnswers;
use super::offer::{self, OfferedModel, Priced};
use super::patience::waits_for_acquaintance;
use super::remarks;
use super::run;
use super::station::{Station, StationSettings};
use crate::domain::{
    AccountKeyId, Clock, JobObserver, Micros, ProviderEntry, ProviderId, ProviderKind, ProviderSettings, RemoteRequest, UnixMs,
};
use crate::execution::{AbandonedCall, RemoteEnding, RemoteExecution, RemoteWork, WaitingWork};
use crate::ledger::{CallEnding, CallState, Ledger, NewCall};
use crate::net::egress::Egress;
use crate::net::exchange::Exchange;
use crate::providers::{FailureClass, RequestRefusal};
use crate::storage::ArtifactStorage;

/// The states of keys.
const READY: &str = "ready";
const RESTING: &str = "resting";
const DISABLED: &str = "disabled";
const SWITCHED_OFF: &str = "switched_off";

/// What an executor works with.
#[derive(Clone, Debug)]
pub struct RemoteParts {
    /// Where creates are written down.
    pub ledger: Arc<dyn Ledger>,
    /// Where results are kept.
    pub storage: ArtifactStorage,
    /// By which links to results are opened.
    pub egress: Egress,
    /// By which providers are called.
    pub exchange: Exchange,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who is told how it goes, in numbers.
    pub observer: Arc<dyn JobObserver>,
    /// Where providers may call this server; absent where they cannot reach it.
    pub callbacks: Option<CallbackAddresses>,
    /// By which files that declare providers are understood.
    pub read_declaration: ReadDeclaration,
}

/// Runs tasks at providers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RemoteExecutor {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) parts: RemoteParts,
    stations: RwLock<BTreeMap<ProviderId, Arc<Station>>>,
    currency: RwLock<String>,
    room: Arc<Notify>,
    /// What bodies of creates may take of the memory.
    pub(super) bodies: BodyBudget,
    /// How many large answers are in the memory.
    pub(super) large_answers: LargeAnswers,
    /// Those who follow tasks, by provider and the provider's id.
    followers: Mutex<HashMap<(ProviderId, String), Arc<Notify>>>,
}

/// Whether a provider is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderHealth {
    /// It takes tasks.
    Ready,
    /// Every key has as many tasks as it may have, or rests.
    Busy,
    /// It fails, and is left alone for a while.
    Failing,
    /// No key can be used before somebody does something.
    NoKeys,
    /// The settings or an administrator switched it off.
    Off,
}

impl ProviderHealth {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Ready, Self::Busy, Self::Failing, Self::NoKeys, Self::Off];

    /// The word that the APIs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Failing => "failing",
            Self::NoKeys => "no_keys",
            Self::Off => "off",
        }
    }
}

/// How a provider is.
#[derive(Clone, Debug)]
pub struct ProviderStatus {
    /// Which.
    pub provider: ProviderId,
    /// Its kind.
    pub kind: &'static str,
    /// Whether the settings have it; if not, it is only there for the tasks that it runs, or has run.
    pub is_configured: bool,
    /// Whether it is used.
    pub health: ProviderHealth,
    /// Whether calls go out.
    pub breaker: BreakerState,
    /// Its keys, by their names.
    pub keys: Vec<KeyStatus>,
    /// Tasks that run there.
    pub in_flight: u32,
    /// How long its models took lately, milliseconds: medians, by the provider's names.
    pub latencies_ms: BTreeMap<String, u64>,
}

/// How a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its name.
    pub id: AccountKeyId,
    /// `ready`, `resting`, `disabled`, `switched_off`.
    pub state: &'static str,
    /// Until when it rests.
    pub until: Option<UnixMs>,
    /// The class of the failure that it rests or is disabled for.
    pub reason: Option<&'static str>,
    /// The models that it is not used for at the moment.
    pub model_rests: Vec<ModelRest>,
    /// Tasks that hold it.
    pub in_flight: u32,
    /// Most tasks at once.
    pub max_concurrent: Option<u32>,
}

impl KeyStatus {
    /// Every word of [`Self::state`].
    pub const STATES: [&'static str; 4] = [READY, RESTING, DISABLED, SWITCHED_OFF];

    /// Whether tasks may hold it: it neither rests nor is it disabled.
    pub fn is_usable(&self) -> bool {
        self.state == READY
    }
}

impl RemoteExecutor {
    /// An executor of these providers. Fails with [`ProviderSetupError`] where an account cannot be opened.
    pub fn new(settings: &ProviderSettings, parts: RemoteParts) -> Result<Self, ProviderSetupError> {
        let inner = Inner {
            parts,
            stations: RwLock::default(),
            currency: RwLock::default(),
            room: Arc::new(Notify::new()),
            bodies: BodyBudget::new(),
            large_answers: LargeAnswers::new(),
            followers: Mutex::default(),
        };
        let executor = Self { inner: Arc::new(inner) };
        executor.replace(settings)?;
        Ok(executor)
    }

    /// Takes new settings, all or none. Tasks that run go on with the account that made them; a provider that is gone takes no others.
    pub fn replace(&self, settings: &ProviderSettings) -> Result<(), ProviderSetupError> {
        let read = self.inner.parts.read_declaration;
        let open = |(id, entry): (&ProviderId, &ProviderEntry)| Ok((id.clone(), StationSettings::open(id, entry.clone(), read)?));
        let opened = settings.providers.iter().map(open).collect::<Result<BTreeMap<_, _>, _>>()?;
        let mut stations = self.inner.stations.write();
        for (id, station) in stations.iter().filter(|(id, _)| !opened.contains_key(*id)) {
            // It stays for the tasks that it runs.
            let entry = ProviderEntry { is_enabled: false, ..station.settings().entry.clone() };
            if let Ok(settings) = StationSettings::open(id, entry, read) {
                station.replace(StationSettings { is_configured: false, ..settings });
            }
        }
        for (id, settings) in opened {
            if let Some(station) = stations.get(&id) {
                station.replace(settings);
            } else {
                let station = Station::new(id.clone(), settings, self.inner.room.clone());
                stations.insert(id, Arc::new(station));
            }
        }
        drop(stations);
        self.inner.currency.write().clone_from(&settings.currency);
        self.inner.room.notify_waiters();
        Ok(())
    }

    /// When another task of this provider has room.
    pub fn room(&self, provider: &ProviderId) -> Room {
        self.inner.station(provider).map_or(Room::Never, |station| station.room(self.inner.now()))
    }

    /// Whether another task of this provider can begin now, or none ever can.
    pub fn has_room(&self, provider: &ProviderId) -> bool {
        matches!(self.room(provider), Room::Now | Room::Never)
    }

    /// The models that enabled providers offer.
    pub fn describe(&self) -> Vec<OfferedModel> {
        let stations: Vec<Arc<Station>> = self.inner.stations.read().values().cloned().collect();
        let currency = self.inner.currency.read().clone();
        let models = |station: Arc<Station>| {
            let settings = station.settings();
            let provider = settings.provider().filter(|_| station.is_used());
            provider.map_or_else(Vec::new, |provider| offer::models(&station.id, &settings.entry, provider, &currency))
        };
        stations.into_iter().flat_map(models).collect()
    }

    /// What a provider calls a model that clients name; none where it does not offer it.
    pub fn provider_model(&self, provider: &ProviderId, model: &str) -> Option<String> {
        let station = self.inner.station(provider).filter(|station| station.is_used())?;
        let settings = station.settings();
        offer::name_of(&settings.entry, settings.provider()?, model)
    }

    /// Checks a request against what a provider's model can do, by the name that clients use, and says what it will cost. Pictures are
    /// judged by their sizes; their formats are the executor's business. Fails with [`RequestRefusal`].
    pub fn validate(&self, provider: &ProviderId, model: &str, request: &RemoteRequest) -> Result<Priced, RequestRefusal> {
        let names = || {
            let names: Vec<String> = self.inner.stations.read().keys().map(ToString::to_string).collect();
            names.join(", ")
        };
        let station = self.inner.station(provider).filter(|station| station.is_used());
        let refused = || RequestRefusal::new("provider", provider, model, names());
        let settings = station.ok_or_else(refused)?.settings();
        let wire = settings.provider().ok_or_else(refused)?;
        let Some(name) = offer::name_of(&settings.entry, wire, model) else {
            let offered = offer::models(provider, &settings.entry, wire, "");
            let offered: Vec<&str> = offered.iter().map(|model| model.id.as_str()).collect();
            return Err(RequestRefusal::new("model", model, provider.as_str(), offered.join(", ")));
        };
        offer::validate(&settings.entry, wire, &name, request, self.inner.now())
    }

    /// What is probably not meant in the settings, one line for each thing.
    pub fn remarks(&self) -> Vec<String> {
        let stations: Vec<Arc<Station>> = self.inner.stations.read().values().cloned().collect();
        let of_station = |station: &Arc<Station>| {
            let settings = station.settings();
            let provider = settings.provider().filter(|_| settings.is_configured);
            remarks::of_provider(&station.id, &settings.entry, provider, self.inner.parts.egress.policy())
        };
        stations.iter().flat_map(of_station).collect()
    }

    /// How all providers are.
    pub fn statuses(&self) -> Vec<ProviderStatus> {
        let stations: Vec<Arc<Station>> = self.inner.stations.read().values().cloned().collect();
        stations.iter().map(|station| self.inner.status(station)).collect()
    }

    /// Switches a provider on or off, until the server is started again. `false` where there is no such provider.
    pub fn switch(&self, provider: &ProviderId, is_on: bool) -> bool {
        self.inner.station(provider).map(|station| station.switch(is_on)).is_some()
    }

    /// Switches a key on or off; on, it is as new. `false` where there is no such key.
    pub fn switch_key(&self, provider: &ProviderId, key: &AccountKeyId, is_on: bool) -> bool {
        self.inner.station(provider).is_some_and(|station| station.switch_key(key, is_on))
    }

    /// Which provider of a kind was given an address with this token; none where nobody was.
    pub fn called_at(&self, kind: ProviderKind, token: &str) -> Option<ProviderId> {
        let callbacks = self.inner.parts.callbacks.as_ref()?;
        let stations = self.inner.stations.read();
        let mut of_kind = stations.values().filter(|station| station.settings().entry.kind == kind);
        of_kind.find(|station| callbacks.is_token_of(&station.id, token)).map(|station| station.id.clone())
    }

    /// A provider says that something happened to a task of its own: whoever follows it looks at once. `false` where nobody does.
    pub fn wake(&self, provider: &ProviderId, remote_id: &str) -> bool {
        let followers = self.inner.followers.lock();
        let follower = followers.get(&(provider.clone(), remote_id.to_owned()));
        follower.map(|follower| follower.notify_one()).is_some()
    }

    /// What a provider calls a task itself, of the id that the ledger has.
    pub fn task_name(&self, provider: &ProviderId, id: &str) -> String {
        let settings = self.inner.station(provider).map(|station| station.settings());
        let wire = settings.as_ref().and_then(|settings| settings.provider());
        wire.map_or(id, |wire| wire.task_name(id)).to_owned()
    }

    /// The currency of all costs.
    pub fn currency(&self) -> String {
        self.inner.currency.read().clone()
    }
}

#[async_trait]
impl RemoteExecution for RemoteExecutor {
    /// Where there never will be room, the task fails, and may be passed on.
    fn admits(&self, task: &WaitingWork) -> bool {
        let now = self.inner.now();
        let Some(station) = self.inner.configured(&task.provider) else {
            // It fails or is passed on, unless another server may know the provider, or work for it already.
            let can_be_passed_on = task.has_next_target && !task.has_open_call;
            return !task.has_peers || !waits_for_acquaintance(now, task.queued, task.since, can_be_passed_on);
        };
        match station.room(now) {
            Room::Now | Room::Never => true,
            Room::Later(until) => {
                task.has_open_call || !station.patience(now, task.since, task.has_next_target).waits(now, until)
            }
        }
    }

    fn waits_for(&self, task: &WaitingWork) -> Option<String> {
        let provider = &task.provider;
        if self.admits(task) {
            return None;
        }
        Some(match self.inner.configured(provider).map(|station| station.room(self.inner.now())) {
            None => format!("{provider} is not configured on this server; the task waits for one that knows it"),
            Some(Room::Later(Some(until))) => format!("every key of {provider} is busy or rests, one until {until}"),
            Some(_) => format!("every key of {provider} is busy"),
        })
    }

    /// Rests of keys end silently: ask again at the time that [`RemoteExecutor::room`] names.
    fn room_changed(&self) -> Notified<'_> {
        self.inner.room.notified()
    }

    /// An earlier attempt at the task is taken up where it was, so that nothing is made twice.
    async fn run(&self, work: RemoteWork) -> RemoteEnding {
        run::run(&self.inner, &work).await
    }

    async fn abandoned(&self) -> Vec<AbandonedCall> {
        let taken = abandoned::take(&self.inner).await;
        taken.unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "Cannot look for calls that nobody follows: {error}");
            Vec::new()
        })
    }

    async fn wind_up(&self, call: &AbandonedCall, work: Option<&RemoteWork>) -> Option<CallEnding> {
        abandoned::wind_up(&self.inner, &call.call, work).await
    }

    fn settled(&self, call: &AbandonedCall, ending: &CallEnding) {
        abandoned::settled(&self.inner, call, ending);
    }
}

impl Inner {
    pub(super) fn now(&self) -> UnixMs {
        self.parts.clock.now()
    }

    pub(super) fn station(&self, provider: &ProviderId) -> Option<Arc<Station>> {
        self.stations.read().get(provider).cloned()
    }

    /// A provider that the settings have now; not one that only finishes its tasks.
    fn configured(&self, provider: &ProviderId) -> Option<Arc<Station>> {
        self.station(provider).filter(|station| station.settings().is_configured)
    }

    /// The providers that this server knows.
    pub(super) fn provider_ids(&self) -> Vec<ProviderId> {
        self.stations.read().keys().cloned().collect()
    }

    pub(super) fn currency(&self) -> String {
        self.currency.read().clone()
    }

    pub(super) fn room_changed(&self) -> Notified<'_> {
        self.room.notified()
    }

    /// Tells how a call ended that its provider took, or may have taken.
    pub(super) fn ended(&self, call: &NewCall, state: CallState, settled: Micros, class: Option<FailureClass>) {
        let (observer, provider) = (&self.parts.observer, &call.provider);
        let ms = self.now().0.saturating_sub(call.created.0).max(0);
        observer.provider_task_ended(provider, task_end(state, class), ms as f64 / 1e3);
        observer.provider_settled(provider, &self.currency.read(), settled.get());
    }

    /// Registers whoever follows a task, until it is dropped.
    pub(super) fn follower(&self, provider: &ProviderId, remote_id: &str) -> Follower<'_> {
        let (key, notify) = ((provider.clone(), remote_id.to_owned()), Arc::new(Notify::new()));
        self.followers.lock().insert(key.clone(), notify.clone());
        Follower { inner: self, key, notify }
    }

    fn status(&self, station: &Station) -> ProviderStatus {
        let now = self.now();
        let status = station.status(now);
        let health = match (station.room(now), status.breaker) {
            _ if !station.is_used() => ProviderHealth::Off,
            (Room::Never, _) => ProviderHealth::NoKeys,
            (_, BreakerState::Open { .. } | BreakerState::HalfOpen) => ProviderHealth::Failing,
            (Room::Later(_), BreakerState::Closed) => ProviderHealth::Busy,
            (Room::Now, BreakerState::Closed) => ProviderHealth::Ready,
        };
        let key = |state: &super::keys::KeyState| {
            let (word, until, class) = match state.health {
                KeyHealth::Ready => (READY, None, None),
                KeyHealth::Resting { until, .. } if until <= now => (READY, None, None),
                KeyHealth::Resting { until, class } => (RESTING, Some(until), Some(class)),
                KeyHealth::Disabled { class } => (DISABLED, None, Some(class)),
                KeyHealth::SwitchedOff => (SWITCHED_OFF, None, None),
            };
            KeyStatus {
                id: state.facts.id.clone(),
                state: word,
                until,
                reason: class.map(class_word),
                model_rests: state.model_rests(now).cloned().collect(),
                in_flight: state.out,
                max_concurrent: state.facts.max_concurrent,
            }
        };
        ProviderStatus {
            provider: station.id.clone(),
            kind: station.settings().entry.kind.as_str(),
            is_configured: status.is_configured,
            health,
            breaker: status.breaker,
            keys: status.keys.iter().map(key).collect(),
            in_flight: status.in_flight,
            latencies_ms: status.latencies.medians_ms(),
        }
    }
}

/// Somebody who follows a task.
pub(super) struct Follower<'a> {
    inner: &'a Inner,
    key: (ProviderId, String),
    notify: Arc<Notify>,
}

impl Follower<'_> {
    /// Ends when the provider has said something of the task.
    pub(super) fn called(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        let mut followers = self.inner.followers.lock();
        // A later attempt may have registered itself.
        if followers.get(&self.key).is_some_and(|notify| Arc::ptr_eq(notify, &self.notify)) {
            followers.remove(&self.key);
        }
    }
}
