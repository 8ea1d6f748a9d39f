//! Credentials: planted wherever the server takes one, and looked for in everything that it says and leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use memchr::memmem;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::JOB_LIMIT;
use crate::providers::{AliyunCloud, Answer, Gate, MinimaxCloud, Mock, OpenAiCloud, ReelworksCloud, ZhipuaiCloud};
use crate::support::client::Client;
use crate::support::database::Store;
use crate::support::events::Events;
use crate::support::http;
use crate::support::random::Random;
use crate::support::server::Server;
use crate::support::trial;

/// Letters of a secret by which it is known.
const MARK_LETTERS: usize = 24;
/// Letters of a mark that are never seen either: a beginning or an end of a key is a part of it.
const PART_LETTERS: usize = 8;

/// Secrets by where they were planted, each with letters that stand nowhere else.
#[derive(Debug)]
struct Canaries {
    random: Random,
    marks: BTreeMap<&'static str, String>,
}

impl Canaries {
    fn new() -> Self {
        let seed = Random::seed();
        trial::say(&format!("secrets: seed {seed}"));
        Self { random: Random::new(seed), marks: BTreeMap::new() }
    }

    /// A secret for a place, in the form that is wanted there.
    fn plant(&mut self, place: &'static str, form: &str) -> String {
        // No hexadecimal digits, of which the server has plenty.
        let mark: String = (0..MARK_LETTERS).map(|_| (b'g' + self.random.between(0, 20) as u8) as char).collect();
        let secret = form.replace('*', &mark);
        assert!(self.marks.insert(place, mark).is_none(), "{place} has one secret");
        secret
    }

    /// A secret that the server made itself.
    fn know(&mut self, place: &'static str, secret: &str) {
        let letters: String = secret.chars().rev().filter(char::is_ascii_alphanumeric).take(MARK_LETTERS).collect();
        assert_eq!(letters.len(), MARK_LETTERS, "{place}");
        self.marks.insert(place, letters.chars().rev().collect());
    }

    fn needles(&self) -> Needles {
        let finders = |mark: &String| forms(mark).iter().map(|form| memmem::Finder::new(form).into_owned()).collect();
        Needles(self.marks.iter().map(|(place, mark)| (*place, finders(mark))).collect())
    }
}

/// What is looked for, by the place where it was planted.
struct Needles(Vec<(&'static str, Vec<memmem::Finder<'static>>)>);

impl Needles {
    /// The places whose secret, or a part of it, is in these bytes, as it is or encoded.
    fn found_in(&self, bytes: &[u8]) -> Vec<&'static str> {
        let is_found = |finders: &[memmem::Finder<'_>]| finders.iter().any(|finder| finder.find(bytes).is_some());
        self.0.iter().filter(|(_, finders)| is_found(finders)).map(|(place, _)| *place).collect()
    }
}

/// How a secret may look: its beginning and its end, and all of it in base64 at any place of a text, and in hexadecimal digits.
fn forms(mark: &str) -> Vec<String> {
    let encoded = (0..3).map(|shift| {
        let text = BASE64_STANDARD.encode(format!("{}{mark}", "x".repeat(shift)));
        // What the letters beside it have a part in is not looked for.
        text[4..text.len() - 4].to_owned()
    });
    let hexadecimal = hexadecimal(mark);
    let parts = [&mark[..PART_LETTERS], &mark[MARK_LETTERS - PART_LETTERS..]].map(str::to_owned);
    encoded.chain([hexadecimal]).chain(parts).collect()
}

fn hexadecimal(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// What was heard of the server, by what it was.
#[derive(Debug, Default)]
struct Heard(Vec<(String, Vec<u8>)>);

impl Heard {
    fn note(&mut self, what: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((what.into(), bytes.into()));
    }

    /// Calls, and notes the answer.
    fn call(&mut self, client: &Client, method: &str, path: &str, body: Option<&Value>) -> http::Answer {
        let answer = client.try_call(method, path, None, body).expect("an answer");
        self.note(format!("{method} {path}"), [answer.head.as_bytes(), &answer.body].concat());
        answer
    }

    /// All that PostgreSQL has, where that is the store.
    fn dump(&mut self, store: &Store) {
        let Store::Postgres(_, database) = store else { return };
        let dump = Command::new("pg_dump").args(["--inserts", "--dbname", database.url()]).output().unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        self.note("a dump of the database", dump.stdout);
    }

    /// Every file below a directory.
    fn files(&mut self, directory: &Path) -> usize {
        let mut count = 0;
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                count += self.files(&path);
            } else if let Ok(bytes) = fs::read(&path) {
                self.note(path.display().to_string(), bytes);
                count += 1;
            }
        }
        count
    }
}

