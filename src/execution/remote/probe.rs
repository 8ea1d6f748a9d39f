//! Whether a provider can be reached, and takes a key: asked by a call that makes nothing.

use super::executor::RemoteExecutor;
use super::sending::{Purpose, send};
use crate::domain::{AccountKeyId, ProviderId};
use crate::providers::{FailureClass, GenerationKind, Known, ProviderFailure, RemoteTask, Underway};

/// A task that no provider ever made.
const NO_TASK: &str = "00000000-0000-4000-8000-000000000000";

/// What was found of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whose key.
    pub provider: ProviderId,
    /// Which.
    pub key: AccountKeyId,
    /// What came of it.
    pub result: ProbeResult,
}

/// What came of asking after a task that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The provider answered, and did not mind the key.
    Taken,
    /// It refused the key or the account.
    Refused(ProviderFailure),
    /// It could not be reached, or answered nonsense.
    Unreachable(ProviderFailure),
    /// It has no call that can be asked without making something.
    Untold,
}

impl RemoteExecutor {
    /// Asks every provider that is used, with each of its keys, after a task that is not there. Nothing is made, and nothing is billed.
    pub async fn probe(&self) -> Vec<Probe> {
        let mut probes = Vec::new();
        for status in self.statuses() {
            for key in status.keys {
                let result = self.probe_key(&status.provider, &key.id).await;
                probes.push(Probe { provider: status.provider.clone(), key: key.id, result });
            }
        }
        probes
    }

    async fn probe_key(&self, provider: &ProviderId, key: &AccountKeyId) -> ProbeResult {
        let lease = self.inner.station(provider).filter(|station| station.is_used()).and_then(|station| station.hold(key));
        let Some(lease) = lease else { return ProbeResult::Untold };
        let wire = lease.provider();
        let Some(model) = wire.models().first() else { return ProbeResult::Untold };
        let kind = model.modes.first().map_or(GenerationKind::TextToVideo, |mode| mode.kind);
        let task = RemoteTask { id: NO_TASK.to_owned(), model: model.name.to_owned(), kind };
        let Ok(call) = wire.poll(&task, self.inner.now()) else { return ProbeResult::Untold };
        let known = Known { state: Underway::Queued, polls: 0 };
        let answered = send(&self.inner.parts.exchange, &call, Purpose::Read).await;
        match answered.and_then(|response| wire.read_polled(&task, known, &response.wire())) {
            Ok(_) => ProbeResult::Taken,
            Err(failure) => match failure.class {
                FailureClass::Authentication | FailureClass::Permission | FailureClass::Billing => ProbeResult::Refused(failure),
                FailureClass::Transient | FailureClass::Upstream | FailureClass::OutcomeUnknown => {
                    ProbeResult::Unreachable(failure)
                }
                _ => ProbeResult::Taken,
            },
        }
    }
}
