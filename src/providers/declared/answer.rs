//! Answers as a declaration tells where things are in them.

use serde_json::Value;

use super::section::{CancelledSection, Code, CreatedSection, ErrorsSection, FetchedSection, PolledSection, ResultsSection};
use super::words::StateWord;
use crate::providers::body::{MOST_RESULTS, identifier, link, number, object_within, prompt, side, text};
use crate::providers::failure::{Call, FailureClass, ProviderFailure, class_of_status};
use crate::providers::frame::PixelSize;
use crate::providers::outcome::{
    Cancellation, Created, Finished, Polled, RemoteResult, ResultKind, ResultSource, Underway, Usage,
};
use crate::providers::protocol::Known;
use crate::providers::wire::WireResponse;

/// What is known of an answer before it is read.
pub(super) struct Reader<'a> {
    /// Where errors are.
    pub(super) errors: &'a ErrorsSection,
    /// Most bytes of the answer.
    pub(super) most_bytes: usize,
    /// What results are, unless the declaration says so.
    pub(super) usual_kind: ResultKind,
}

impl Reader<'_> {
    /// The answer to a create.
    pub(super) fn created(
        &self,
        section: &CreatedSection,
        poll: Option<&PolledSection>,
        response: &WireResponse<'_>,
    ) -> Result<Created, ProviderFailure> {
        if let Some(result) = section.results.as_ref().and_then(|section| self.whole_body(section, response)) {
            return Ok(Created::Finished(finished(vec![result], Usage::default(), None)));
        }
        let body = object_within(self.most_bytes, Call::Create, response)?;
        let word = section.status.read(&body, Code::of);
        let state = word.and_then(|word| poll?.statuses.get(&word).copied());
        if response.is_success() && state == Some(StateWord::Failed) {
            return Err(self.task_failure(&body));
        }
        self.check(Call::Create, response, &body)?;
        let results = section.results.as_ref().map(|section| self.results(section, &body)).unwrap_or_default();
        if !results.is_empty() {
            let rewritten = section.rewritten_prompt.read(&body, prompt);
            return Ok(Created::Finished(finished(results, Usage::default(), rewritten)));
        }
        if let Some(task) = section.task.read(&body, identifier) {
            let state = if state == Some(StateWord::Running) { Underway::Running } else { Underway::Queued };
            return Ok(Created::Accepted { task, state });
        }
        let what = if section.task.is_empty() {
            "the answer has no result where the declaration says".to_owned()
        } else {
            format!("the answer has no task's id at {}", section.task)
        };
        Err(ProviderFailure::unreadable(Call::Create, response.status, &what))
    }

    /// The answer to a poll.
    pub(super) fn polled(
        &self,
        section: &PolledSection,
        known: Known,
        response: &WireResponse<'_>,
    ) -> Result<Polled, ProviderFailure> {
        if let Some(result) = self.whole_body(&section.results, response) {
            return Ok(Polled::Finished(finished(vec![result], Usage::default(), None)));
        }
        let body = object_within(self.most_bytes, Call::Repeatable, response)?;
        let word = section.status.read(&body, Code::of);
        let state = match &word {
            Some(word) => section.statuses.get(word).copied(),
            None => section.without_status,
        };
        // A failed task names its reason where a failed call does.
        match state {
            Some(StateWord::Failed) if response.is_success() => return Ok(Polled::Failed(self.task_failure(&body))),
            Some(StateWord::Cancelled) if response.is_success() => return Ok(Polled::Cancelled { is_billed: false }),
            _ => self.check(Call::Repeatable, response, &body)?,
        }
        match (state, word) {
            (Some(StateWord::Queued), _) => Ok(underway(section, Underway::Queued, &body)),
            (Some(StateWord::Running), _) => Ok(underway(section, Underway::Running, &body)),
            (Some(StateWord::Succeeded), _) => Ok(self.ended(section, &body)),
            (Some(StateWord::Failed), _) => Ok(Polled::Failed(self.task_failure(&body))),
            (Some(StateWord::Cancelled), _) => Ok(Polled::Cancelled { is_billed: false }),
            (None, Some(_)) => Ok(Polled::unknown(known.state, &section.status.read(&body, text).unwrap_or_default())),
            (None, None) if section.status.is_empty() => match self.ended(section, &body) {
                Polled::Finished(finished) => Ok(Polled::Finished(finished)),
                _ => Ok(underway(section, Underway::Running, &body)),
            },
            (None, None) => {
                let what = format!("the answer has no status at {}", section.status);
                Err(ProviderFailure::unreadable(Call::Repeatable, response.status, &what))
            }
        }
    }

    /// The answer to a fetch: what the result stood for.
    pub(super) fn fetched(
        &self,
        section: &FetchedSection,
        result: &RemoteResult,
        response: &WireResponse<'_>,
    ) -> Result<Vec<RemoteResult>, ProviderFailure> {
        let body = object_within(self.most_bytes, Call::Repeatable, response)?;
        self.check(Call::Repeatable, response, &body)?;
        let mut results = self.results(&section.results, &body);
        if results.is_empty() {
            return Err(ProviderFailure::unreadable(Call::Repeatable, response.status, "the answer has no result"));
        }
        for fetched in &mut results {
            // What the poll said of it is not said again.
            fetched.seconds = fetched.seconds.or(result.seconds);
            fetched.size = fetched.size.or(result.size);
        }
        Ok(results)
    }

    /// The answer to a cancellation. One that says nothing, with a status that says success, is a success.
    pub(super) fn cancelled(
        &self,
        section: Option<&CancelledSection>,
        response: &WireResponse<'_>,
    ) -> Result<Cancellation, ProviderFailure> {
        let failure = match object_within(self.most_bytes, Call::Repeatable, response) {
            Ok(body) => match self.check(Call::Repeatable, response, &body) {
                Ok(()) => return Ok(Cancellation::Cancelled),
                Err(failure) => failure,
            },
            Err(_) if response.is_success() => return Ok(Cancellation::Cancelled),
            Err(failure) => failure,
        };
        let code = Code::word(&failure.code);
        let too_late = section.is_some_and(|section| section.too_late.contains(&code));
        if too_late || failure.class == FailureClass::InvalidRequest { Ok(Cancellation::TooLate) } else { Err(failure) }
    }

    fn ended(&self, section: &PolledSection, body: &Value) -> Polled {
        let results = self.results(&section.results, body);
        if results.is_empty() {
            return Polled::Failed(ProviderFailure::no_result());
        }
        let usage = Usage { seconds: section.billed_seconds.read(body, number), pictures: None };
        Polled::Finished(finished(results, usage, section.rewritten_prompt.read(body, prompt)))
    }

    /// The answer's body as a result, where the declaration and the answer say that it is one.
    fn whole_body(&self, section: &ResultsSection, response: &WireResponse<'_>) -> Option<RemoteResult> {
        let media_type = response.media_type()?;
        let is_file = ["image/", "video/"].iter().any(|start| media_type.starts_with(start));
        let is_whole = !response.body.is_empty() && response.body.len() <= self.most_bytes;
        if !(section.body && response.is_success() && is_file && is_whole) {
            return None;
        }
        let source = ResultSource::Inline { media_type: Some(media_type), bytes: response.body.to_vec().into() };
        Some(RemoteResult::new(source, self.kind(section)))
    }

    fn kind(&self, section: &ResultsSection) -> ResultKind {
        section.kind.map_or(self.usual_kind, Into::into)
    }

    fn results(&self, section: &ResultsSection, body: &Value) -> Vec<RemoteResult> {
        let found = match &section.list {
            Some(pointer) => pointer.find(body),
            None => Some(body),
        };
        let found: &[Value] = match found {
            Some(Value::Array(values)) => values,
            Some(value) => std::slice::from_ref(value),
            None => &[],
        };
        found.iter().take(MOST_RESULTS).filter_map(|result| self.result(section, result)).collect()
    }

    fn result(&self, section: &ResultsSection, value: &Value) -> Option<RemoteResult> {
        let linked = || section.link.read(value, link).map(ResultSource::link);
        let inline = || section.base64.read(value, |found| ResultSource::inline(found.as_str()?));
        let file = || section.file.read(value, identifier).map(ResultSource::File);
        let source = linked().or_else(inline).or_else(file)?;
        let size = section.width.read(value, side).zip(section.height.read(value, side));
        Some(RemoteResult {
            seconds: section.seconds.read(value, number),
            size: size.map(|(width, height)| PixelSize { width, height }),
            ..RemoteResult::new(source, self.kind(section))
        })
    }

    /// Whether the answer is no error: neither by its status, nor by a code beside a success.
    fn check(&self, call: Call, response: &WireResponse<'_>, body: &Value) -> Result<(), ProviderFailure> {
        let code = self.errors.code.read(body, Code::of);
        let refused = self.errors.fine.as_ref().zip(code.as_ref()).is_some_and(|(fine, code)| !fine.contains(code));
        if response.is_success() && !refused {
            return Ok(());
        }
        let class = self.class_of(code.as_ref());
        let of_status = || {
            let told = self.errors.statuses.get(&Code::word(&response.status.to_string()));
            told.map_or_else(|| class_of_status(response.status), |word| (*word).into())
        };
        let class = call.class(class.unwrap_or_else(of_status), response.status, code.is_some());
        let name = self.errors.code.read(body, text).unwrap_or_else(|| format!("http_{}", response.status));
        let message = self.errors.message.read(body, text).unwrap_or_default();
        let wait = self.errors.retry_after.read(body, number).map(|seconds| seconds.ceil().min(3600.0) as u32);
        Err(ProviderFailure::new(class, &name, &message).after(response.retry_after_seconds().or(wait)))
    }

    fn class_of(&self, code: Option<&Code>) -> Option<FailureClass> {
        Some((*self.errors.codes.get(code?)?).into())
    }

    fn task_failure(&self, body: &Value) -> ProviderFailure {
        let class = self.class_of(self.errors.code.read(body, Code::of).as_ref()).unwrap_or(FailureClass::TaskFailed).of_task();
        let code = self.errors.code.read(body, text).unwrap_or_else(|| "task_failed".to_owned());
        ProviderFailure::new(class, &code, &self.errors.message.read(body, text).unwrap_or_default())
    }
}

fn underway(section: &PolledSection, state: Underway, body: &Value) -> Polled {
    let whole = section.progress_whole.unwrap_or(100.0);
    let percent = section.progress.read(body, number).map(|done| (done / whole * 100.0).clamp(0.0, 100.0) as u8);
    Polled::Underway { state, progress_percent: percent, unknown_word: None }
}

fn finished(results: Vec<RemoteResult>, usage: Usage, rewritten_prompt: Option<String>) -> Finished {
    Finished { results, usage, rewritten_prompt }
}
