//! `providers.yaml` beside the system file, and the environment's keys — which providers there are, with which accounts, at what price.
//!
//! Invariants: a key is a secret from where it is read; what a file does not say of a provider, its kind does; a file is taken whole or
//! not at all.

mod document;
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use super::{ConfigError, WatchedFile, yaml};
use crate::domain::{
    AccountKey, AccountKeyId, DeclarationFile, KindSetting, OfferedName, PollSettings, Price, ProviderEntry, ProviderId,
    ProviderKind, ProviderSettings,
};
use document::{KeySection, PollSection, PriceSection, ProviderSection, ProvidersDocument, kinds_in_words};
use model::ModelSection;

/// The file's name, beside the system file.
const FILE: &str = "providers.yaml";
/// Bytes that it may have.
const MOST_BYTES: u64 = 1 << 20;
/// Keys that a provider may have.
const MOST_KEYS: usize = 1000;

/// The environment's variables, for the keys that the file only names. Shows none of them.
#[derive(Clone, Default)]
pub struct Variables(Arc<BTreeMap<String, SecretString>>);

impl Variables {
    /// These.
    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let secret = |(name, value): (String, String)| (name, SecretString::from(value.trim()));
        Self(Arc::new(variables.into_iter().map(secret).collect()))
    }

    fn get(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} variables", self.0.len())
    }
}

/// Where providers are told of.
#[derive(Clone, Debug, Default)]
pub struct ProviderSource {
    /// The file, which need not be there; none without a system file.
    pub file: Option<PathBuf>,
    /// The environment.
    pub variables: Variables,
}

impl ProviderSource {
    /// What is beside a system file in this directory.
    pub(super) fn new(directory: Option<&Path>, variables: Variables) -> Self {
        Self { file: directory.map(|directory| directory.join(FILE)), variables }
    }

    /// Reads it all, and notices changes of the file from then on. Blocking.
    pub fn watch(self) -> Result<(WatchedFile<ProviderSettings>, ProviderSettings), ConfigError> {
        WatchedFile::open(self.file.clone(), move || self.load(), declarations)
    }

    /// Reads it all. Blocking.
    pub fn load(&self) -> Result<ProviderSettings, ConfigError> {
        let document = match &self.file {
            Some(file) => read(file)?.map_or_else(|| Ok(ProvidersDocument::default()), |text| yaml::parse(file, &text))?,
            None => ProvidersDocument::default(),
        };
        let path = self.file.as_deref().unwrap_or_else(|| Path::new(FILE));
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        resolve(document, &self.variables, directory).map_err(|refusal| match refusal {
            Refusal::OfFile(reason) => ConfigError::Refused { path: path.to_owned(), reason },
            Refusal::OfVariable { name, reason } => ConfigError::setting(name, reason),
        })
    }
}

/// The files that settings were read from, beside the file of providers.
fn declarations(settings: &ProviderSettings) -> Vec<PathBuf> {
    settings.providers.values().filter_map(|entry| Some(entry.declaration.as_ref()?.path.clone())).collect()
}

/// The file's text; `None`: there is none.
fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    let refused = |reason: String| ConfigError::Refused { path: path.to_owned(), reason };
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(refused("is not a file".to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(format!("cannot be read: {error}"))),
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 <= MOST_BYTES => Ok(Some(text)),
        Ok(_) => Err(refused(format!("has more than {MOST_BYTES} bytes"))),
        Err(error) => Err(refused(format!("cannot be read: {error}"))),
    }
}

/// What is refused, and where it stands.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// A sentence that begins with a key of the file.
    #[error("{0}")]
    OfFile(String),
    /// A variable of the environment.
    #[error("{name}: {reason}")]
    OfVariable { name: &'static str, reason: &'static str },
}

/// What the file and the environment mean together.
fn resolve(document: ProvidersDocument, variables: &Variables, directory: &Path) -> Result<ProviderSettings, Refusal> {
    let mut settings = ProviderSettings::default();
    if let Some(currency) = document.currency {
        settings.currency = currency.0;
    }
    for (id, section) in document.providers {
        let entry = entry(&id, section, variables, directory);
        let mut entry = entry.map_err(|reason| Refusal::OfFile(format!("providers.{id}.{reason}")))?;
        if entry.base_url.is_none() {
            entry.base_url = address_of_environment(entry.kind, variables)?;
        }
        settings.providers.insert(id, entry);
    }
    // A provider that the file does not speak of is there if its key is.
    for kind in ProviderKind::ALL.into_iter().filter(|kind| kind.is_enabled_by_keys()) {
        let Ok(id) = kind.as_str().parse::<ProviderId>() else { continue };
        if settings.providers.contains_key(&id) {
            continue;
        }
        let keys = keys_of_environment(kind, variables).map_err(Refusal::OfFile)?;
        if !keys.is_empty() {
            let base_url = address_of_environment(kind, variables)?;
            settings.providers.insert(id, ProviderEntry { is_enabled: true, keys, base_url, ..ProviderEntry::of_kind(kind) });
        }
    }
    Ok(settings)
}

