//! A declaration: the YAML that says how a provider speaks, checked as a whole when it is read.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::call::{CallSection, HeaderName, fits_a_header};
use super::models::ModelSection;
use super::section::{
    CancelledSection, CreatedSection, ErrorsSection, FetchedSection, NothingSection, PolledSection, ResultsSection,
};
use super::template::{Place, Scope, Text, VALUE_PREFIX};
use super::words::StateWord;
use crate::providers::capabilities::{Following, Model};
use crate::providers::request::GenerationKind;
use crate::providers::wire::{Account, WireRequest};

/// Most models.
const MOST_MODELS: usize = 200;
/// Most bytes of a provider's name.
const MOST_NAME_BYTES: usize = 40;

/// How a provider speaks, as YAML declares it. What was read was checked: it can be used.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Document")]
pub struct Declaration {
    document: Document,
    tables: Vec<Model>,
}

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    base_url: BaseUrl,
    #[serde(default)]
    authentication: AuthenticationSection,
    #[serde(default)]
    headers: BTreeMap<HeaderName, String>,
    create: CallSection<CreatedSection>,
    poll: Option<CallSection<PolledSection>>,
    fetch: Option<CallSection<FetchedSection>>,
    download: Option<CallSection<NothingSection>>,
    cancel: Option<CallSection<CancelledSection>>,
    #[serde(default)]
    errors: ErrorsSection,
    models: Vec<ModelSection>,
    #[serde(default)]
    following: FollowingSection,
}

/// Where the API is, unless an account says otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct BaseUrl(String);

impl TryFrom<String> for BaseUrl {
    type Error = String;

    fn try_from(url: String) -> Result<Self, String> {
        match Account::new(&url, SecretString::from("any")) {
            Ok(_) => Ok(Self(url)),
            Err(_) => Err("must be the address of an API, such as https://host/v1, without a query".to_owned()),
        }
    }
}

/// Where the key goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AuthenticationSection {
    header: Option<HeaderName>,
    query: Option<String>,
    value: Option<Text>,
}

/// How tasks are followed.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FollowingSection {
    first_pause_ms: u32,
    most_pause_ms: u32,
    deadline_seconds: u32,
    link_seconds: u32,
    knows_our_id: bool,
}

impl Default for FollowingSection {
    fn default() -> Self {
        Self { first_pause_ms: 5000, most_pause_ms: 15_000, deadline_seconds: 1200, link_seconds: 3600, knows_our_id: false }
    }
}

impl FollowingSection {
    fn check(self) -> Result<(), String> {
        let bounds = [
            ("first_pause_ms", self.first_pause_ms, 250, 600_000),
            ("most_pause_ms", self.most_pause_ms, self.first_pause_ms, 600_000),
            ("deadline_seconds", self.deadline_seconds, 1, 86_400),
            ("link_seconds", self.link_seconds, 1, 30 * 86_400),
        ];
        match bounds.into_iter().find(|(_, value, fewest, most)| !(fewest..=most).contains(&value)) {
            Some((field, _, fewest, most)) => Err(format!("{field}: must be {fewest} to {most}")),
            None => Ok(()),
        }
    }
}

impl TryFrom<Document> for Declaration {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        document.check()?;
        let tables = document.models.iter().map(ModelSection::table).collect();
        Ok(Self { document, tables })
    }
}

