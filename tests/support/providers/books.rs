//! What a cloud knows of its customers: which keys it accepts, whose each task is, and how far it is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::credentials::{name_of_key, secret_of_key};

/// The name of a key that is known, and has no money left.
pub(crate) const POOR_KEY: &str = "poor";

/// What a cloud thinks of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Customer {
    /// It is one's who pays.
    Known,
    /// It is one's who has no money left.
    Poor,
    /// It is nobody's.
    Unknown,
}

impl Customer {
    /// Whose a key is.
    pub(crate) fn of(key: &str) -> Self {
        match name_of_key(key) {
            Some(_) => Self::Known,
            None if key == secret_of_key(POOR_KEY) => Self::Poor,
            None => Self::Unknown,
        }
    }
}

/// A task as somebody sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// How it is, in the cloud's word.
    pub(crate) word: &'static str,
    /// How often it was looked at, this time included.
    pub(crate) looks: usize,
    /// What was asked for.
    pub(crate) asked: Value,
}

#[derive(Debug)]
struct Entry {
    key: String,
    asked: Value,
    looks: usize,
    cancelled: Option<&'static str>,
}

/// The tasks of a cloud. Each look finds a task one word further.
#[derive(Debug)]
pub(crate) struct Books {
    words: &'static [&'static str],
    furthest: usize,
    entries: BTreeMap<String, Entry>,
}

impl Books {
    /// Without tasks; they will pass through these words.
    pub(crate) fn new(words: &'static [&'static str]) -> Self {
        Self { words, furthest: words.len() - 1, entries: BTreeMap::new() }
    }

    /// No task gets further than this word.
    pub(crate) fn until(mut self, word: &str) -> Self {
        self.furthest = self.words.iter().position(|other| *other == word).unwrap();
        self
    }

    /// Writes down a new task of a key; its id.
    pub(crate) fn make(&mut self, id: impl FnOnce(usize) -> String, key: &str, asked: Value) -> String {
        let id = id(self.entries.len() + 1);
        self.entries.insert(id.clone(), Entry { key: key.to_owned(), asked, looks: 0, cancelled: None });
        id
    }

    /// Looks at a task; none where this key has no such task.
    pub(crate) fn look(&mut self, id: &str, key: &str) -> Option<Seen> {
        let entry = self.entries.get_mut(id).filter(|entry| entry.key == key)?;
        entry.looks += 1;
        self.see(id, key)
    }

    /// A task as it was when it was last looked at.
    pub(crate) fn see(&self, id: &str, key: &str) -> Option<Seen> {
        let entry = self.entries.get(id).filter(|entry| entry.key == key)?;
        let word = entry.cancelled.unwrap_or_else(|| self.words[entry.looks.saturating_sub(1).min(self.furthest)]);
        Some(Seen { word, looks: entry.looks, asked: entry.asked.clone() })
    }

    /// Cancels a task, which is `word` from now on, unless it has ended; as it was before.
    pub(crate) fn cancel(&mut self, id: &str, key: &str, word: &'static str) -> Option<Seen> {
        let before = self.see(id, key)?;
        let has_ended = before.word == self.words[self.words.len() - 1];
        if !has_ended {
            self.entries.get_mut(id)?.cancelled = Some(word);
        }
        Some(before)
    }

    /// Removes a task.
    pub(crate) fn remove(&mut self, id: &str) {
        self.entries.remove(id);
    }
}
