//! What the operator says of providers: which there are, with which accounts, and what they cost. Plain data, from `providers.yaml` and the
//! environment.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::frame::Tier;
use super::ids::{AccountKeyId, ModelId, ProviderId};
use super::money::Micros;

/// Kinds of providers: each is a way to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderKind {
    /// Aliyun's DashScope.
    Aliyun,
    /// Zhipu's platform.
    Zhipuai,
    /// MiniMax.
    Minimax,
}

/// A setting that only some kinds have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindSetting {
    /// Its key in the file.
    pub name: &'static str,
    /// The words that it may be; empty where it is a text of the operator's.
    pub words: &'static [&'static str],
    /// Whether it is a secret.
    pub is_secret: bool,
}

const fn word(name: &'static str, words: &'static [&'static str]) -> KindSetting {
    KindSetting { name, words, is_secret: false }
}

const fn text(name: &'static str) -> KindSetting {
    KindSetting { name, words: &[], is_secret: false }
}

impl ProviderKind {
    /// All of them. A new one is a row here and in the functions below, and an arm where accounts are opened.
    pub const ALL: [Self; 3] = [Self::Aliyun, Self::Zhipuai, Self::Minimax];

    /// The word in the file; a provider of this name is of this kind unless it says otherwise.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aliyun => "aliyun",
            Self::Zhipuai => "zhipuai",
            Self::Minimax => "minimax",
        }
    }

    /// The settings that this kind has beside those that all have.
    pub const fn settings(self) -> &'static [KindSetting] {
        const ALIYUN: &[KindSetting] = &[word("region", &["beijing", "singapore", "virginia"]), text("workspace")];
        const ZHIPUAI: &[KindSetting] =
            &[word("site", &["china", "international"]), word("authentication", &["key", "signed_token"])];
        const MINIMAX: &[KindSetting] = &[word("site", &["china", "international"]), text("group_id")];
        match self {
            Self::Aliyun => ALIYUN,
            Self::Zhipuai => ZHIPUAI,
            Self::Minimax => MINIMAX,
        }
    }

    /// Whether keys are enough: a provider of which there are keys is used without a word in the file.
    pub const fn is_enabled_by_keys(self) -> bool {
        match self {
            Self::Aliyun | Self::Zhipuai | Self::Minimax => true,
        }
    }

    /// The variable of the environment that holds its key, where the file names none.
    pub const fn key_variable(self) -> Option<&'static str> {
        match self {
            Self::Aliyun => Some("ALIYUN_API_KEY"),
            Self::Zhipuai => Some("ZHIPUAI_API_KEY"),
            Self::Minimax => Some("MINIMAX_API_KEY"),
        }
    }
}

impl ProviderKind {
    /// The variable of the environment that names its address, as its own tools have it, where the file names none.
    pub const fn address_variable(self) -> Option<&'static str> {
        match self {
            Self::Aliyun => Some("DASHSCOPE_HTTP_BASE_URL"),
            Self::Zhipuai => Some("ZHIPUAI_BASE_URL"),
            Self::Minimax => Some("MINIMAX_API_HOST"),
        }
    }
}

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
    /// Where its API is; absent: at the kind's usual address.
    pub base_url: Option<String>,
    /// The settings of its kind.
    pub settings: BTreeMap<&'static str, String>,
    /// Those of them that are secrets.
    pub secrets: BTreeMap<&'static str, SecretString>,
    /// Its accounts' keys, in the order in which they take turns.
    pub keys: Vec<AccountKey>,
    /// The models that are offered; empty: all that there are.
    pub models: Vec<OfferedName>,
    /// What it costs.
    pub prices: Vec<Price>,
    /// How long a task may take, seconds; absent: as the kind says.
    pub deadline_seconds: Option<u32>,
    /// How often its tasks are looked after.
    pub poll: PollSettings,
    /// Whether it bills tasks that fail.
    pub bills_failures: bool,
}

impl ProviderEntry {
    /// A provider of a kind, with nothing said of it.
    pub fn of_kind(kind: ProviderKind) -> Self {
        Self {
            kind,
            is_enabled: false,
            base_url: None,
            settings: BTreeMap::new(),
            secrets: BTreeMap::new(),
            keys: Vec::new(),
            models: Vec::new(),
            prices: Vec::new(),
            deadline_seconds: None,
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
