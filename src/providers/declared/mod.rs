//! Providers that are declared: a YAML file says how one speaks, and no code is written for it.
//!
//! The file tells the calls as templates, where things are in answers, what words and codes mean, and what models can do. It is checked as
//! a whole when it is read, so that a provider of it can write every call. `docs/adding-a-provider.md` explains every key.
//!
//! What it cannot tell: signatures over a call, tokens that are made of the key, uploads before a create, results in an event stream.

mod answer;
mod call;
mod declaration;
mod models;
mod pointer;
mod section;
mod template;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

pub use declaration::Declaration;

use answer::Reader;
use call::{CallSection, check_pictures, picture_parts, picture_values};
use template::Scope;
use words::kind_word;

use super::body::is_identifier;
use super::capabilities::{Following, Model};
use super::failure::ProviderFailure;
use super::frame::{Ratio, Tier};
use super::outcome::{Cancellation, Created, Polled, RemoteResult, ResultKind, ResultSource, Underway};
use super::payload::Part;
use super::protocol::{CreateOptions, Known, Provider, RemoteTask};
use super::request::GenerationKind;
use super::validate::{FrameChoice, RequestRefusal, Validated};
use super::wire::{Account, MOST_BODY_BYTES, Method, WireRequest, WireResponse};
use crate::domain::UnixMs;

/// An account at a declared provider.
#[derive(Clone, Debug)]
pub struct Declared {
    declaration: Arc<Declaration>,
    account: Account,
}

impl Declared {
    /// An account; its base URL is the declaration's, or another with the same API.
    pub fn new(declaration: Arc<Declaration>, account: Account) -> Self {
        Self { declaration, account }
    }

    /// A call, filled in and signed; none where something that its path needs is absent.
    fn call<A>(
        &self,
        call: &CallSection<A>,
        usual: Method,
        scope: &dyn Scope,
        pictures: &dyn Fn(&str) -> Vec<Part>,
        has_files: bool,
    ) -> Option<WireRequest> {
        let mut url = self.account.url(&call.path(scope)?);
        let query = call.query(scope);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.declaration.signed(WireRequest::unsigned(call.method(usual), url), self.account.key());
        for (name, value) in call.headers(scope) {
            request = request.with_header(name, value);
        }
        if let Some(payload) = call.payload(scope, pictures) {
            request = request.with_payload(payload);
        }
        Some(request.with_most_answer_bytes(call.most_answer_bytes(has_files)))
    }

    /// A call without pictures.
    fn plain_call<A>(&self, call: &CallSection<A>, usual: Method, scope: &dyn Scope, has_files: bool) -> Option<WireRequest> {
        self.call(call, usual, scope, &|_| Vec::new(), has_files)
    }

    fn reader<A>(&self, usual_kind: ResultKind, call: Option<&CallSection<A>>, has_files: bool) -> Reader<'_> {
        let most_bytes = call.map_or(MOST_BODY_BYTES, |call| call.most_answer_bytes(has_files));
        Reader { errors: self.declaration.errors(), most_bytes, usual_kind }
    }

    fn creates_files(&self) -> bool {
        Declaration::has_files(self.declaration.create().answer.as_ref().and_then(|answer| answer.results.as_ref()))
    }

    fn polls_files(&self) -> bool {
        let answer = self.declaration.poll().and_then(|poll| poll.answer.as_ref());
        Declaration::has_files(answer.map(|answer| &answer.results))
    }
}

impl Provider for Declared {
    fn name(&self) -> &str {
        self.declaration.name()
    }

    fn models(&self) -> &[Model] {
        self.declaration.models()
    }

    fn remarks(&self) -> Vec<String> {
        self.declaration.remarks()
    }

    fn following(&self, _model: &str) -> Following {
        self.declaration.following()
    }