fn entry(id: &ProviderId, section: ProviderSection, variables: &Variables, directory: &Path) -> Result<ProviderEntry, String> {
    let named = ProviderKind::ALL.into_iter().find(|kind| kind.as_str() == id.as_str());
    let kind = section
        .kind
        .map(|word| word.0)
        .or(named)
        .ok_or_else(|| format!("kind: is missing; it is one of {}", kinds_in_words()))?;
    let mut entry = ProviderEntry::of_kind(kind);
    for (name, value) in section.settings() {
        let Some(setting) = kind.settings().iter().find(|setting| setting.name == name) else {
            return Err(format!("{name}: a provider of the kind {} has no such setting", kind.as_str()));
        };
        if !setting.words.is_empty() && !setting.words.contains(&value.expose_secret()) {
            return Err(format!("{name}: must be one of {}", setting.words.join(", ")));
        }
        set(&mut entry, setting, &value);
    }
    for setting in kind.settings() {
        let value = setting.variable.and_then(|name| variables.get(name));
        if let Some(value) = value.filter(|_| !is_set(&entry, setting)) {
            set(&mut entry, setting, value);
        }
    }
    if let Some(name) = entry.setting("declaration") {
        entry.declaration = Some(declaration(directory, name)?);
    }
    let is_wanted = section.enabled.unwrap_or(kind.is_enabled_by_file());
    // A key of the environment goes to the kind's own address, and to whoever bears the kind's name: another service shall not see it.
    entry.key_variable = kind.key_variable().filter(|_| named == Some(kind) || section.base_url.is_none());
    entry.keys = if section.keys.is_empty() {
        if entry.key_variable.is_some() { keys_of_environment(kind, variables)? } else { Vec::new() }
    } else {
        keys(section.keys, variables, section.enabled != Some(false))?
    };
    if section.enabled == Some(true) && entry.keys.is_empty() {
        let hint = entry.key_variable.map_or_else(String::new, |name| format!(", or set {name}"));
        return Err(format!("keys: is empty; an enabled provider needs a key: [{{ key: ... }}] or [{{ env: NAME }}]{hint}"));
    }
    entry.is_enabled = is_wanted && !entry.keys.is_empty();
    entry.lacks_key = is_wanted && entry.keys.is_empty();
    let is_there = |setting: &KindSetting| is_set(&entry, setting) || (setting.may_be_in_keys && is_in_keys(&entry.keys));
    if let Some(missing) = kind.settings().iter().find(|setting| setting.is_needed && !is_there(setting)) {
        if entry.is_enabled {
            let hint = missing.variable.map_or_else(String::new, |name| format!("; say it here, or set {name}"));
            return Err(format!("{}: is missing{hint}", missing.name));
        }
        // Without it no account can be opened.
        entry.keys.clear();
    }
    entry.models = models(section.models, kind)?;
    entry.prices = prices(section.prices)?;
    entry.base_url = section.base_url.map(|url| url.0);
    entry.deadline_seconds = section.deadline_seconds.map(|seconds| seconds.0 as u32);
    entry.start_within_seconds = section.start_within_seconds.map(|seconds| seconds.0 as u32);
    entry.poll = poll(&section.poll)?;
    entry.bills_failures = section.bills_failures;
    Ok(entry)
}

fn poll(section: &PollSection) -> Result<PollSettings, String> {
    let (first_pause_ms, most_pause_ms) = (section.first_seconds.map(|pause| pause.0), section.most_seconds.map(|pause| pause.0));
    if first_pause_ms.zip(most_pause_ms).is_some_and(|(first, most)| most < first) {
        return Err(
            "poll: most_seconds must not be less than first_seconds: pauses grow from the first to the longest".to_owned()
        );
    }
    Ok(PollSettings { first_pause_ms, most_pause_ms })
}

fn is_set(entry: &ProviderEntry, setting: &KindSetting) -> bool {
    entry.settings.contains_key(setting.name) || entry.secrets.contains_key(setting.name)
}

/// Whether each key has something in front of a dot.
fn is_in_keys(keys: &[AccountKey]) -> bool {
    !keys.is_empty() && keys.iter().all(|key| key.secret.expose_secret().contains('.'))
}

fn set(entry: &mut ProviderEntry, setting: &KindSetting, value: &SecretString) {
    if setting.is_secret {
        entry.secrets.insert(setting.name, value.clone());
    } else {
        entry.settings.insert(setting.name, value.expose_secret().to_owned());
    }
}

/// The file beside this one that declares how a provider speaks.
fn declaration(directory: &Path, name: &str) -> Result<DeclarationFile, String> {
    let path = Path::new(name);
    if path.file_name() != Some(path.as_os_str()) {
        return Err("declaration: must be the name of a file beside this one, without a path".to_owned());
    }
    let path = directory.join(path);
    match read(&path) {
        Ok(Some(text)) => Ok(DeclarationFile { path, text: text.into() }),
        Ok(None) => Err(format!("declaration: {} is not there", path.display())),
        Err(error) => Err(format!("declaration: {error}")),
    }
}