/// The providers of the trial.
struct Clouds {
    minimax: Mock,
    aliyun: Mock,
    zhipuai: Mock,
    reelworks: Mock,
    house: Mock,
}

impl Clouds {
    async fn start() -> Self {
        Self {
            minimax: Mock::start(MinimaxCloud).await,
            aliyun: Mock::start(AliyunCloud).await,
            zhipuai: Mock::start(ZhipuaiCloud::default()).await,
            reelworks: Mock::start(ReelworksCloud::taking_any_key()).await,
            house: Mock::start(OpenAiCloud::taking_any_key()).await,
        }
    }

    fn all(&self) -> [&Mock; 5] {
        [&self.minimax, &self.aliyun, &self.zhipuai, &self.reelworks, &self.house]
    }

    /// The file that names them; MiniMax's key is in it, the others' are in the environment.
    fn file(&self, minimax_key: &str) -> String {
        let entry = |name: &str, mock: &Mock, path: &str, rest: &str| {
            let address = format!("{}{path}", mock.base());
            format!(
                "  {name}:\n    base_url: {address}\n    poll: {{ first_seconds: 0.01, most_seconds: 0.02 }}\n    deadline_seconds: 10\n    prices: [{{ per_second: 0.1 }}]\n{rest}"
            )
        };
        let house_models = "[{ model: house-films, kinds: [text_to_video] }, { model: house-pictures, kinds: [text_to_image] }]";
        [
            "currency: EUR\nproviders:\n".to_owned(),
            entry("minimax", &self.minimax, "", &format!("    keys: [{{ key: {minimax_key} }}]\n")),
            entry("aliyun", &self.aliyun, "/api/v1", ""),
            entry("zhipuai", &self.zhipuai, "/api/paas/v4", "    authentication: signed_token\n"),
            entry(
                "reelworks",
                &self.reelworks,
                "/v2",
                "    kind: declared\n    declaration: reelworks.yaml\n    keys: [{ env: REELWORKS_KEY }]\n",
            ),
            entry(
                "house",
                &self.house,
                "/v1",
                &format!("    kind: openai\n    keys: [{{ env: WHAT_OPENS_THE_HOUSE }}]\n    models: {house_models}\n"),
            ),
        ]
        .concat()
    }
}

/// One model of every provider.
const MODELS: [(&str, u32); 5] =
    [("MiniMax-Hailuo-02", 6), ("wan2.6-t2v", 5), ("cogvideox-3", 5), ("reel-1", 5), ("house-films", 4)];

/// The models of pictures: behind a link in the answer, and in it.
const PICTURE_MODELS: [&str; 2] = ["cogview-4", "house-pictures"];

/// A film of every provider is asked for and ends; all that is said of it is noted. Gives how they ended.
fn films(heard: &mut Heard, client: &Client) -> Vec<(String, String)> {
    let bodies = MODELS
        .map(|(model, seconds)| json!({"model": model, "scenes": [{"id": "one", "prompt": "a ship", "duration": seconds}]}));
    let submitted = bodies.map(|body| submit(heard, client, "/api/v1/videos/generate", &body));
    submitted.into_iter().map(|task| (task.clone(), ended(heard, client, "/v1/videos", &task))).collect()
}

/// The same with pictures.
fn pictures(heard: &mut Heard, client: &Client) -> Vec<String> {
    let submitted = PICTURE_MODELS.map(|model| picture(heard, client, model));
    submitted.into_iter().map(|task| ended(heard, client, "/api/v1/tasks", &task)).collect()
}

/// Asks for a picture; its task.
fn picture(heard: &mut Heard, client: &Client, model: &str) -> String {
    submit(heard, client, "/api/v1/images/generate", &json!({"model": model, "prompt": "a ship"}))
}

