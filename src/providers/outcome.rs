//! What providers answer, in no provider's words.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::failure::ProviderFailure;
use super::frame::PixelSize;

/// How far a task is that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underway {
    /// It waits.
    Queued,
    /// It runs.
    Running,
}

/// What a create gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// A task to follow.
    Accepted {
        /// Its id at the provider.
        task: String,
        /// How far it is.
        state: Underway,
    },
    /// The results themselves: the call waited for them.
    Finished(Finished),
}

/// What a poll gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Polled {
    /// The task has not ended.
    Underway {
        /// How far it is; what it was before, where the provider's word is not known.
        state: Underway,
        /// That word, to be logged once.
        unknown_word: Option<String>,
    },
    /// It has results, at least one.
    Finished(Finished),
    /// It failed.
    Failed(ProviderFailure),
    /// It was cancelled.
    Cancelled,
}

/// Results, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// They, in the provider's order.
    pub results: Vec<RemoteResult>,
    /// What was used up.
    pub usage: Usage,
    /// The prompt as the provider rewrote it.
    pub rewritten_prompt: Option<String>,
}

/// What a task used up, as far as the provider says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Seconds of film that are billed.
    pub seconds: Option<f64>,
    /// Pictures that are billed.
    pub pictures: Option<u32>,
}

/// A film or a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultKind {
    /// A film.
    Video,
    /// A picture.
    Picture,
}

/// Where a result is.
#[derive(Clone)]
pub enum ResultSource {
    /// Behind a link, which opens for whoever has it. It is fetched with no credential, since its host is another than the provider's.
    Link(SecretString),
    /// Behind an id or an address, which [`super::Provider::fetch`] makes links of.
    File(String),
}

impl ResultSource {
    /// A link.
    pub fn link(link: impl Into<String>) -> Self {
        Self::Link(SecretString::from(link.into()))
    }
}

impl PartialEq for ResultSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Link(one), Self::Link(another)) => one.expose_secret() == another.expose_secret(),
            (Self::File(one), Self::File(another)) => one == another,
            _ => false,
        }
    }
}

impl fmt::Debug for ResultSource {
    /// Without the link: it is signed.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(_) => formatter.write_str("Link"),
            Self::File(id) => write!(formatter, "File({id})"),
        }
    }
}

/// A result.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteResult {
    /// Where it is.
    pub source: ResultSource,
    /// What it is.
    pub kind: ResultKind,
    /// Its length, where the provider says it.
    pub seconds: Option<f64>,
    /// Its size, where the provider says it.
    pub size: Option<PixelSize>,
}

impl RemoteResult {
    /// A result of which nothing more is known.
    pub(super) fn new(source: ResultSource, kind: ResultKind) -> Self {
        Self { source, kind, seconds: None, size: None }
    }
}

/// What a cancellation gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// The task will not run and is not billed.
    Cancelled,
    /// It runs already, or has ended: it goes on and is billed.
    TooLate,
    /// It had ended, and its result is gone.
    Removed,
}