/// Understands the text of a file that declares how a provider speaks: whoever knows what stands in such files says so by the type. Fails
/// with one line that names the file, the line and the column.
pub fn read_declaration<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, String> {
    yaml::parse(path, text).map_err(|error| error.to_string())
}

/// The keys of the file. A variable that is not set is an error only where the provider is used.
fn keys(sections: Vec<KeySection>, variables: &Variables, is_used: bool) -> Result<Vec<AccountKey>, String> {
    if sections.len() > MOST_KEYS {
        return Err(format!("keys: are {}; at most {MOST_KEYS}", sections.len()));
    }
    let mut ids = BTreeSet::new();
    let mut keys = Vec::new();
    for (index, section) in sections.into_iter().enumerate() {
        let id = section.id.map_or_else(|| numbered(index), Ok)?;
        if !ids.insert(id.clone()) {
            return Err(format!("keys: two are called '{id}'"));
        }
        let secret = match (section.key, section.env) {
            (Some(key), None) => key,
            (None, Some(name)) => match variables.get(&name) {
                Some(secret) => secret.clone(),
                None if is_used => return Err(no_variable(&id, &name)),
                None => continue,
            },
            _ => return Err(format!("keys: '{id}' needs either key, the key itself, or env, the variable that holds it")),
        };
        keys.push(AccountKey { id, secret, max_concurrent: section.max_concurrent.map(|most| most.0 as u32) });
    }
    Ok(keys)
}

/// What is said of a variable that is not set. What may be the key itself, in the wrong place, is not repeated.
fn no_variable(id: &AccountKeyId, name: &str) -> String {
    if is_variable_name(name) {
        return format!("keys: the environment has no variable '{name}'");
    }
    format!(
        "keys: '{id}': env must be the name of a variable that is set, such as MINIMAX_API_KEY; what stands there is not shown, since it may \
         be a key, which belongs under key"
    )
}

/// The longest name of a variable that is repeated.
const MOST_NAME_BYTES: usize = 64;
/// Longer names have an underscore.
const MOST_WORD_BYTES: usize = 16;
/// Digits that such a name has at most.
const MOST_NAME_DIGITS: usize = 3;

/// Whether a text looks as names of variables do, and as keys do not: capitals, words that are divided, few digits.
fn is_variable_name(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        && text.starts_with(|first: char| !first.is_ascii_digit())
        && text.len() <= MOST_NAME_BYTES
        && (text.len() <= MOST_WORD_BYTES || text.contains('_'))
        && digits <= MOST_NAME_DIGITS
}

/// The keys that the environment has for a kind.
fn keys_of_environment(kind: ProviderKind, variables: &Variables) -> Result<Vec<AccountKey>, String> {
    // The number in the variable's name is the key's, so that one that is taken out renames no other.
    let named = kind.key_variables().into_iter().enumerate();
    let secrets = named.filter_map(|(index, name)| Some((index, variables.get(&name)?)));
    secrets.map(|(index, secret)| Ok(AccountKey { id: numbered(index)?, secret: secret.clone(), max_concurrent: None })).collect()
}

/// The address that the environment has for a kind.
fn address_of_environment(kind: ProviderKind, variables: &Variables) -> Result<Option<String>, Refusal> {
    let Some((name, text)) = kind.address_variable().and_then(|name| Some((name, variables.get(name)?))) else { return Ok(None) };
    let read: Result<document::BaseUrl, &str> = text.expose_secret().to_owned().try_into();
    read.map(|url| Some(url.0)).map_err(|reason| Refusal::OfVariable { name, reason })
}

/// What a key is called that nobody gave a name: `key-1`.
fn numbered(index: usize) -> Result<AccountKeyId, String> {
    format!("key-{}", index + 1).parse().map_err(|error: crate::domain::IdError| error.to_string())
}

fn models(sections: Vec<ModelSection>, kind: ProviderKind) -> Result<Vec<OfferedName>, String> {
    let mut ids = BTreeSet::new();
    let mut models = Vec::new();
    for section in sections {
        let model = section.resolve(kind)?;
        if !ids.insert(model.id.clone()) {
            return Err(format!("models: two are called '{}'", model.id));
        }
        models.push(model);
    }
    Ok(models)
}

fn prices(sections: Vec<PriceSection>) -> Result<Vec<Price>, String> {
    let price = |section: PriceSection| {
        if section.per_second.is_none() && section.per_picture.is_none() && section.per_request.is_none() {
            return Err("prices: each needs per_second, per_picture or per_request".to_owned());
        }
        let amount = |money: Option<document::Money>| money.map_or_else(Default::default, |money| money.0);
        Ok(Price {
            model: section.model,
            tier: section.tier.map(|tier| tier.0),
            per_second: amount(section.per_second),
            per_picture: amount(section.per_picture),
            per_request: amount(section.per_request),
        })
    };
    sections.into_iter().map(price).collect()
}

#[cfg(test)]
mod tests;
