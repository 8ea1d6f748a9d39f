//! An executor over a ledger and a storage of its own, and requests for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use framewright::database::Database;
use framewright::domain::{
    AccountKey, Clock, ErrorCode, Job, JobId, JobKind, JobRequest, JobState, PollSettings, Price, Progress, ProviderEntry,
    ProviderId, ProviderKind, ProviderSettings, RemoteOptions, RemoteRequest, TaskId, UnixMs, Unobserved,
};
use framewright::execution::remote::{RemoteExecutor, RemoteParts};
use framewright::execution::results::Attempt;
use framewright::execution::{RemoteEnding, RemoteExecution, RemoteWork};
use framewright::ledger::{self, CallFilter, CallState, Ledger, ProviderCall};
use framewright::net::egress::{Egress, EgressPolicy};
use framewright::net::exchange::Exchange;
use framewright::storage::ArtifactStorage;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::providers::{Gate, Mock};

/// When every test begins: 2026-01-02T03:04:05Z.
pub(crate) const NOW: UnixMs = UnixMs(1_767_323_045_000);

/// A clock that only tests move.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMs {
        UnixMs(self.0.load(Ordering::SeqCst))
    }
}

/// What an executor works with.
pub(crate) struct Stage {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) storage: ArtifactStorage,
    pub(crate) ledger: Arc<dyn Ledger>,
    parts: RemoteParts,
    _directory: TempDir,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("jobs.db")).await.unwrap();
        let storage = ArtifactStorage::local(&directory.path().join("outputs")).unwrap();
        let clock = Arc::new(ManualClock(AtomicI64::new(NOW.0)));
        let ledger = ledger::open(&database);
        // Of this machine, only the address that the mocks have.
        let egress = Egress::new(EgressPolicy::new(vec!["127.0.0.1/32".parse().unwrap()])).unwrap();
        let parts = RemoteParts {
            ledger: ledger.clone(),
            storage: storage.clone(),
            egress,
            exchange: Exchange::new().unwrap(),
            clock: clock.clone(),
            observer: Arc::new(Unobserved),
            callbacks: None,
            read_declaration: framewright::config::providers::read_declaration,
        };
        Self { clock, storage, ledger, parts, _directory: directory }
    }

    /// An executor as after a start of the server: it knows what the ledger knows.
    pub(crate) fn executor(&self, settings: &ProviderSettings) -> RemoteExecutor {
        RemoteExecutor::new(settings, self.parts.clone()).unwrap()
    }

    /// A first attempt at a task.
    pub(crate) fn work(request: &RemoteRequest) -> RemoteWork {
        let job = Job {
            id: JobId::generate(),
            user: "ann".parse().unwrap(),
            project: Some("film".parse().unwrap()),
            retry_of: None,
            state: JobState::Running,
            request: JobRequest::from(request.clone()),
            priority: 0,
            progress: Progress::default(),
            created: NOW,
            started: Some(NOW),
            finished: None,
            updated: NOW,
            result: None,
            error: None,
        };
        RemoteWork {
            task: TaskId::generate(),
            request: request.clone(),
            attempt: Attempt::new(&job, 0, 1),
            hold: None,
            job,
            has_next_target: false,
            waiting_since: NOW,
            stop: CancellationToken::new(),
            leave: CancellationToken::new(),
            progress: Arc::new(|_| {}),
        }
    }

    /// Runs a first attempt to its end.
    pub(crate) async fn run(&self, settings: &ProviderSettings, request: &RemoteRequest) -> RemoteEnding {
        self.executor(settings).run(Self::work(request)).await
    }

    /// The calls of the ledger, the oldest first.
    pub(crate) async fn calls(&self) -> Vec<ProviderCall> {
        let mut calls = self.ledger.page(&CallFilter::default(), None, 1000).await.unwrap();
        calls.reverse();
        calls
    }

    /// The only call: its state, and what it was settled to.
    pub(crate) async fn only_call(&self) -> (CallState, Option<i64>) {
        let calls = self.calls().await;
        assert_eq!(calls.len(), 1, "{calls:?}");
        (calls[0].state, calls[0].settled.map(framewright::domain::Micros::get))
    }

    /// Every file that is stored.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let base = self.storage.local_path("videos").unwrap().parent().unwrap().to_owned();
        for directory in std::fs::read_dir(base).unwrap() {
            let directory = directory.unwrap().path();
            files.extend(std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()));
        }
        files.sort();
        files
    }
}

