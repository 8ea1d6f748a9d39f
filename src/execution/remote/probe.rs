//! Whether a provider can be reached, and takes a key: asked by a call that makes nothing.

use super::executor::RemoteExecutor;
use super::sending::{Letter, Purpose, send};
use crate::domain::{AccountKeyId, ProviderId};
use crate::providers::{
    FailureClass, GenerationKind, Known, Polled, Provider, ProviderFailure, RemoteTask, Underway, WireRequest,
};

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
    /// The provider answered as it does where it knows no such task, and did not mind the key.
    Taken,
    /// It refused the key or the account.
    Refused(ProviderFailure),
    /// Something answered, and not in the words of this provider.
    Strange {
        /// Where.
        host: String,
        /// In whose words.
        expected: String,
    },
    /// It could not be reached, or is in trouble.
    Unreachable {
        /// Where.
        host: String,
        /// What went wrong. What it says is about the way there, and may be shown to whoever set the provider up.
        failure: ProviderFailure,
    },
    /// It has no call that can be asked without making something.
    Untold,
}

/// What an answer to the question says of whoever gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Usual,
    Refusing,
    Strange,
    Troubled,
}

/// Judges an answer that a wire read. Errors in a provider's own words have a code or a message; what any web server says has neither.
fn manner(answered: &Result<Polled, ProviderFailure>) -> Manner {
    let failure = match answered {
        Ok(Polled::Underway { unknown_word: Some(_), .. }) => return Manner::Strange,
        Ok(_) => return Manner::Usual,
        Err(failure) => failure,
    };
    let is_told = !(failure.is_unreadable() || failure.has_no_words());
    match failure.class {
        FailureClass::Authentication | FailureClass::Permission | FailureClass::Billing => Manner::Refusing,
        FailureClass::Transient | FailureClass::OutcomeUnknown => Manner::Troubled,
        FailureClass::Upstream => Manner::Strange,
        _ if is_told => Manner::Usual,
        _ => Manner::Strange,
    }
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
        // A service that makes pictures alone answers at once, and may have no tasks that could be asked for.
        let Some((model, kind)) = asked_model(wire) else { return ProbeResult::Untold };
        let task = RemoteTask { id: NO_TASK.to_owned(), model: model.to_owned(), kind };
        let Ok(call) = wire.poll(&task, self.inner.now()) else { return ProbeResult::Untold };
        let known = Known { state: Underway::Queued, polls: 0 };
        let host = address(&call);
        let place = self.inner.large_answers.take(provider);
        let answered = match send(&self.inner.parts.exchange, Letter::of(&call), Purpose::Read, place).await {
            Ok((response, _place)) => wire.read_polled(&task, known, &response.wire()),
            Err(failure) => return ProbeResult::Unreachable { host, failure: lease.without_secrets(failure) },
        };
        match (manner(&answered), answered) {
            (Manner::Refusing, Err(failure)) => ProbeResult::Refused(lease.without_secrets(failure)),
            (Manner::Troubled, Err(failure)) => ProbeResult::Unreachable { host, failure: lease.without_secrets(failure) },
            (Manner::Strange, _) => ProbeResult::Strange { host, expected: wire.name().to_owned() },
            _ => ProbeResult::Taken,
        }
    }
}

/// The first model of films, or the first of all, and what it makes.
fn asked_model(wire: &dyn Provider) -> Option<(&str, GenerationKind)> {
    let all = || wire.models().iter().filter_map(|model| Some((model.name, model.modes.first()?.kind)));
    all().find(|(_, kind)| *kind != GenerationKind::TextToImage).or_else(|| all().next())
}

/// The host of a call, with its port where that is not the usual one.
fn address(call: &WireRequest) -> String {
    let host = call.url.host_str().unwrap_or_default();
    call.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_an_unknown_task_shows_who_answers() {
        let failed = |class, code: &str, message: &str| Err(ProviderFailure::new(class, code, message));
        let unknown_word =
            Polled::Underway { state: Underway::Queued, progress_percent: None, unknown_word: Some("ok".to_owned()) };
        for (answered, expected) in [
            (Ok(Polled::Underway { state: Underway::Queued, progress_percent: None, unknown_word: None }), Manner::Usual),
            (Ok(Polled::Cancelled { is_billed: false }), Manner::Usual),
            (Ok(unknown_word), Manner::Strange),
            (failed(FailureClass::InvalidRequest, "1027", ""), Manner::Usual),
            (failed(FailureClass::InvalidRequest, "http_404", "Task not found"), Manner::Usual),
            (failed(FailureClass::RateLimit, "Throttling", "slower"), Manner::Usual),
            (failed(FailureClass::InvalidRequest, "http_404", ""), Manner::Strange),
            (failed(FailureClass::InvalidRequest, "unreadable_answer", "the answer is not JSON"), Manner::Strange),
            (failed(FailureClass::Upstream, "unreadable_answer", "the answer has no status"), Manner::Strange),
            (failed(FailureClass::Upstream, "upstream_blocked", "a page"), Manner::Strange),
            (failed(FailureClass::Authentication, "1004", "login fail"), Manner::Refusing),
            (failed(FailureClass::Billing, "http_402", ""), Manner::Refusing),
            (failed(FailureClass::Transient, "unreadable_answer", "the answer is not JSON"), Manner::Troubled),
        ] {
            assert_eq!(manner(&answered), expected, "{answered:?}");
        }
    }
}
