//! What the operator says of providers: which there are, with which accounts, and what they cost. Plain data, from `providers.yaml` and the
//! environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use super::frame::Tier;
use super::ids::{AccountKeyId, ModelId, ProviderId};
use super::money::Micros;
use super::provider_kind::ProviderKind;
use super::told_model::ToldModel;

/// A key of an account.
#[derive(Clone, Debug)]
pub struct AccountKey {
    /// What it is called in logs, in the database and by administrators.
    pub id: AccountKeyId,
    /// The key.
    pub secret: SecretString,
    /// Most tasks at once; without: as many as come.
    pub max_concurrent: Option<u32>,
}

/// A model of the allow-list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedName {
    /// What clients call it.
    pub id: ModelId,
    /// What the provider calls it.
    pub name: String,
    /// What is told of it.
    pub told: ToldModel,
}

/// A file that declares how a provider speaks, not yet understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclarationFile {
    /// Where it is.
    pub path: PathBuf,
    /// What stands in it.
    pub text: Arc<str>,
}

/// What something costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// The provider's name of the model; absent: any.
    pub model: Option<String>,
    /// The tier of sizes; absent: any.
    pub tier: Option<Tier>,
    /// A second of film.
    pub per_second: Micros,
    /// A picture.
    pub per_picture: Micros,
    /// A request, whatever it is for.
    pub per_request: Micros,
}

/// How often tasks are looked after, where it is not as the provider advises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollSettings {
    /// Pause before the first look, milliseconds.
    pub first_pause_ms: Option<u32>,
    /// Longest pause, milliseconds.
    pub most_pause_ms: Option<u32>,
}

/// A provider.
#[derive(Clone, Debug)]
pub struct ProviderEntry {
    /// How it speaks.
    pub kind: ProviderKind,
    /// Whether it is used.
    pub is_enabled: bool,
    /// Whether it is not used because there is no key alone.
    pub lacks_key: bool,
    /// The environment's variable that is its key where the file has none.
    pub key_variable: Option<&'static str>,
    /// Where its API is; absent: at the kind's usual address.
    pub base_url: Option<String>,
    /// The settings of its kind.
    pub settings: BTreeMap<&'static str, String>,
    /// Those of them that are secrets.
    pub secrets: BTreeMap<&'static str, SecretString>,
    /// How it speaks, where a file says so.
    pub declaration: Option<DeclarationFile>,
    /// Its accounts' keys, in the order in which they take turns.
    pub keys: Vec<AccountKey>,
    /// The models that are offered; empty: all that there are.
    pub models: Vec<OfferedName>,
    /// What it costs.
    pub prices: Vec<Price>,
    /// How long a task may take, seconds; absent: as the kind says.
    pub deadline_seconds: Option<u32>,
    /// How long a task may wait for its turn, seconds; absent: as long as keys are merely busy, and, where every key rests or the provider
    /// fails, as long as a task may take.
    pub start_within_seconds: Option<u32>,
    /// How often its tasks are looked after.
    pub poll: PollSettings,
    /// Whether it bills tasks that fail.
    pub bills_failures: bool,
}

impl ProviderEntry {
    /// What gives a key to one that lacks it: `set NAME, or name one under keys`.
    pub fn key_remedy(&self) -> String {
        let variable = self.key_variable.map_or_else(String::new, |name| format!("set {name}, or "));
        format!("{variable}name one under keys")
    }

    /// A provider of a kind, with nothing said of it.
    pub fn of_kind(kind: ProviderKind) -> Self {
        Self {
            kind,
            is_enabled: false,
            lacks_key: false,
            key_variable: kind.key_variable(),
            base_url: None,
            settings: BTreeMap::new(),
            secrets: BTreeMap::new(),
            declaration: None,
            keys: Vec::new(),
            models: Vec::new(),
            prices: Vec::new(),
            deadline_seconds: None,
            start_within_seconds: None,
            poll: PollSettings::default(),
            bills_failures: false,
        }
    }

    /// A setting of its kind.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }
}

/// All that is said of providers.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// The currency of all prices, as `USD`.
    pub currency: String,
    /// The providers, by name.
    pub providers: BTreeMap<ProviderId, ProviderEntry>,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self { currency: "USD".to_owned(), providers: BTreeMap::new() }
    }
}
