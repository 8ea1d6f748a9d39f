//! A whole server without a socket: the real router, job service, scheduler, database and storage, over a fake device.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use framewright::api::callback::CallbackOutputs;
use framewright::api::init_image::InitImageDecoder;
use framewright::api::linked_file::LinkedFiles;
use framewright::api::{ApiSettings, ApiState, LinkSigner, TokenVerifier, router};
use framewright::app::shares::TenantShares;
use framewright::database::Database;
use framewright::domain::{
    Clock, DeviceName, ImageRequest, InstalledNetworks, JobId, JobState, MinimaxWords, Principal, ProviderSettings,
    TenantPolicies, UnixMs,
};
use framewright::execution::film::FilmTools;
use framewright::execution::remote::{CallbackAddresses, RemoteExecutor, RemoteParts};
use framewright::execution::{Executor, ExecutorOptions, FakeControl, FakeFailure, ThreadExecutor};
use framewright::jobs::{self, JobService, JobServiceOptions, Previews};
use framewright::ledger;
use framewright::models::ModelCatalog;
use framewright::net::egress::{Egress, EgressPolicy, NameLookup};
use framewright::net::exchange::Exchange;
use framewright::routes::{Route, Routes};
use framewright::scheduler::{Scheduler, SchedulerOptions, SchedulerParts};
use framewright::storage::ArtifactStorage;
use framewright::telemetry::Metrics;
use framewright::tenants::{self, KeyService, NewKey, Tenants};
use framewright::webhooks::{self, WebhookParts, WebhookSecrets, Webhooks};
use futures_util::StreamExt;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// The key in the server's environment.
pub(crate) const MASTER_KEY: &str = "the master key";
/// What signs links and tokens.
pub(crate) const SECRET_KEY: &str = "the secret that signs links and tokens";
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

/// A name service that knows no names: tests need no network.
#[derive(Debug)]
pub(crate) struct NoNames;

#[async_trait::async_trait]
impl NameLookup for NoNames {
    async fn lookup(&self, _: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        Err(std::io::Error::other("no such name"))
    }
}

/// A client that may call these networks alone.
pub(crate) fn egress(allow: &[&str]) -> Egress {
    let policy = EgressPolicy::new(allow.iter().map(|network| network.parse().unwrap()).collect());
    Egress::with_lookup(policy, Arc::new(NoNames)).unwrap()
}

/// A server under test. Everything goes when it is dropped.
pub(crate) struct TestServer {
    pub(crate) router: Router,
    pub(crate) state: ApiState,
    pub(crate) clock: Arc<ManualClock>,
    /// Pace and failures of the device.
    pub(crate) device: FakeControl,
    /// A plain user's key.
    pub(crate) user_key: String,
    database: Database,
    directory: TempDir,
}

