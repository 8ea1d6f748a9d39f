//! `config.json` of a component: every key is either understood, known to say nothing about the network, or refused by name.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::{Error, Result, shortened};

/// The keys of one `config.json`, taken one by one.
///
/// A component takes what it understands, [`Settings::pin`]s what it only has one implementation of, [`Settings::ignore`]s what does
/// not touch the network, and calls [`Settings::finish`], which refuses whatever is left.
#[derive(Debug)]
pub struct Settings {
    component: &'static str,
    values: Map<String, Value>,
    seen: BTreeSet<&'static str>,
}

impl Settings {
    /// The settings of `component` (`unet`, `vae`, …; used in errors).
    pub fn new(component: &'static str, values: Map<String, Value>) -> Self {
        Self { component, values, seen: BTreeSet::new() }
    }

    /// An error about `key`.
    pub fn refuse(&self, key: &str, reason: impl std::fmt::Display) -> Error {
        Error::checkpoint(self.component, format!("config.json: {}: {reason}", shortened(key)))
    }

    /// The value of `key`; `None` when absent or null.
    fn value(&mut self, key: &'static str) -> Option<&Value> {
        self.seen.insert(key);
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// A whole number within `range`, `default` when the key is absent or null.
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<usize>, default: Option<usize>) -> Result<usize> {
        match self.value(key).cloned() {
            Some(value) => self.whole(key, &value, &range),
            None => default.ok_or_else(|| self.refuse(key, format!("missing; expected {}", spoken(&range)))),
        }
    }

    /// A whole number within `range`, or nothing.
    pub fn optional_integer(&mut self, key: &'static str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        let value = self.value(key).cloned();
        value.map(|value| self.whole(key, &value, &range)).transpose()
    }

    /// A list of whole numbers within `range`; a single number stands for `length` equal ones. With `length: None` only a list will
    /// do. `Ok(None)` when the key is absent or null.
    pub fn integers(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
        length: Option<usize>,
    ) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.value(key).cloned() else { return Ok(None) };
        let numbers = match (&value, length) {
            (Value::Array(items), _) => {
                if length.is_none() && items.len() > MAX_LEVELS {
                    return Err(self.refuse(key, format!("{} entries; at most {MAX_LEVELS} are supported", items.len())));
                }
                if let Some(length) = length.filter(|length| *length != items.len()) {
                    return Err(self.refuse(key, format!("{} entries for {length} blocks", items.len())));
                }
                items.iter().map(|item| self.whole(key, item, &range)).collect::<Result<Vec<_>>>()?
            }
            (item, Some(length)) => vec![self.whole(key, item, &range)?; length],
            (other, None) => return Err(self.refuse(key, format!("{} is not a list of numbers", shown(other)))),
        };
        if numbers.is_empty() {
            return Err(self.refuse(key, "the list is empty"));
        }
        Ok(Some(numbers))
    }

    /// A finite number within `range`, `default` when the key is absent or null.
    pub fn number(&mut self, key: &'static str, range: RangeInclusive<f64>, default: f64) -> Result<f64> {
        let Some(value) = self.value(key).cloned() else { return Ok(default) };
        match value.as_f64() {
            Some(number) if range.contains(&number) => Ok(number),
            _ => Err(self.refuse(key, format!("{} is not a number from {} to {}", shown(&value), range.start(), range.end()))),
        }
    }

    /// true or false, `default` when the key is absent or null.
    pub fn flag(&mut self, key: &'static str, default: bool) -> Result<bool> {
        let Some(value) = self.value(key).cloned() else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.refuse(key, format!("{} is neither true nor false", shown(&value))))
    }

    /// A word, or nothing.
    pub fn word(&mut self, key: &'static str) -> Result<Option<String>> {
        let Some(value) = self.value(key).cloned() else { return Ok(None) };
        match value {
            Value::String(word) if is_word(&word) => Ok(Some(word)),
            other => Err(self.refuse(key, format!("{} is not a word", shown(&other)))),
        }
    }

    /// A list of words.
    pub fn words(&mut self, key: &'static str) -> Result<Vec<String>> {
        let Some(value) = self.value(key).cloned() else { return Err(self.refuse(key, "missing; expected a list of words")) };
        match serde_json::from_value::<Vec<String>>(value.clone()) {
            Ok(words) if words.iter().all(|word| is_word(word)) => Ok(words),
            _ => Err(self.refuse(key, format!("{} is not a list of words", shown(&value)))),
        }
    }

    /// Accepts `key` only when it is absent, null or one of `allowed` (numbers compare by value: 1 is 1.0).
    pub fn pin(&mut self, key: &'static str, allowed: &[Value]) -> Result<()> {
        let Some(value) = self.value(key).cloned() else { return Ok(()) };
        let same = |other: &Value| match (value.as_f64(), other.as_f64()) {
            (Some(left), Some(right)) => (left - right).abs() == 0.0,
            _ => value == *other,
        };
        if allowed.iter().any(same) {
            return Ok(());
        }
        let choices = allowed.iter().map(Value::to_string).chain(["null".to_owned()]).collect::<Vec<_>>().join(", ");
        Err(self.refuse(key, format!("{} is not supported (supported: {choices})", shown(&value))))
    }

    /// Accepts any value of keys that say nothing about the network.
    pub fn ignore(&mut self, keys: &[&'static str]) {
        self.seen.extend(keys);
    }

    /// Refuses every key that was not looked at, unless it starts with `_` or is null or false.
    pub fn finish(self) -> Result<()> {
        let unknown = self.values.iter().find(|(key, value)| {
            !self.seen.contains(key.as_str()) && !key.starts_with('_') && !value.is_null() && **value != Value::Bool(false)
        });
        match unknown {
            Some((key, value)) => Err(self.refuse(key, format!("{} is a setting this engine does not know", shown(value)))),
            None => Ok(()),
        }
    }

    fn whole(&self, key: &str, value: &Value, range: &RangeInclusive<usize>) -> Result<usize> {
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok()).filter(|number| range.contains(number));
        number.ok_or_else(|| self.refuse(key, format!("{} is not {}", shown(value), spoken(range))))
    }
}

/// More levels than any published network has; a longer list is a lie.
const MAX_LEVELS: usize = 16;

/// Longer than any name of a class or a function, and short enough to be shown in an error.
fn is_word(text: &str) -> bool {
    text.len() <= 80
}

fn spoken(range: &RangeInclusive<usize>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}

fn shown(value: &Value) -> String {
    shortened(&value.to_string())
}