impl Document {
    /// Whether it can be used. Fails with the field and a sentence.
    fn check(&self) -> Result<(), String> {
        let name = self.name.as_bytes();
        let is_name = (1..=MOST_NAME_BYTES).contains(&name.len())
            && name.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(byte));
        if !is_name {
            return Err(format!("name: must be 1 to {MOST_NAME_BYTES} small letters, digits, '-' and '_'"));
        }
        self.check_authentication().map_err(|why| format!("authentication: {why}"))?;
        if let Some((HeaderName(name), _)) = self.headers.iter().find(|(_, value)| !fits_a_header(value)) {
            return Err(format!("headers: {name}: must be visible ASCII"));
        }
        self.check_models().map_err(|why| format!("models: {why}"))?;
        self.check_create().map_err(|why| format!("create: {why}"))?;
        self.check_others()?;
        self.check_values()?;
        self.following.check().map_err(|why| format!("following: {why}"))?;
        if self.following.knows_our_id && !self.create.uses("our_id") {
            return Err("following: knows_our_id: must stand beside a create that sends {{our_id}}".to_owned());
        }
        Ok(())
    }

    fn check_authentication(&self) -> Result<(), String> {
        let section = &self.authentication;
        if section.header.is_some() && section.query.is_some() {
            return Err("must have a header or a query, not both".to_owned());
        }
        let Some(value) = &section.value else { return Ok(()) };
        if !value.uses("key") || !value.literals().all(fits_a_header) {
            return Err("value: must be visible ASCII with {{key}} in it".to_owned());
        }
        value.check(Place::Credential).map_err(|why| format!("value: {why}"))
    }

    fn check_models(&self) -> Result<(), String> {
        if !(1..=MOST_MODELS).contains(&self.models.len()) {
            return Err(format!("must be 1 to {MOST_MODELS}"));
        }
        let mut names: Vec<&str> = self.models.iter().flat_map(ModelSection::names).collect();
        names.sort_unstable();
        if let Some([name, ..]) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("{name} is there twice"));
        }
        self.models.iter().try_for_each(|model| model.check().map_err(|why| format!("{}: {why}", model.name())))
    }

    fn kinds(&self) -> Vec<GenerationKind> {
        self.models.iter().flat_map(ModelSection::kinds).collect()
    }

    fn check_create(&self) -> Result<(), String> {
        self.create.check(Place::CreateHead, Place::CreateBody)?;
        let Some(answer) = &self.create.answer else { return Err("answer: is missing".to_owned()) };
        if answer.task.is_empty() && answer.results.is_none() {
            return Err("answer: must have task, the place of the task's id; or results, where they come at once".to_owned());
        }
        if answer.task.is_empty() == self.poll.is_some() {
            return Err("answer: must have task where there is a poll, and only there".to_owned());
        }
        match &answer.results {
            Some(results) => results.check(&self.kinds()).map_err(|why| format!("answer: {why}")),
            None => Ok(()),
        }
    }

    /// Whether some model has each value that a call names.
    fn check_values(&self) -> Result<(), String> {
        let mut known: Vec<&str> = self.models.iter().flat_map(|model| model.values().0.keys().map(String::as_str)).collect();
        known.sort_unstable();
        known.dedup();
        let create = self.create.names().map(|name| ("create", name));
        let poll = self.poll.iter().flat_map(CallSection::names).map(|name| ("poll", name));
        let cancel = self.cancel.iter().flat_map(CallSection::names).map(|name| ("cancel", name));
        let mut named =
            create.chain(poll).chain(cancel).filter_map(|(call, name)| Some((call, name.strip_prefix(VALUE_PREFIX)?)));
        match named.find(|(_, name)| !known.contains(name)) {
            Some((call, name)) => {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(format!("{call}: {{{{{VALUE_PREFIX}{name}}}}} is a value that no model has; they have {known}"))
            }
            None => Ok(()),
        }
    }

    fn check_others(&self) -> Result<(), String> {
        if let Some(poll) = &self.poll {
            self.check_poll(poll).map_err(|why| format!("poll: {why}"))?;
        }
        if let Some(fetch) = &self.fetch {
            fetch.check(Place::File, Place::File).map_err(|why| format!("fetch: {why}"))?;
            let Some(answer) = &fetch.answer else { return Err("fetch: answer: is missing".to_owned()) };
            answer.results.check(&self.kinds()).map_err(|why| format!("fetch: answer: {why}"))?;
            if answer.results.has_file_ids() || answer.results.is_inline() {
                return Err("fetch: answer: results: must have link alone".to_owned());
            }
        }
        if let Some(download) = &self.download {
            download.check(Place::File, Place::File).map_err(|why| format!("download: {why}"))?;
        }
        if let Some(cancel) = &self.cancel {
            cancel.check(Place::Task, Place::Task).map_err(|why| format!("cancel: {why}"))?;
        }
        let created = self.create.answer.as_ref().and_then(|answer| answer.results.as_ref());
        let polled = self.poll.as_ref().and_then(|poll| poll.answer.as_ref()).map(|answer| &answer.results);
        let has_files = [created, polled].into_iter().flatten().any(ResultsSection::has_file_ids);
        let ways = [self.fetch.is_some(), self.download.is_some()].into_iter().filter(|there| *there).count();
        match (has_files, ways) {
            (true, 1) | (false, 0) => Ok(()),
            (true, _) => Err("fetch: must be there, or download, and not both, since results are files' ids".to_owned()),
            (false, _) => Err("fetch: must be left out, and download, since no result is a file's id".to_owned()),
        }
    }

    fn check_poll(&self, poll: &CallSection<PolledSection>) -> Result<(), String> {
        poll.check(Place::Task, Place::Task)?;
        if !poll.uses("task") {
            return Err("path: must have {{task}} in it, or query or json".to_owned());
        }
        let Some(answer) = &poll.answer else { return Err("answer: is missing".to_owned()) };
        if answer.status.is_empty() != answer.statuses.is_empty() {
            return Err(
                "answer: must have both status and statuses, or neither: then a task has ended when it has results".to_owned()
            );
        }
        if !answer.status.is_empty() && !answer.statuses.values().any(|state| *state == StateWord::Succeeded) {
            return Err("answer: statuses: must have a word for succeeded".to_owned());
        }
        if answer.progress_whole.is_some_and(|whole| !(whole.is_finite() && whole > 0.0)) {
            return Err("answer: progress_whole: must be more than 0".to_owned());
        }
        answer.results.check(&self.kinds()).map_err(|why| format!("answer: {why}"))
    }
}

