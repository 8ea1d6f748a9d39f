//! What is probably not meant in the files of providers and routes, for the log and for whoever looks at the configuration.

use std::collections::BTreeMap;

use crate::domain::{ModelId, ProviderId};
use crate::execution::remote::{ProviderHealth, RemoteExecutor};
use crate::models::ModelCatalog;
use crate::routes::{self, Route, Surroundings};

/// One line for each thing that routes say and that is probably not meant.
pub fn of_routes(routes: &BTreeMap<ModelId, Route>, remote: &RemoteExecutor, models: &ModelCatalog) -> Vec<String> {
    let used = remote.statuses().into_iter().filter(|status| status.health != ProviderHealth::Off);
    let providers: Vec<ProviderId> = used.map(|status| status.provider).collect();
    let installed: Vec<ModelId> = models.list().into_iter().map(|model| model.id).collect();
    let is_offered = |provider: &ProviderId, model: &ModelId| remote.provider_model(provider, model.as_str()).is_some();
    routes::remarks(routes, &Surroundings { providers: &providers, is_offered: &is_offered, installed: &installed })
}

/// Writes remarks into the log.
pub(super) fn log(remarks: &[String]) {
    for remark in remarks {
        tracing::warn!("{remark}");
    }
}
