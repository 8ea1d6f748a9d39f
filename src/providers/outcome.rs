//! What providers answer, in no provider's words.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
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
        /// How much of it is done, percent, where the provider says it.
        progress_percent: Option<u8>,
        /// That word, to be logged once.
        unknown_word: Option<String>,
    },
    /// It has results, at least one.
    Finished(Finished),
    /// It failed.
    Failed(ProviderFailure),
    /// It was cancelled.
    Cancelled {
        /// It had begun, and is billed all the same.
        is_billed: bool,
    },
}

/// Most characters of a word that nobody knows.
const MOST_WORD_CHARACTERS: usize = 40;

impl Polled {
    /// A task that has not ended.
    pub(super) fn underway(state: Underway) -> Self {
        Self::Underway { state, progress_percent: None, unknown_word: None }
    }

    /// A task of which an unknown word is said, which was in `state` before.
    pub(super) fn unknown(state: Underway, word: &str) -> Self {
        let word = word.chars().take(MOST_WORD_CHARACTERS).collect();
        Self::Underway { state, progress_percent: None, unknown_word: Some(word) }
    }
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
    /// Behind an id or an address, which [`super::Provider::fetch`] makes links of, or [`super::Provider::download`] a call for the
    /// file.
    File(String),
    /// Here: it came with the answer.
    Inline {
        /// The media type, as the provider says it. What the bytes are is for whoever decodes them to see.
        media_type: Option<String>,
        /// The file.
        bytes: Bytes,
    },
}

impl ResultSource {
    /// A link.
    pub fn link(link: impl Into<String>) -> Self {
        Self::Link(SecretString::from(link.into()))
    }

    /// A file that stands in an answer as base64, with or without the head of a `data:` URL. What is no base64, or empty, is none.
    pub fn inline(text: &str) -> Option<Self> {
        let (media_type, encoded) = match text.strip_prefix("data:") {
            Some(rest) => {
                let (head, encoded) = rest.split_once(',')?;
                let media_type = head.strip_suffix(";base64")?.split(';').next().unwrap_or_default().to_ascii_lowercase();
                (Some(media_type).filter(|media_type| !media_type.is_empty()), encoded)
            }
            None => (None, text),
        };
        let bytes = BASE64_STANDARD.decode(encoded).ok().filter(|bytes| !bytes.is_empty())?;
        Some(Self::Inline { media_type, bytes: bytes.into() })
    }
}

impl PartialEq for ResultSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Link(one), Self::Link(another)) => one.expose_secret() == another.expose_secret(),
            (Self::File(one), Self::File(another)) => one == another,
            (Self::Inline { media_type, bytes }, Self::Inline { media_type: other_media_type, bytes: other_bytes }) => {
                media_type == other_media_type && bytes == other_bytes
            }
            _ => false,
        }
    }
}

impl fmt::Debug for ResultSource {
    /// Without the link: it is signed. Without the bytes: they are many.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(_) => formatter.write_str("Link"),
            Self::File(id) => write!(formatter, "File({id})"),
            Self::Inline { bytes, .. } => write!(formatter, "Inline({} bytes)", bytes.len()),
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
    /// It runs already, or has ended: it is billed, whether it goes on or not.
    TooLate,
    /// It had ended, and its result is gone.
    Removed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_base64_with_or_without_a_head() {
        let file = |media_type: Option<&str>| {
            Some(ResultSource::Inline { media_type: media_type.map(ToOwned::to_owned), bytes: Bytes::from_static(&[1, 2, 3]) })
        };
        assert_eq!(ResultSource::inline("AQID"), file(None));
        assert_eq!(ResultSource::inline("data:image/PNG;base64,AQID"), file(Some("image/png")));
        assert_eq!(ResultSource::inline("data:image/png;x=y;base64,AQID"), file(Some("image/png")));
        assert_eq!(ResultSource::inline("data:;base64,AQID"), file(None));
        for text in ["", "A", "AQID!", "data:image/png,AQID", "data:image/png;base64", "data:image/png;base64,", "https://host/"]
        {
            assert_eq!(ResultSource::inline(text), None, "{text}");
        }
    }

    #[test]
    fn neither_links_nor_bytes_show_themselves() {
        let shown = format!("{:?} {:?}", ResultSource::link("https://host/?Signature=s"), ResultSource::inline("AQID"));
        assert_eq!(shown, "Link Some(Inline(3 bytes))");
    }
}
