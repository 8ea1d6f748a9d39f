//! What a declaration says of answers: where things are in them, and what words and codes mean.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::Value;

use super::pointer::{Pointer, Pointers};
use super::words::{ClassWord, ResultWord, StateWord};
use crate::providers::request::GenerationKind;

/// What the answer to a create holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreatedSection {
    /// The task's id.
    #[serde(default)]
    pub(super) task: Pointers,
    /// How far it is, in the words of the poll.
    #[serde(default)]
    pub(super) status: Pointers,
    /// The results themselves.
    pub(super) results: Option<ResultsSection>,
    /// The prompt as it was rewritten.
    #[serde(default)]
    pub(super) rewritten_prompt: Pointers,
}

/// What the answer to a poll holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolledSection {
    /// How far the task is.
    #[serde(default)]
    pub(super) status: Pointers,
    /// What its words mean.
    #[serde(default)]
    pub(super) statuses: BTreeMap<Code, StateWord>,
    /// What it means that there is none.
    pub(super) without_status: Option<StateWord>,
    /// How much of it is done.
    #[serde(default)]
    pub(super) progress: Pointers,
    /// What that is when all is done.
    pub(super) progress_whole: Option<f64>,
    /// Its results.
    pub(super) results: ResultsSection,
    /// Seconds of film that are billed.
    #[serde(default)]
    pub(super) billed_seconds: Pointers,
    /// The prompt as it was rewritten.
    #[serde(default)]
    pub(super) rewritten_prompt: Pointers,
}

/// Where results are in an answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultsSection {
    /// Whether the answer's body is the result.
    #[serde(default)]
    pub(super) body: bool,
    /// The list of them, or the only one; without: the answer.
    pub(super) list: Option<Pointer>,
    /// A link, inside a result.
    #[serde(default)]
    pub(super) link: Pointers,
    /// A file as base64, inside a result.
    #[serde(default)]
    pub(super) base64: Pointers,
    /// A file's id, inside a result.
    #[serde(default)]
    pub(super) file: Pointers,
    /// What results are.
    pub(super) kind: Option<ResultWord>,
    /// The length, inside a result.
    #[serde(default)]
    pub(super) seconds: Pointers,
    /// Pixels, inside a result.
    #[serde(default)]
    pub(super) width: Pointers,
    /// Pixels, inside a result.
    #[serde(default)]
    pub(super) height: Pointers,
}

impl ResultsSection {
    /// Whether a result may be a file's id.
    pub(super) fn has_file_ids(&self) -> bool {
        !self.file.is_empty()
    }

    /// Whether results stand in answers themselves.
    pub(super) fn is_inline(&self) -> bool {
        self.body || !self.base64.is_empty()
    }

    /// Whether results can be found with it, of models of these kinds. Fails with the field and a sentence.
    pub(super) fn check(&self, kinds: &[GenerationKind]) -> Result<(), String> {
        let told = !self.link.is_empty() || !self.base64.is_empty() || !self.file.is_empty();
        if told == self.body {
            return Err("results: must have link, base64 or file; or body: true, and none of them".to_owned());
        }
        let pictures = kinds.iter().filter(|kind| **kind == GenerationKind::TextToImage).count();
        if self.kind.is_none() && pictures != 0 && pictures != kinds.len() {
            return Err("results: must have kind: video or kind: picture, since there are models for both".to_owned());
        }
        Ok(())
    }
}

/// What the answer to a fetch holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FetchedSection {
    /// What the file's id stands for.
    pub(super) results: ResultsSection,
}

/// Nothing: the answer is the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NothingSection {}

/// What the answer to a cancellation says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelledSection {
    /// Codes that say that the task runs already, or has ended.
    #[serde(default)]
    pub(super) too_late: Vec<Code>,
    /// Whether only tasks that are known to wait are cancelled.
    #[serde(default)]
    pub(super) only_queued: bool,
}

/// Where errors are in answers, and what they mean.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ErrorsSection {
    /// The code.
    pub(super) code: Pointers,
    /// The message.
    pub(super) message: Pointers,
    /// Seconds to wait.
    pub(super) retry_after: Pointers,
    /// Codes that are none; with it every other one is an error beside HTTP 200 too.
    pub(super) fine: Option<Vec<Code>>,
    /// Classes of codes.
    pub(super) codes: BTreeMap<Code, ClassWord>,
    /// Classes of HTTP statuses.
    pub(super) statuses: BTreeMap<Code, ClassWord>,
}

/// A code or a status: a text, a number, true or false, compared as a text in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Code(String);

impl Code {
    /// The code that a value is.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) if !text.is_empty() => Some(Self::word(text)),
            Value::Number(number) => Some(Self::word(&number.to_string())),
            Value::Bool(flag) => Some(Self::word(&flag.to_string())),
            _ => None,
        }
    }

    /// The code that a word is.
    pub(super) fn word(text: &str) -> Self {
        Self(text.chars().take(200).collect::<String>().to_ascii_lowercase())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = Code;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a word or a number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Code, E> {
                Ok(Code::word(text))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Code, E> {
                Ok(Code::word(&number.to_string()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Code, E> {
                Ok(Code::word(&number.to_string()))
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<Code, E> {
                Ok(Code::word(&flag.to_string()))
            }
        }
        deserializer.deserialize_any(Word)
    }
}