fn submit(heard: &mut Heard, client: &Client, path: &str, body: &Value) -> String {
    let answer = heard.call(client, "POST", path, Some(body)).expect(202);
    answer.json()["task_id"].as_str().expect("an accepted task has an id").to_owned()
}

/// How a task ended; all that is said of it is noted, also by another API.
fn ended(heard: &mut Heard, client: &Client, other_api: &str, task: &str) -> String {
    for event in Events::open(client, &format!("/api/v1/tasks/{task}/events")) {
        heard.note(format!("an event of {task}"), event.to_string());
    }
    let ended = client.ended(task, JOB_LIMIT);
    for path in [format!("/api/v1/tasks/{task}"), format!("{other_api}/{task}"), format!("/api/v1/tasks/{task}/status")] {
        heard.call(client, "GET", &path, None).expect(200);
    }
    heard.call(client, "GET", &format!("/api/v1/tasks/{task}/result"), None);
    ended.status
}

/// What an unkind provider says: the key that it was sent, in the words of every dialect.
fn echo(mock: &Mock, status: u16) -> Answer {
    let sent = mock.recorded("create").into_iter().next().expect("it was called before");
    let said = format!("Incorrect API key provided: {}", sent.header("authorization"));
    let error = json!({"code": "1000", "message": said, "type": said});
    let base = json!({"status_code": 1004, "status_msg": said});
    Answer::Json(status, json!({"error": error, "code": said, "message": said, "base_resp": base, "data": {"error": error}}))
}

/// The same, as no provider's dialect has it.
fn page(mock: &Mock) -> Answer {
    let sent = mock.recorded("create").into_iter().next().expect("it was called before");
    Answer::Bytes(500, "text/html", format!("<html><pre>{:?}</pre></html>", sent.headers).into_bytes())
}