    fn write_create(
        &self,
        model: &str,
        checked: &Validated<'_>,
        options: &CreateOptions,
        _now: UnixMs,
    ) -> Result<WireRequest, RequestRefusal> {
        let create = self.declaration.create();
        check_pictures(create, model, checked)?;
        let scope = CreateScope { model, checked, options, values: self.declaration.values(model) };
        let pictures = |name: &str| picture_parts(checked, name);
        self.call(create, Method::Post, &scope, &pictures, self.creates_files()).ok_or_else(|| {
            RequestRefusal::new("model", model, self.name(), "a model with all values that the create's path names")
        })
    }

    fn read_created(&self, model: &str, response: &WireResponse<'_>) -> Result<Created, ProviderFailure> {
        let create = self.declaration.create();
        let known = self.declaration.models().iter().find(|known| known.is_called(model));
        let usual_kind = known.map_or(ResultKind::Video, kind_of_results);
        let reader = self.reader(usual_kind, Some(create), self.creates_files());
        let poll = self.declaration.poll().and_then(|poll| poll.answer.as_ref());
        match &create.answer {
            Some(answer) => reader.created(answer, poll, response),
            None => Err(ProviderFailure::bad_task_id()),
        }
    }

    fn poll(&self, task: &RemoteTask, _now: UnixMs) -> Result<WireRequest, ProviderFailure> {
        let call = self
            .declaration
            .poll()
            .filter(|_| is_identifier(&task.id))
            .and_then(|poll| self.plain_call(poll, Method::Get, &self.task_scope(task), self.polls_files()));
        call.ok_or_else(ProviderFailure::bad_task_id)
    }

    fn read_polled(&self, task: &RemoteTask, known: Known, response: &WireResponse<'_>) -> Result<Polled, ProviderFailure> {
        let poll = self.declaration.poll();
        let reader = self.reader(kind_of_result(task.kind), poll, self.polls_files());
        match poll.and_then(|poll| poll.answer.as_ref()) {
            Some(answer) => reader.polled(answer, known, response),
            None => Err(ProviderFailure::bad_task_id()),
        }
    }

    fn fetch(&self, result: &RemoteResult, _now: UnixMs) -> Option<WireRequest> {
        let scope = FileScope(file_of(result)?);
        self.plain_call(self.declaration.fetch()?, Method::Get, &scope, false)
    }

    fn read_fetched(&self, result: &RemoteResult, response: &WireResponse<'_>) -> Result<Vec<RemoteResult>, ProviderFailure> {
        let fetch = self.declaration.fetch();
        match fetch.and_then(|fetch| fetch.answer.as_ref()) {
            Some(answer) => self.reader(result.kind, fetch, false).fetched(answer, result, response),
            None => Ok(vec![result.clone()]),
        }
    }

    fn download(&self, result: &RemoteResult, _now: UnixMs) -> Option<WireRequest> {
        let scope = FileScope(file_of(result)?);
        self.plain_call(self.declaration.download()?, Method::Get, &scope, true)
    }

    fn cancel(&self, task: &RemoteTask, known: Known, _now: UnixMs) -> Option<WireRequest> {
        let cancel = self.declaration.cancel()?;
        let only_queued = cancel.answer.as_ref().is_some_and(|answer| answer.only_queued);
        let possible = is_identifier(&task.id) && (known.state == Underway::Queued || !only_queued);
        possible.then(|| self.plain_call(cancel, Method::Post, &self.task_scope(task), false)).flatten()
    }

    fn read_cancelled(
        &self,
        task: &RemoteTask,
        _known: Known,
        response: &WireResponse<'_>,
    ) -> Result<Cancellation, ProviderFailure> {
        let cancel = self.declaration.cancel();
        self.reader(kind_of_result(task.kind), cancel, false)
            .cancelled(cancel.and_then(|cancel| cancel.answer.as_ref()), response)
    }
}

impl Declared {
    fn task_scope<'a>(&'a self, task: &'a RemoteTask) -> TaskScope<'a> {
        TaskScope { task, values: self.declaration.values(&task.model) }
    }
}