/// Runs a task until a request of it stands before the gate; there the server ends.
pub(crate) async fn left_at(gate: &Gate, executor: RemoteExecutor, work: &RemoteWork) {
    tokio::select! {
        ending = executor.run(work.clone()) => panic!("it ended: {ending:?}"),
        () = gate.reached() => {}
    }
}

/// The same task, tried again.
pub(crate) fn again(work: &RemoteWork) -> RemoteWork {
    RemoteWork {
        attempt: Attempt::new(&work.job, 0, 2),
        stop: CancellationToken::new(),
        leave: CancellationToken::new(),
        ..work.clone()
    }
}

/// A provider of a kind at a mock, with keys of these names; tasks are looked after without pauses, and everything has a price.
pub(crate) fn settings(mock: &Mock, kind: ProviderKind, keys: &[(&str, Option<u32>)]) -> ProviderSettings {
    let path = match kind {
        ProviderKind::Aliyun => "/api/v1",
        ProviderKind::Zhipuai => "/api/paas/v4",
        _ => "",
    };
    let key = |(name, max_concurrent): &(&str, Option<u32>)| AccountKey {
        id: name.parse().unwrap(),
        secret: SecretString::from(format!("sk-{name}")),
        max_concurrent: *max_concurrent,
    };
    let price = Price { per_second: "0.1".parse().unwrap(), per_picture: "0.02".parse().unwrap(), ..Price::default() };
    let entry = ProviderEntry {
        is_enabled: true,
        base_url: Some(format!("{}{path}", mock.base())),
        keys: keys.iter().map(key).collect(),
        prices: vec![price],
        poll: PollSettings { first_pause_ms: Some(1), most_pause_ms: Some(2) },
        ..ProviderEntry::of_kind(kind)
    };
    ProviderSettings { currency: "EUR".to_owned(), providers: [(id(kind), entry)].into() }
}

/// A provider's name: its kind's.
pub(crate) fn id(kind: ProviderKind) -> ProviderId {
    kind.as_str().parse().unwrap()
}

/// A request for a film of ten seconds at Aliyun.
pub(crate) fn film() -> RemoteRequest {
    RemoteRequest {
        model: "wan2.5-t2v-preview".parse().unwrap(),
        provider: id(ProviderKind::Aliyun),
        provider_model: "wan2.5-t2v-preview".to_owned(),
        output: JobKind::Film,
        prompt: "a ship".to_owned(),
        negative_prompt: None,
        frame: Some("480P".parse().unwrap()),
        seconds: Some(10),
        frames_per_second: None,
        seed: Some(7),
        count: 1,
        pictures: Vec::new(),
        options: RemoteOptions::default(),
        estimated_cost_micros: 0,
    }
}

/// A request for a film of another provider's model, of six seconds or none said.
pub(crate) fn film_of(kind: ProviderKind, model: &str, seconds: Option<u32>) -> RemoteRequest {
    RemoteRequest {
        model: model.parse().unwrap(),
        provider: id(kind),
        provider_model: model.to_owned(),
        frame: None,
        seconds,
        seed: None,
        ..film()
    }
}

/// How a task failed: the code, the message, the cost.
pub(crate) fn failed(ending: RemoteEnding) -> (ErrorCode, String, i64) {
    match ending {
        RemoteEnding::Failed { error, cost_micros } => (error.code, error.message, cost_micros),
        other => panic!("it did not fail: {other:?}"),
    }
}

/// What a task gave, and what it cost.
pub(crate) fn completed(ending: RemoteEnding) -> (framewright::domain::JobResult, i64) {
    match ending {
        RemoteEnding::Completed { result, cost_micros } => (result, cost_micros),
        other => panic!("it was not completed: {other:?}"),
    }
}
