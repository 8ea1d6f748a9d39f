//! Opens what speaks with providers, and takes the changed file of providers while the server runs.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::ServeError;
use crate::config::providers::{ProviderChange, ProviderFile};
use crate::domain::{Clock, JobObserver, ProviderSettings};
use crate::execution::remote::{RemoteExecutor, RemoteParts};
use crate::ledger::Ledger;
use crate::net::egress::Egress;
use crate::net::exchange::Exchange;
use crate::storage::ArtifactStorage;

/// How often the file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Opens the executor of providers.
pub(super) fn open(
    settings: &ProviderSettings,
    ledger: Arc<dyn Ledger>,
    storage: ArtifactStorage,
    egress: Egress,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn JobObserver>,
) -> Result<RemoteExecutor, ServeError> {
    let parts = RemoteParts { ledger, storage, egress, exchange: Exchange::new()?, clock, observer };
    let executor = RemoteExecutor::new(settings, parts)?;
    for status in executor.statuses() {
        let (provider, keys, health) = (&status.provider, status.keys.len(), status.health.as_str());
        tracing::info!(%provider, keys, health, "Provider {provider}: {health}, with {keys} keys");
    }
    Ok(executor)
}

/// Puts what the file says in force whenever it changes, until `shutdown`; a broken file, or one whose accounts cannot be opened, leaves
/// what was in force and says so.
pub(super) async fn follow(mut file: ProviderFile, executor: RemoteExecutor, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            let change = file.changed();
            (file, change)
        });
        let Ok((same_file, change)) = looked.await else {
            tracing::error!("Looking at providers.yaml panicked; changes there are not seen until the next start");
            return;
        };
        file = same_file;
        match change {
            Some(ProviderChange::Settings(settings)) => match executor.replace(&settings) {
                Ok(()) => {
                    let providers = settings.providers.len();
                    tracing::info!(providers, "Took the changed file of {providers} providers");
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "The providers stay as they were: {error}");
                    file.refuse(error.to_string());
                }
            },
            Some(ProviderChange::Broken(error)) => {
                tracing::error!(%error, "The providers stay as they were: {error}");
            }
            None => {}
        }
    }
}