/// What a test wants to be different.
pub(crate) struct Options {
    pub(crate) step_ms: u64,
    /// What the device says that it has; absent: it does not say.
    pub(crate) memory_bytes: Option<u64>,
    /// Without a device jobs stay queued.
    pub(crate) has_device: bool,
    pub(crate) queue_limit: u64,
    /// What users and projects may do.
    pub(crate) policies: TenantPolicies,
    /// What films are finished with.
    pub(crate) films: FilmTools,
    /// A directory of models beside the bundled one.
    pub(crate) models_dir: Option<PathBuf>,
    pub(crate) settings: ApiSettings,
    /// Where users' links may lead.
    pub(crate) egress: Egress,
    /// What an earlier server left; absent: nothing.
    pub(crate) directory: Option<TempDir>,
    /// The providers, their keys and prices.
    pub(crate) providers: ProviderSettings,
    /// Names that stand for several models.
    pub(crate) routes: Vec<Route>,
    /// The states' words in MiniMax's callbacks.
    pub(crate) minimax_words: MinimaxWords,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            step_ms: 1,
            memory_bytes: None,
            has_device: true,
            queue_limit: 100,
            policies: TenantPolicies::default(),
            films: FilmTools::default(),
            models_dir: None,
            egress: egress(&[]),
            directory: None,
            providers: ProviderSettings::default(),
            routes: Vec::new(),
            minimax_words: MinimaxWords::default(),
            settings: ApiSettings {
                public_url: None,
                auth_enabled: true,
                master_key: Some(SecretString::from(MASTER_KEY)),
                max_body_bytes: ApiSettings::DEFAULT_MAX_BODY_BYTES,
                cors_origins: Vec::new(),
                loopback: true,
                version: "0.0.0-test",
                default_image_model: None,
                default_video_model: None,
                networks: InstalledNetworks::default(),
                devices: vec!["fake".to_owned()],
            },
        }
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let directory = options.directory.unwrap_or_else(|| tempfile::tempdir().unwrap());
        let clock = Arc::new(ManualClock(AtomicI64::new(NOW.0)));
        let database = Database::open(directory.path().join("framewright.db").as_path()).await.unwrap();
        let storage = ArtifactStorage::local(&directory.path().join("outputs")).unwrap();
        let store = jobs::store::open(&database);
        let service_options = JobServiceOptions { queue_limit: options.queue_limit };
        let jobs = JobService::new(store.clone(), storage.clone(), clock.clone(), service_options);
        let bundled = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models");
        let models = ModelCatalog::open(options.models_dir.into_iter().chain([bundled]).collect());
        let keys = KeyService::new(tenants::store::open(&database), clock.clone());
        let tenants = Tenants::new(options.policies, jiff::tz::TimeZone::UTC, clock.clone());
        let metrics = Arc::new(Metrics::new(options.settings.version).unwrap());
        let mut device = FakeControl::new(options.step_ms);
        device.memory_bytes = options.memory_bytes;
        let mut executors: Vec<Arc<dyn Executor>> = Vec::new();
        if options.has_device {
            let executor_options = ExecutorOptions { fake: device.clone(), max_batch: 1, ..ExecutorOptions::default() };
            executors.push(Arc::new(ThreadExecutor::open("fake", DeviceName::Fake, &executor_options).unwrap()));
        }
        let ledger = ledger::open(&database);
        let secret = SecretString::from(SECRET_KEY);
        let remote_parts = RemoteParts {
            ledger: ledger.clone(),
            storage: storage.clone(),
            egress: options.egress.clone(),
            exchange: Exchange::new().unwrap(),
            clock: clock.clone(),
            observer: metrics.clone(),
            callbacks: options.settings.public_url.as_ref().and_then(|base| CallbackAddresses::new(base, &secret)),
            read_declaration: framewright::config::providers::read_declaration,
        };
        let remote = RemoteExecutor::new(&options.providers, remote_parts).unwrap();
        let routes = options.routes.into_iter().map(|route| (route.name.clone(), route)).collect();
        let parts = SchedulerParts {
            runner: jobs.runner(),
            executors,
            remote: Some(Arc::new(remote.clone())),
            models: models.clone(),
            storage: storage.clone(),
            observer: metrics.clone(),
            shares: Arc::new(TenantShares(tenants.clone())),
            max_concurrent: 1,
            work_directory: directory.path().join("work"),
            options: SchedulerOptions { max_batch_tasks: 1, films: options.films.clone(), ..SchedulerOptions::default() },
        };
        let scheduler = Scheduler::start(parts).await.unwrap();
        let (_, user_key) = keys.create(NewKey::for_user("anna".parse().unwrap())).await.unwrap();
        let linked_files = LinkedFiles::new(options.egress.clone());
        let links = LinkSigner::new(&secret);
        let webhooks = Webhooks::start(WebhookParts {
            store: webhooks::store::open(&database),
            jobs: store,
            egress: options.egress.clone(),
            secrets: WebhookSecrets::new(&secret),
            clock: clock.clone(),
            observer: metrics.clone(),
            outputs: Arc::new(CallbackOutputs::new(links.clone())),
            minimax_words: options.minimax_words,
        });
        let state = ApiState {
            jobs,
            scheduler,
            tenants,
            models,
            remote,
            ledger,
            routes: Routes::new(routes),
            keys,
            storage,
            links,
            tokens: TokenVerifier::new(&secret),
            webhooks,
            metrics,
            settings: Arc::new(options.settings),
            clock: clock.clone(),
            egress: options.egress,
            init_images: InitImageDecoder::new(linked_files.clone()),
            linked_files,
            a1111: framewright::api::A1111Memory::default(),
            background: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        Self {
            router: router(state.clone()),
            state,
            clock,
            device,
            user_key: user_key.expose_secret().to_owned(),
            database,
            directory,
        }
    }

    /// Stops in order; gives what it leaves to another one.
    pub(crate) async fn stop(self) -> TempDir {
        self.state.jobs.close();
        self.state.scheduler.shut_down(Duration::ZERO).await;
        self.state.webhooks.shut_down(Duration::ZERO).await;
        self.state.jobs.settled().await;
        self.database.close().await;
        self.directory
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer { status: parts.status, headers: parts.headers, body: axum::body::to_bytes(body, usize::MAX).await.unwrap() }
    }

    /// A request with the user's key.
    pub(crate) fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Request<Body> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "server:8000")
            .header("authorization", format!("Bearer {}", self.user_key));
        match body {
            Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        }
        .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path, None)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path, Some(body))).await
    }

    /// A form with the user's key: texts, and files as `(field, bytes)`.
    pub(crate) fn form(&self, path: &str, fields: &[(&str, &str)], files: &[(&str, &[u8])]) -> Request<Body> {
        const BOUNDARY: &str = "line-between";
        let mut body = Vec::new();
        for (name, value) in fields {
            body.extend(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").as_bytes());
        }
        for (name, file) in files {
            let head = format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"a.png\"\r\nContent-Type: image/png");
            body.extend(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").as_bytes());
            body.extend(*file);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
        let mut request = self.request(Method::POST, path, None);
        request.headers_mut().insert("content-type", format!("multipart/form-data; boundary={BOUNDARY}").parse().unwrap());
        *request.body_mut() = Body::from(body);
        request
    }

    /// A request with some key.
    pub(crate) async fn send_as(&self, key: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.request(method, path, body);
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        self.send(request).await
    }

    /// A request with the administrator's key.
    pub(crate) async fn administrate(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.send_as(MASTER_KEY, method, path, body).await
    }

    /// A new key of a user, or of a user within a project.
    pub(crate) async fn key_of(&self, user: &str, project: Option<&str>) -> String {
        let user = user.parse().unwrap();
        let new = match project {
            Some(project) => NewKey::for_project(user, project.parse().unwrap()),
            None => NewKey::for_user(user),
        };
        self.state.keys.create(new).await.unwrap().1.expose_secret().to_owned()
    }

    /// A GET without a key.
    pub(crate) async fn get_openly(&self, path: &str) -> Answer {
        self.send(Request::get(path).header("host", "server:8000").body(Body::empty()).unwrap()).await
    }

    /// Submits a native request and gives its task's id.
    pub(crate) async fn submit(&self, body: &Value) -> String {
        let answer = self.post("/api/v1/images/generate", body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        answer.json()["task_id"].as_str().unwrap().to_owned()
    }

    /// What devices are told to do for the pictures of an answer.
    pub(crate) async fn image_request(&self, answer: &Answer) -> ImageRequest {
        let administrator = Principal { user: "admin".parse().unwrap(), project: None, admin: true, key: None };
        let job = self.state.jobs.get(&administrator, answer.header("x-task-id").parse().unwrap()).await.unwrap();
        job.request.image().unwrap().clone()
    }

    /// Keeps the device busy with a task that hangs, so that what is submitted next can be watched from its beginning.
    pub(crate) async fn occupy_device(&self) -> String {
        self.device.plan(FakeFailure::Hang { after_steps: 0 });
        let task = self.submit(&json!({"prompt": "hang"})).await;
        // If it were stopped before it ran, the next task would hang in its place.
        self.wait_until(&task, |state| state != JobState::Queued).await;
        task
    }

    /// Stops that task.
    pub(crate) async fn free_device(&self, task: &str) {
        let answer = self.send(self.request(Method::POST, &format!("/api/v1/tasks/{task}/cancel"), None)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }

    /// Waits until a task has ended.
    pub(crate) async fn wait(&self, task: &str) {
        self.wait_until(task, JobState::is_terminal).await;
    }

    /// Waits until a task's state is one of those that are wanted.
    async fn wait_until(&self, task: &str, is_wanted: impl Fn(JobState) -> bool) {
        let id: JobId = task.parse().unwrap();
        let administrator = Principal { user: "admin".parse().unwrap(), project: None, admin: true, key: None };
        let (mut job, mut events) = self.state.jobs.watch(&administrator, id, Previews::Unwanted).await.unwrap();
        while !is_wanted(job.state) {
            // Whatever it is, it is a reason to look; the channel closes after the end.
            let _ = events.recv().await;
            job = self.state.jobs.get(&administrator, id).await.unwrap();
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// As [`data_lines`].
    pub(crate) fn data_lines(&self) -> (Vec<Value>, bool) {
        data_lines(&self.text())
    }

    /// The events of a stream.
    pub(crate) fn events(&self) -> Vec<ServerSentEvent> {
        self.text().split("\n\n").filter_map(ServerSentEvent::parse).collect()
    }
}

/// The data of a stream's events, and whether `[DONE]` ends it.
pub(crate) fn data_lines(text: &str) -> (Vec<Value>, bool) {
    let mut lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let is_done = lines.pop_if(|line| *line == "[DONE]").is_some();
    (lines.into_iter().map(|line| serde_json::from_str(line).unwrap()).collect(), is_done)
}

/// One server-sent event.
#[derive(Debug)]
pub(crate) struct ServerSentEvent {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

impl ServerSentEvent {
    fn parse(block: &str) -> Option<Self> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        let data = serde_json::from_str(&field("data: ")?).unwrap();
        Some(Self { name: field("event: ").unwrap_or_default(), id: field("id: "), data })
    }
}

/// Reads a stream's next event.
pub(crate) async fn next_event(body: &mut axum::body::BodyDataStream) -> Option<ServerSentEvent> {
    loop {
        let chunk = body.next().await?.unwrap();
        if let Some(event) = ServerSentEvent::parse(&String::from_utf8_lossy(&chunk)) {
            return Some(event);
        }
    }
}
