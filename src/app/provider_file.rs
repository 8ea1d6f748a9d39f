//! Opens what speaks with providers.

use std::sync::Arc;

use super::{ServeError, remarks};
use crate::config::providers::read_declaration;
use crate::domain::{Clock, JobObserver, ProviderSettings};
use crate::execution::remote::{CallbackAddresses, RemoteExecutor, RemoteParts};
use crate::ledger::Ledger;
use crate::net::egress::Egress;
use crate::net::exchange::Exchange;
use crate::storage::ArtifactStorage;

/// Opens the executor of providers.
pub(super) fn open(
    settings: &ProviderSettings,
    ledger: Arc<dyn Ledger>,
    storage: ArtifactStorage,
    egress: Egress,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn JobObserver>,
    callbacks: Option<CallbackAddresses>,
) -> Result<RemoteExecutor, ServeError> {
    let parts = RemoteParts { ledger, storage, egress, exchange: Exchange::new()?, clock, observer, callbacks, read_declaration };
    let executor = RemoteExecutor::new(settings, parts)?;
    for status in executor.statuses() {
        let (provider, keys, health) = (&status.provider, status.keys.len(), status.health.as_str());
        tracing::info!(%provider, keys, health, "Provider {provider}: {health}, with {keys} keys");
    }
    remarks::log(&executor.remarks());
    Ok(executor)
}
