//! The servers of a run and what they share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::database::Store;
use crate::support::server::{MASTER_KEY, Server};

/// Who submits.
pub(super) const USERS: [&str; 4] = ["anna", "boris", "chloe", "dora"];
/// What some of it is for.
pub(super) const PROJECT: &str = "film";

/// One server on SQLite, or two that share a PostgreSQL database and a storage directory.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) servers: Vec<Mutex<Server>>,
    pub(super) store: Store,
    /// Sees everything, through any server.
    pub(super) administrator: Client,
    /// By user.
    pub(super) clients: BTreeMap<&'static str, Client>,
    directory: TempDir,
}

impl Cluster {
    /// Starts everything. Quotas are such that some of `jobs` are refused.
    pub(super) fn start(store: Store, jobs: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let number = if matches!(store, Store::Sqlite) { 1 } else { 2 };
        let servers: Vec<Server> = (0..number)
            .map(|index| {
                let yaml = system_file(&directory.path().join("outputs"));
                let server = Server::new(&directory.path().join(format!("server-{index}")), &yaml, &store.variables());
                server.write("users/anna.yaml", &format!("quotas: {{images_per_day: {}}}\n", jobs / 4));
                server.write("users/boris.yaml", "limits: {max_concurrent_jobs: 2}\n");
                server.write("users/dora.yaml", "limits: {priority: 10, weight: 2.0}\n");
                server.write(&format!("projects/{PROJECT}.yaml"), &format!("quotas: {{images_per_day: {}}}\n", jobs / 3));
                server
            })
            .collect();
        let addresses: Vec<_> = servers.iter().map(Server::address).collect();
        let administrator = Client::new(&addresses, MASTER_KEY);
        let mut cluster = Self {
            servers: servers.into_iter().map(Mutex::new).collect(),
            store,
            administrator,
            clients: BTreeMap::new(),
            directory,
        };
        // All at once: servers must be able to prepare an empty database together.
        cluster.start_all();
        for user in USERS {
            let key = cluster.administrator.make_key(user);
            cluster.clients.insert(user, cluster.administrator.with_key(&key));
        }
        cluster
    }

    /// Starts what does not run, and waits until all servers are healthy.
    pub(super) fn start_all(&self) {
        if let Store::Postgres(postgres, _) = &self.store {
            postgres.start();
        }
        for server in &self.servers {
            let mut server = server.lock();
            if server.pid().is_none() || server.ended().is_some() {
                server.spawn();
            }
        }
        for server in &self.servers {
            server.lock().wait_until_healthy();
        }
    }

    pub(super) fn stop_all(&self) {
        for server in &self.servers {
            server.lock().stop();
        }
    }

    /// Where all servers keep their results.
    pub(super) fn outputs(&self) -> PathBuf {
        self.directory.path().join("outputs")
    }

    /// Work directories that no task needs any more.
    pub(super) fn work_left(&self) -> Vec<PathBuf> {
        self.servers.iter().flat_map(|server| server.lock().work_left()).collect()
    }
}

fn system_file(outputs: &Path) -> String {
    format!(
        "gpu_pool: {{devices: [fake, fake, fake, fake], stall_seconds: 20, fake: {{step_ms: 40}}}}\n\
         storage: {{type: local, base_path: {}}}\n\
         database: {{lease_seconds: 2}}\n\
         log: {{filter: \"info,framewright::api=warn\"}}\n",
        outputs.display()
    )
}