/// What results of a kind of request are.
fn kind_of_result(kind: GenerationKind) -> ResultKind {
    if kind == GenerationKind::TextToImage { ResultKind::Picture } else { ResultKind::Video }
}

/// What a model's results are, where its declaration does not say so of answers: it was checked that all models are alike then.
fn kind_of_results(model: &Model) -> ResultKind {
    model.modes.first().map_or(ResultKind::Video, |mode| kind_of_result(mode.kind))
}

/// The file's id, where a result is one.
fn file_of(result: &RemoteResult) -> Option<&str> {
    match &result.source {
        ResultSource::File(id) if is_identifier(id) => Some(id),
        _ => None,
    }
}

/// A value of a model's own, for a name that begins with `values.`.
fn value_of(values: Option<&BTreeMap<String, Value>>, name: &str) -> Option<Value> {
    values?.get(name.strip_prefix("values.")?).cloned()
}

/// What names stand for in a create.
struct CreateScope<'a> {
    model: &'a str,
    checked: &'a Validated<'a>,
    options: &'a CreateOptions,
    values: Option<&'a BTreeMap<String, Value>>,
}

impl Scope for CreateScope<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let (request, mode) = (self.checked.request, self.checked.mode);
        let (size, tier, ratio) = match self.checked.frame {
            FrameChoice::Untold => (None, None, None),
            FrameChoice::Size(size) => (Some(size), None, None),
            FrameChoice::TierAndRatio(tier, ratio) => (None, tier, ratio),
        };
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let switch = |switch, asked| Validated::switch(switch, asked).map(Value::from);
        match name {
            "model" => Some(self.model.into()),
            "kind" => Some(kind_word(request.kind).into()),
            "prompt" => self.checked.prompt().map(Value::from),
            "negative_prompt" => text(&request.negative_prompt).filter(|negative| negative != ""),
            "size" => size.map(|size| size.to_string().into()),
            "width" => size.map(|size| size.width.into()),
            "height" => size.map(|size| size.height.into()),
            "tier" => tier.map(Tier::name).map(Value::from),
            "ratio" => ratio.as_ref().map(Ratio::to_string).map(Value::from),
            "seconds" => self.checked.seconds.map(Value::from),
            "frames_per_second" => request.frames_per_second.map(Value::from),
            "seed" => request.seed.map(Value::from),
            // Providers' defaults are billed, so it is always sent where it can be more than one.
            "count" => (mode.most_results > 1).then(|| request.count.unwrap_or(1).into()),
            "audio" => switch(mode.audio, request.audio),
            "audio_link" => text(&request.audio_link),
            "watermark" => switch(mode.watermark, request.watermark),
            "prompt_extension" => switch(mode.prompt_extension, request.prompt_extension),
            "fast_pretreatment" => switch(mode.fast_pretreatment, request.fast_pretreatment),
            "quality" => text(&request.quality),
            "style" => text(&request.style),
            "movement_amplitude" => text(&request.movement_amplitude),
            "shot_type" => text(&request.shot_type),
            "our_id" => text(&self.options.our_id),
            "callback_url" => text(&self.options.callback_url),
            _ => picture_values(self.checked, name).or_else(|| value_of(self.values, name)),
        }
    }
}

/// What names stand for in a call about a task.
struct TaskScope<'a> {
    task: &'a RemoteTask,
    values: Option<&'a BTreeMap<String, Value>>,
}

impl Scope for TaskScope<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        match name {
            "task" => Some(self.task.id.as_str().into()),
            "model" => Some(self.task.model.as_str().into()),
            "kind" => Some(kind_word(self.task.kind).into()),
            _ => value_of(self.values, name),
        }
    }
}

/// What the one name stands for in a call about a result.
struct FileScope<'a>(&'a str);

impl Scope for FileScope<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        (name == "file").then(|| self.0.into())
    }
}
