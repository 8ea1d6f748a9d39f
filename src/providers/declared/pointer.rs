//! Places in answers: JSON pointers, of which the first that has something counts.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::Value;

/// Most bytes of a pointer.
const MOST_BYTES: usize = 500;
/// Most pointers to one thing.
const MOST_POINTERS: usize = 8;

/// A JSON pointer; an empty one is the whole.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pointer(String);

impl TryFrom<String> for Pointer {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if (text.is_empty() || text.starts_with('/')) && text.len() <= MOST_BYTES {
            return Ok(Self(text));
        }
        Err("must be a JSON pointer such as /data/id: every step begins with '/', and those of lists are numbers from 0")
    }
}

impl Pointer {
    /// What it points to; none where there is nothing, or null.
    pub(super) fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        value.pointer(&self.0).filter(|found| !found.is_null())
    }
}

/// Pointers to the same thing in answers of several shapes. Written as one or as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pointers(Vec<Pointer>);

impl Pointers {
    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the first of them that points to something points to, as `read` understands it.
    pub(super) fn read<T>(&self, value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|pointer| pointer.find(value).and_then(&read))
    }
}

impl fmt::Display for Pointers {
    /// `/data/id or /id`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Pointer(text)) in self.0.iter().enumerate() {
            write!(formatter, "{}{text}", if index > 0 { " or " } else { "" })?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Pointers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Pointers;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON pointer such as /data/id, or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Pointers, E> {
                Pointer::try_from(text.to_owned()).map(|pointer| Pointers(vec![pointer])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Pointers, A::Error> {
                let mut pointers = Vec::new();
                while let Some(pointer) = sequence.next_element()? {
                    if pointers.len() == MOST_POINTERS {
                        return Err(Error::custom(format!("must be at most {MOST_POINTERS} JSON pointers")));
                    }
                    pointers.push(pointer);
                }
                Ok(Pointers(pointers))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_that_has_something_counts() {
        let pointers: Pointers = serde_json::from_value(json!(["/a/b", "/c", "/d/1"])).unwrap();
        let read = |value: Value| pointers.read(&value, |found| found.as_str().map(ToOwned::to_owned));
        assert_eq!(read(json!({ "a": { "b": "x" }, "c": "y" })).as_deref(), Some("x"));
        assert_eq!(read(json!({ "a": { "b": null }, "c": "y" })).as_deref(), Some("y"));
        assert_eq!(read(json!({ "c": 7, "d": ["n", "z"] })).as_deref(), Some("z"), "and what cannot be read is passed over");
        assert_eq!(read(json!([])), None);
    }

    #[test]
    fn pointers_begin_with_a_slash_or_are_the_whole() {
        assert!(serde_json::from_value::<Pointers>(json!("")).is_ok());
        for wrong in [json!("data"), json!("$.data"), json!(["/a", "b"]), json!("/".repeat(501)), json!(7), json!(vec!["/a"; 9])]
        {
            assert!(serde_json::from_value::<Pointers>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
