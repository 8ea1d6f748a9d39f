//! A kind of provider, with all that the tests that hold of every kind must know of it.

use std::sync::Arc;

use framewright::domain::{Clock, ProviderEntry, ProviderKind, ProviderSettings, RemoteRequest};
use framewright::providers::FailureClass;
use secrecy::SecretString;
use serde_json::Value;

use crate::providers::{Answer, Cloud, KNOWN_KEYS, Mock, Recorded, secret_of_key};
use crate::stage::{Stage, id, settings};

/// What stands in an answer where a provider might repeat the key that it does not like.
pub(crate) const KEY_HERE: &str = "{key}";

/// An answer, what it is called in messages of tests, and the class of failure that it is.
pub(crate) type Failing = (&'static str, Answer, FailureClass);

/// Where a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResultPlace {
    /// In an answer.
    Inside,
    /// Behind a link that stays the same.
    OneLink,
    /// Behind links that are others with every look.
    FreshLinks,
}

/// The cancellation of a task that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhileRunning {
    /// Is what it is before.
    AsBefore,
    /// Is taken, and nobody says whether it is heeded: the task is billed.
    Billed,
    /// Is not asked for: the task is billed.
    NotAsked,
}

/// A kind, with all that the tests must know of it.
pub(crate) struct Subject {
    /// What it is called in the names of snapshots: its kind, and which of its subjects it is where the kind has several.
    pub(crate) name: &'static str,
    /// The kind.
    pub(crate) kind: ProviderKind,
    /// Its cloud, which looks at signatures by this clock. It knows [`KNOWN_KEYS`].
    pub(crate) cloud: fn(Arc<dyn Clock>) -> Box<dyn Cloud>,
    /// Sets what the provider's entry has beside keys and prices; the text is the cloud's address, to which a base URL may add a path.
    pub(crate) configure: fn(&mut ProviderEntry, &str),
    /// What is asked for.
    pub(crate) request: RemoteRequest,
    /// What that costs at 0.1 a second and 0.02 a picture, millionths: estimated, and in the end.
    pub(crate) cost: (i64, i64),
    /// How often the task is looked at. Nothing, where results come with the call.
    pub(crate) polls: usize,
    /// Calls between the last look and the file.
    pub(crate) fetches: usize,
    /// Where the result is.
    pub(crate) result: ResultPlace,
    /// Whether it is fetched with the key.
    pub(crate) file_needs_key: bool,
    /// Whether creates carry an id of ours that the provider knows.
    pub(crate) knows_our_id: bool,
    /// The name of the key that a request carries; empty where it carries none.
    pub(crate) key_of: fn(&Recorded) -> String,
    /// Headers, and fields of queries and bodies, that are secret or other ones with every call.
    pub(crate) hidden: &'static [&'static str],
    /// What creates may be answered. A message may have [`KEY_HERE`] in it.
    pub(crate) refusals: Vec<Failing>,
    /// What a create is answered when there are too many.
    pub(crate) too_many: Answer,
    /// What looks at a task are answered that has failed.
    pub(crate) task_failures: Vec<Failing>,
    /// What looks are answered that say nothing of the task's fate: it is looked at again.
    pub(crate) puzzles: Vec<Answer>,
    /// What a look is answered that will never say more.
    pub(crate) lost_sight: Option<Answer>,
    /// What a cancellation is answered, and whether the task is free then. Empty, where the kind has none.
    pub(crate) cancellations: Vec<(Answer, bool)>,
    /// What is different once the task runs.
    pub(crate) while_running: WhileRunning,
}

impl Subject {
    /// A stage, and the cloud.
    pub(crate) async fn start(&self) -> (Stage, Mock) {
        let stage = Stage::new().await;
        let mock = Mock::start_boxed((self.cloud)(stage.clock.clone())).await;
        (stage, mock)
    }

    /// The provider at its cloud, with keys of these names.
    pub(crate) fn settings(&self, mock: &Mock, keys: &[(&str, Option<u32>)]) -> ProviderSettings {
        let mut settings = settings(mock, self.kind, keys);
        let entry = settings.providers.get_mut(&id(self.kind)).unwrap();
        for key in &mut entry.keys {
            key.secret = SecretString::from(secret_of_key(key.id.as_str()));
        }
        (self.configure)(entry, mock.base());
        settings
    }

    /// An answer in which the provider repeats the key.
    pub(crate) fn repeating_the_key(answer: &Answer) -> Answer {
        let with_key =
            |value: &Value| serde_json::from_str(&value.to_string().replace(KEY_HERE, &secret_of_key(KNOWN_KEYS[0]))).unwrap();
        match answer {
            Answer::Json(status, value) => Answer::Json(*status, with_key(value)),
            Answer::JsonWith(status, name, header, value) => Answer::JsonWith(*status, name, header.clone(), with_key(value)),
            other => other.clone(),
        }
    }

    /// An answer with which a provider asks for so long a pause.
    pub(crate) fn after(answer: &Answer, seconds: &str) -> Answer {
        match answer {
            Answer::Json(status, value) => Answer::JsonWith(*status, "retry-after", seconds.to_owned(), value.clone()),
            other => other.clone(),
        }
    }

    /// The names of the keys that requests carry.
    pub(crate) fn keys(&self, recorded: &[Recorded]) -> Vec<String> {
        recorded.iter().map(self.key_of).collect()
    }

    /// The route of a task's looks; of a kind without tasks that of its creates.
    pub(crate) fn long_route(&self) -> &'static str {
        if self.polls > 0 { "poll" } else { "create" }
    }
}
