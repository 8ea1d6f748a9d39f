//! A framewright server as a process, with its files in a directory of their own.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::client::Client;
use super::http::{Connection, request};
use super::{processes, trial};

/// The administrator's key of every server of the trials.
pub(crate) const MASTER_KEY: &str = "the administrator of the trials";
/// Signs links and tokens; servers that share a store share it.
const SECRET_KEY: &str = "what signs the links of the trials";
/// How long a server may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(90);
/// Lines of its log that a failure shows.
const LOG_LINES: usize = 30;

/// A server, running or not.
#[derive(Debug)]
pub(crate) struct Server {
    directory: PathBuf,
    data: PathBuf,
    address: SocketAddr,
    variables: Vec<(String, String)>,
    child: Option<Child>,
}

impl Server {
    /// A server that is not started yet. `directory` gets `config/system.yaml` with the text `yaml`, `data/` and `server.log`.
    pub(crate) fn new(directory: &Path, yaml: &str, variables: &[(String, String)]) -> Self {
        let config = directory.join("config");
        fs::create_dir_all(&config).unwrap();
        fs::write(config.join("system.yaml"), yaml).unwrap();
        Self {
            directory: directory.to_owned(),
            data: directory.join("data"),
            address: free_address(),
            variables: variables.to_vec(),
            child: None,
        }
    }

    /// Writes a file beside the system file, as an editor does: `users/anna.yaml`.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.directory.join("config").join(name);
        fs::create_dir_all(path.parent().expect("it has a directory")).unwrap();
        let written = path.with_extension("written");
        fs::write(&written, text).unwrap();
        fs::rename(written, path).unwrap();
    }

    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same server with its data directory elsewhere.
    pub(crate) fn with_data(mut self, data: PathBuf) -> Self {
        self.data = data;
        self
    }

    /// Its storage, unless the system file says otherwise.
    pub(crate) fn outputs(&self) -> PathBuf {
        self.data.join("outputs")
    }

    /// Its own store, where it has no other.
    pub(crate) fn database(&self) -> PathBuf {
        self.data.join("framewright.db")
    }

    /// The work directories of tasks that are under way, or were.
    pub(crate) fn work_left(&self) -> Vec<PathBuf> {
        fs::read_dir(self.data.join("work"))
            .map_or_else(|_| Vec::new(), |entries| entries.flatten().map(|entry| entry.path()).collect())
    }

    /// A caller with the administrator's key.
    pub(crate) fn administrator(&self) -> Client {
        Client::new(&[self.address], MASTER_KEY)
    }

    /// A caller with a new key of a user.
    pub(crate) fn user(&self, user: &str) -> Client {
        let administrator = self.administrator();
        administrator.with_key(&administrator.make_key(user))
    }

    /// Starts the process and does not wait for anything.
    pub(crate) fn spawn(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let child = Command::new(trial::binary())
            .arg("serve")
            .arg("--config")
            .arg(self.directory.join("config/system.yaml"))
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--listen", &self.address.to_string()])
            .current_dir(&self.directory)
            .env_clear()
            .env("HOME", &self.directory)
            .env("API_MASTER_KEY", MASTER_KEY)
            .env("SECRET_KEY", SECRET_KEY)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server's binary can be run");
        self.child = Some(child);
    }

    /// Starts the process and waits until it is healthy; gives how long that took.
    pub(crate) fn start(&mut self) -> Duration {
        let begun = Instant::now();
        self.spawn();
        self.wait_until_healthy();
        begun.elapsed()
    }

    pub(crate) fn wait_until_healthy(&mut self) {
        trial::wait_for("the server is healthy", PATIENCE, || {
            if let Some(status) = self.ended() {
                panic!("the server ended with {status}");
            }
            self.is_healthy().then_some(())
        });
    }

    pub(crate) fn is_healthy(&self) -> bool {
        let ask = || {
            let mut connection = Connection::open(self.address, Duration::from_secs(5))?;
            connection.call(&request("GET", "/api/v1/health", None, None, None))
        };
        ask().is_ok_and(|answer| answer.status == 200)
    }

    /// The status of a process that has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().unwrap())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its device workers.
    pub(crate) fn workers(&self) -> Vec<u32> {
        self.pid().map(processes::workers).unwrap_or_default()
    }

    /// Kills the process at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop, and waits.
    pub(crate) fn stop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process has a number");
        kill_process(pid, Signal::TERM).unwrap();
        let status = trial::wait_for("the server has stopped", PATIENCE, || child.try_wait().unwrap());
        self.child = None;
        assert!(status.success(), "the server stopped with {status}");
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("server.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let kept = std::env::temp_dir().join(format!("framewright-trial-{}.log", self.address.port()));
            let _ = fs::copy(self.log_path(), &kept);
            trial::say(&format!("the log is kept in {}; it ends with:", kept.display()));
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                trial::say(&format!("  {line}"));
            }
        }
        let workers = self.workers();
        self.kill();
        // They end by themselves, and would otherwise disturb what is measured next.
        let begun = Instant::now();
        while workers.iter().any(|pid| processes::is_alive(*pid)) && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// An address that nobody listens on and no other server of the trials got. Below the ports that the system gives to clients: a client
/// that knocks at a dead server's port could be given that very port, and answer itself.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 100) as u16 * 100;
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    let candidates = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed)).take(1000);
    candidates.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).find(is_free).expect("some port is free")
}