impl Declaration {
    /// The provider's name.
    pub fn name(&self) -> &str {
        &self.document.name
    }

    /// Where its API is, unless an account says otherwise.
    pub fn base_url(&self) -> &str {
        &self.document.base_url.0
    }

    /// Its models.
    pub fn models(&self) -> &[Model] {
        &self.tables
    }

    /// What is probably not meant.
    pub fn remarks(&self) -> Vec<String> {
        let remark = "declaration: create: {{prompt}} stands nowhere, so no prompt is told";
        if self.create().uses("prompt") { Vec::new() } else { vec![remark.to_owned()] }
    }

    /// How its tasks are followed.
    pub fn following(&self) -> Following {
        let section = self.document.following;
        Following {
            first_pause_ms: section.first_pause_ms,
            most_pause_ms: section.most_pause_ms,
            deadline_seconds: section.deadline_seconds,
            link_seconds: section.link_seconds,
            cancels_queued: self.document.cancel.is_some(),
            knows_our_id: section.knows_our_id,
        }
    }

    pub(super) fn create(&self) -> &CallSection<CreatedSection> {
        &self.document.create
    }

    pub(super) fn poll(&self) -> Option<&CallSection<PolledSection>> {
        self.document.poll.as_ref()
    }

    pub(super) fn fetch(&self) -> Option<&CallSection<FetchedSection>> {
        self.document.fetch.as_ref()
    }

    pub(super) fn download(&self) -> Option<&CallSection<NothingSection>> {
        self.document.download.as_ref()
    }

    pub(super) fn cancel(&self) -> Option<&CallSection<CancelledSection>> {
        self.document.cancel.as_ref()
    }

    pub(super) fn errors(&self) -> &ErrorsSection {
        &self.document.errors
    }

    /// The values of a model's own.
    pub(super) fn values(&self, model: &str) -> Option<&BTreeMap<String, Value>> {
        let index = self.tables.iter().position(|table| table.is_called(model))?;
        self.document.models.get(index).map(|section| &section.values().0)
    }

    /// Whether the answers to creates, or to polls, hold files.
    pub(super) fn has_files(results: Option<&ResultsSection>) -> bool {
        results.is_some_and(ResultsSection::is_inline)
    }

    /// The call with its key and with the headers that all calls have.
    pub(super) fn signed(&self, mut call: WireRequest, key: &SecretString) -> WireRequest {
        let section = &self.document.authentication;
        let value = match &section.value {
            Some(value) => value.text(&KeyScope(key)),
            None if section.query.is_some() || section.header.is_some() => Some(key.expose_secret().to_owned()),
            None => Some(format!("Bearer {}", key.expose_secret())),
        };
        let value = value.unwrap_or_default();
        if let Some(query) = &section.query {
            call.url.query_pairs_mut().append_pair(query, &value);
        } else {
            let name = section.header.as_ref().map_or_else(|| "Authorization".to_owned(), |HeaderName(name)| name.clone());
            call = call.with_secret_header(name, SecretString::from(value));
        }
        for (HeaderName(name), value) in &self.document.headers {
            call = call.with_header(name.clone(), value.clone());
        }
        call
    }
}

/// A scope that has the key alone.
struct KeyScope<'a>(&'a SecretString);

impl Scope for KeyScope<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        (name == "key").then(|| Value::from(self.0.expose_secret()))
    }
}