fn no_secret_shows_itself(store: &Store) {
    let _alone = trial::alone();
    let (runtime, directory) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let clouds = runtime.block_on(Clouds::start());
    let mut canaries = Canaries::new();
    let master_key = canaries.plant("API_MASTER_KEY", "master-*");
    let minimax_key = canaries.plant("a key in providers.yaml", "sk-api-*");
    let mut variables = store.variables();
    for (name, value) in &mut variables {
        assert_eq!(name, "DATABASE_URL");
        // The cluster of the tests takes every password.
        *value = value.replacen('@', &canaries.plant("the password of DATABASE_URL", ":*@"), 1);
    }
    for (name, form) in [
        ("SECRET_KEY", "what-signs-links-*"),
        ("HF_TOKEN", "hf_*"),
        ("ALIYUN_API_KEY", "sk-*"),
        ("ZHIPUAI_API_KEY", "0123456789.*"),
        ("REELWORKS_KEY", "*"),
        ("WHAT_OPENS_THE_HOUSE", "sk-proj-*"),
        ("KLING_SECRET_KEY", "*"),
        ("MINDVIDEO_AUTH_TOKEN_1", "*"),
        ("VIDSME_SALT", "*"),
    ] {
        variables.push((name.to_owned(), canaries.plant(name, form)));
    }
    variables.push(("API_MASTER_KEY".to_owned(), master_key.clone()));
    variables.push(("FRAMEWRIGHT_LOG".to_owned(), "trace".to_owned()));
    let system = "gpu_pool: { devices: [fake], fake: { step_ms: 1 } }\negress: { allow: [127.0.0.1/32] }\n";
    let mut server = Server::new(directory.path(), system, &variables);
    server.write("providers.yaml", &clouds.file(&minimax_key));
    server.write("reelworks.yaml", &ReelworksCloud::declaration().text);
    server.start();
    let (mut heard, administrator) = (Heard::default(), server.administrator().with_key(&master_key));
    let user_key = administrator.make_key("anna");
    canaries.know("a user's key", &user_key);
    let anna = administrator.with_key(&user_key);
    let secret = anna.get("/api/v1/webhooks/secret").expect(200).json()["secret"].as_str().unwrap().to_owned();
    canaries.know("a user's webhook secret", secret.trim_end_matches('='));

    let made = films(&mut heard, &anna);
    assert!(made.iter().all(|(_, status)| status == "completed"), "{made:?}");
    assert_eq!(pictures(&mut heard, &anna), ["completed"; PICTURE_MODELS.len()]);
    let known = made[0].0.clone();
    // A provider that says what it was sent: to the create, to who asks how it goes, and where the film should be. Every time to a
    // server that knows nothing of it yet.
    for (route, status) in [("create", 401), ("create", 400), ("create", 500), ("poll", 401), ("file", 403)] {
        for mock in clouds.all() {
            mock.always(route, if status == 500 { page(mock) } else { echo(mock, status) });
        }
        server.stop();
        server.start();
        let ended = films(&mut heard, &anna);
        trial::say(&format!("secrets: {route} {status}: {ended:?}"));
        assert!(ended.iter().all(|(_, status)| status == "failed"), "{route} {status}: {ended:?}");
        // Pictures come with the create, and one of them without a file to fetch.
        let expected = match route {
            "create" => ["failed", "failed"],
            "poll" => ["completed", "completed"],
            _ => ["failed", "completed"],
        };
        assert_eq!(pictures(&mut heard, &anna), expected, "{route} {status}");
        administration(&mut heard, &administrator);
        for mock in clouds.all() {
            mock.always(route, Answer::Usual);
        }
    }

    // What came with a create is kept while it is fetched.
    let gate = Gate::closed();
    clouds.zhipuai.script("file", [Answer::GatedUsual(gate.clone())]);
    let kept = picture(&mut heard, &anna, PICTURE_MODELS[0]);
    runtime.block_on(gate.reached());
    server.kill();
    let before = heard.0.len();
    heard.files(&directory.path().join("data"));
    heard.dump(store);
    let kept_now = &heard.0[before..];
    assert!(kept_now.iter().any(|(_, bytes)| memmem::find(bytes, b"/files/picture.png?sign=").is_some()), "the link is kept");
    gate.open();
    server.start();
    assert_eq!(ended(&mut heard, &anna, "/api/v1/tasks", &kept), "completed");

    // Keys that are none, where keys may stand.
    let stray = canaries.plant("a key that is not valid", "fw_*");
    let stranger = administrator.with_key(&stray);
    for path in ["/api/v1/tasks", "/v1/models", "/sdapi/v1/options", "/v1/query/video_generation?task_id=1"] {
        heard.call(&stranger, "GET", path, None);
        heard.call(&stranger, "GET", &format!("{path}{}api_key={stray}", if path.contains('?') { '&' } else { '?' }), None);
    }
    // A link's words are the owner's secret: they are kept, since they are needed, and shown in no log.
    let of_link = canaries.plant("a callback's link", "*");
    let body = json!({"prompt": "x", "width": 64, "height": 64, "num_inference_steps": 1, "callback_url": format!("http://127.0.0.1:9/hook?token={of_link}")});
    let task = anna.submit(&body);
    assert!(anna.ended(&task, JOB_LIMIT).is_completed());
    trial::wait_for("the callback was tried", JOB_LIMIT, || {
        let deliveries = anna.get("/api/v1/webhooks/deliveries").expect(200).json();
        deliveries["deliveries"].as_array().is_some_and(|all| all.iter().any(|one| one["tries"] != 0)).then_some(())
    });

    // Files with a secret where something else should be.
    let broken = [
        ("broken-1", "[SECRET]"),
        ("broken-2", "{ SECRET: x }"),
        ("broken-3", "x, SECRET: y"),
        ("broken-4", "x }, SECRET"),
        ("broken-5", "x }, { env: SECRET"),
    ];
    for (index, (name, key)) in broken.into_iter().enumerate() {
        let key = key.replace("SECRET", &canaries.plant(name, "sk-*"));
        // What is said twice is logged once, and so every fault has a line of its own.
        let before_it = "#\n".repeat(index);
        let broken = format!("{before_it}providers:\n  {name}:\n    kind: minimax\n    keys: [{{ key: {key} }}]\n");
        let refusals = || server.log().matches("stays in force").count();
        let before = refusals();
        server.write("providers.yaml", &broken);
        trial::wait_for("the file is refused", JOB_LIMIT, || (refusals() > before).then_some(()));
    }
    let broken = canaries.plant("broken.yaml", "sk-*");
    server.write("broken.yaml", &format!("auth: {{ {broken}: [\n"));
    for (config, arguments) in [
        ("system.yaml", vec!["doctor"]),
        ("system.yaml", vec!["doctor", "--providers"]),
        ("system.yaml", vec!["keys", "list"]),
        ("system.yaml", vec!["generate", "video", "--model", "MiniMax-Hailuo-02", "--prompt", "a ship", "--output", "out.mp4"]),
        ("broken.yaml", vec!["doctor", "--providers"]),
    ] {
        let said = Command::new(trial::binary())
            .args(&arguments)
            .arg("--config")
            .arg(directory.path().join("config").join(config))
            .args(["--data-dir", "data"])
            .current_dir(directory.path())
            .env_clear()
            .env("HOME", directory.path())
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        heard.note(format!("{arguments:?} {config}"), [said.stdout, said.stderr].concat());
    }

    for worker in server.workers() {
        heard.note("the environment of a device worker", fs::read(format!("/proc/{worker}/environ")).unwrap());
    }
    assert!(!server.workers().is_empty());
    administration(&mut heard, &administrator);
    server.stop();
    let log = server.log();
    for line in log.lines() {
        heard.note("the log", line);
    }
    assert!(log.contains("TRACE") && log.contains(&known), "all is logged");
    assert!(heard.files(&directory.path().join("data")) > MODELS.len());
    heard.dump(store);
    let dump: Vec<_> = heard.0.iter().filter(|(what, _)| what.contains("dump") || what.contains("framewright.db")).collect();
    assert!(dump.iter().any(|(_, bytes)| memmem::find(bytes, known.as_bytes()).is_some()), "a dump has the tasks");

    let needles = canaries.needles();
    for (what, bytes) in &heard.0 {
        for place in needles.found_in(bytes) {
            let is_kept = place == "a callback's link" && (what.contains("dump") || what.contains("framewright.db"));
            assert!(
                is_kept,
                "{place} is shown by {what}: {}",
                String::from_utf8_lossy(bytes).chars().take(4000).collect::<String>()
            );
        }
    }
    trial::say(&format!("secrets: {store}: {} places, {} things heard", needles.0.len(), heard.0.len()));
}

