//! The file as people write it.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::model::ModelSection;
use crate::config::number::{Positive, Whole};
use crate::domain::{AccountKeyId, Micros, ProviderId, ProviderKind, Tier};

/// `providers.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProvidersDocument {
    pub(super) currency: Option<Currency>,
    pub(super) providers: BTreeMap<ProviderId, ProviderSection>,
}

/// A provider. Settings that only some kinds have are all here, so that a key of no kind is refused where it stands.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProviderSection {
    pub(super) kind: Option<KindWord>,
    pub(super) enabled: Option<bool>,
    pub(super) base_url: Option<BaseUrl>,
    pub(super) region: Option<String>,
    pub(super) site: Option<String>,
    pub(super) workspace: Option<String>,
    pub(super) group_id: Option<String>,
    pub(super) authentication: Option<String>,
    pub(super) declaration: Option<String>,
    pub(super) organization: Option<String>,
    pub(super) project: Option<String>,
    pub(super) access_key: Option<String>,
    pub(super) app_key: Option<SecretString>,
    pub(super) language: Option<String>,
    pub(super) version: Option<String>,
    pub(super) visibility: Option<String>,
    pub(super) app_id: Option<String>,
    pub(super) salt: Option<SecretString>,
    pub(super) public_key: Option<String>,
    pub(super) pictures_url: Option<String>,
    pub(super) keys: Vec<KeySection>,
    pub(super) models: Vec<ModelSection>,
    pub(super) prices: Vec<PriceSection>,
    pub(super) deadline_seconds: Option<Whole<10, 86_400>>,
    pub(super) start_within_seconds: Option<Whole<10, 86_400>>,
    pub(super) poll: PollSection,
    pub(super) bills_failures: bool,
}

impl ProviderSection {
    /// The settings of kinds that are set, all as if they were secrets.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&'static str, SecretString)> {
        let texts = [
            ("region", &self.region),
            ("site", &self.site),
            ("workspace", &self.workspace),
            ("group_id", &self.group_id),
            ("authentication", &self.authentication),
            ("declaration", &self.declaration),
            ("organization", &self.organization),
            ("project", &self.project),
            ("access_key", &self.access_key),
            ("language", &self.language),
            ("version", &self.version),
            ("visibility", &self.visibility),
            ("app_id", &self.app_id),
            ("public_key", &self.public_key),
            ("pictures_url", &self.pictures_url),
        ];
        let texts = texts.into_iter().map(|(name, text)| (name, text.as_deref().map(SecretString::from)));
        let secrets = [("app_key", self.app_key.clone()), ("salt", self.salt.clone())];
        texts.chain(secrets).filter_map(|(name, value)| Some((name, value?)))
    }
}

/// A key, or where it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeySection {
    pub(super) id: Option<AccountKeyId>,
    pub(super) key: Option<SecretString>,
    pub(super) env: Option<String>,
    pub(super) max_concurrent: Option<Whole<1, 100_000>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PollSection {
    pub(super) first_seconds: Option<Pause>,
    pub(super) most_seconds: Option<Pause>,
}

/// A pause of up to an hour.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "Positive")]
pub(super) struct Pause(pub(super) u32);

impl TryFrom<Positive> for Pause {
    type Error = &'static str;
    fn try_from(seconds: Positive) -> Result<Self, Self::Error> {
        let ms = seconds.0.get() * 1000.0;
        if (1.0..=3_600_000.0).contains(&ms) { Ok(Self(ms.round() as u32)) } else { Err("must be seconds of 0.001 to 3600") }
    }
}

/// What something costs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PriceSection {
    pub(super) model: Option<String>,
    pub(super) tier: Option<TierWord>,
    pub(super) per_second: Option<Money>,
    pub(super) per_picture: Option<Money>,
    pub(super) per_request: Option<Money>,
}

/// A kind by its word.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct KindWord(pub(super) ProviderKind);

impl TryFrom<String> for KindWord {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let found = ProviderKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.map(Self).ok_or_else(|| format!("must be one of {}", kinds_in_words()))
    }
}

/// All kinds, for messages.
pub(super) fn kinds_in_words() -> String {
    ProviderKind::ALL.map(ProviderKind::as_str).join(", ")
}

/// A currency's code.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Currency(pub(super) String);

impl TryFrom<String> for Currency {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if is_code { Ok(Self(text)) } else { Err("must be a currency's code of three capital letters, such as USD, EUR or CNY") }
    }
}

/// A tier by its name.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct TierWord(pub(super) Tier);

impl TryFrom<String> for TierWord {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let found = Tier::ALL.into_iter().find(|tier| tier.name().eq_ignore_ascii_case(&text));
        found.map(Self).ok_or_else(|| format!("must be one of {}", Tier::ALL.map(Tier::name).join(", ")))
    }
}

/// An amount, exactly as it is written.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Money(pub(super) Micros);

impl TryFrom<String> for Money {
    type Error = crate::domain::MicrosError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// The address of an API.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct BaseUrl(pub(super) String);

impl TryFrom<String> for BaseUrl {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_plain = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        };
        match Url::parse(&text) {
            Ok(url) if is_plain(&url) => Ok(Self(text)),
            _ => Err("must be the address of an API, such as https://host/path, without name, password, query and fragment"),
        }
    }
}
