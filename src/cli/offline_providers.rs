//! The configured providers without a server: what is written down of calls to them ends with this process.

use std::path::PathBuf;
use std::sync::Arc;

use super::failure::{OrFail, Outcome};
use super::generate::WorkDirectory;
use crate::config::Config;
use crate::config::providers::read_declaration;
use crate::database::Database;
use crate::domain::{SystemClock, Unobserved};
use crate::execution::remote::{RemoteExecutor, RemoteParts};
use crate::ledger;
use crate::net::egress::{Egress, EgressPolicy};
use crate::net::exchange::Exchange;
use crate::storage::ArtifactStorage;

/// Where results are, in the directory of a run.
const STORAGE: &str = "storage";

/// The providers, and where their results go.
pub(super) struct OfflineProviders {
    /// Who speaks with them.
    pub(super) executor: RemoteExecutor,
    /// Where results are kept until they are taken.
    pub(super) storage: ArtifactStorage,
    /// Holds ledger and storage; removed at the end.
    directory: WorkDirectory,
}

impl OfflineProviders {
    /// Removes nothing at the end: the directory of the results.
    pub(super) fn keep(self) -> PathBuf {
        self.directory.keep().join(STORAGE)
    }
}

/// Opens those that the configuration names.
pub(super) async fn open(config: &Config) -> Outcome<OfflineProviders> {
    let settings = config.providers.load().or_fail()?;
    let directory = WorkDirectory::make()?;
    let storage = ArtifactStorage::local(&directory.0.join(STORAGE)).or_fail()?;
    let database = Database::open(directory.0.join("calls.db").as_path()).await.or_fail()?;
    let policy = EgressPolicy::new(config.egress.allow.clone()).closed_to(config.egress.deny.clone());
    let parts = RemoteParts {
        ledger: ledger::open(&database),
        storage: storage.clone(),
        egress: Egress::new(policy).or_fail()?,
        exchange: Exchange::new().or_fail()?,
        clock: Arc::new(SystemClock),
        observer: Arc::new(Unobserved),
        callbacks: None,
        read_declaration,
    };
    let executor = RemoteExecutor::new(&settings, parts).or_fail()?;
    Ok(OfflineProviders { executor, storage, directory })
}