/// All that an administrator can ask.
fn administration(heard: &mut Heard, administrator: &Client) {
    for path in [
        "/api/v1/admin/providers",
        "/api/v1/admin/providers/minimax",
        "/api/v1/admin/spend",
        "/api/v1/admin/calls?limit=500",
        "/api/v1/admin/routes",
        "/api/v1/admin/keys",
        "/api/v1/admin/users",
        "/api/v1/admin/queue",
        "/api/v1/webhooks/deliveries",
        "/api/v1/tasks",
        "/api/v1/models",
        "/api/v1/devices",
        "/api/v1/health",
        "/metrics",
    ] {
        heard.call(administrator, "GET", path, None).expect(200);
    }
}

#[test]
fn no_secret_shows_itself_with_sqlite() {
    no_secret_shows_itself(&Store::Sqlite);
}

#[test]
fn no_secret_shows_itself_with_postgres() {
    if let Some(store) = Store::postgres("secrets") {
        no_secret_shows_itself(&store);
    }
}

#[test]
fn a_secret_is_found_in_every_form() {
    let mut canaries = Canaries::new();
    let secret = canaries.plant("a place", "sk-*");
    canaries.plant("another", "sk-*");
    let needles = canaries.needles();
    let encoded = ["", "u:", "u:p", "Bearer "].map(|before| BASE64_STANDARD.encode(format!("{before}{secret}")));
    let parts = [secret[..13].to_owned(), format!("...{}", &secret[secret.len() - 9..])];
    for text in [secret.clone(), hexadecimal(&secret)].iter().chain(&encoded).chain(&parts) {
        assert_eq!(needles.found_in(format!("a {text}, b").as_bytes()), ["a place"], "{text}");
    }
    assert!(needles.found_in(b"nothing of the kind").is_empty());
}
