//! Calls that MiniMax makes to us.
//!
//! They are not signed, so nothing in them is believed: an update says which task to poll now, and no more. The first call holds a
//! challenge that must be answered within [`ANSWER_WITHIN_MS`].

use serde_json::{Value, json};

use super::response::is_end;
use crate::providers::body::identifier;

/// How long MiniMax waits for the answer to a challenge, milliseconds.
pub const ANSWER_WITHIN_MS: u32 = 3000;
/// Most bytes of a call.
pub const MOST_CALLBACK_BYTES: usize = 64 * 1024;
/// Most bytes of a challenge.
const MOST_CHALLENGE_BYTES: usize = 1024;

/// What a call says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callback {
    /// Answer with [`answer`].
    Challenge(String),
    /// Something happened to a task.
    Update {
        /// Its id. Whether it is one of ours is for the caller to know.
        task: String,
        /// Whether it is said to have ended.
        ended: bool,
    },
}

/// What is no call of MiniMax's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is neither a challenge nor an update of a task")]
pub struct CallbackError;

/// Reads a call's body. Fails with [`CallbackError`].
pub fn read(body: &[u8]) -> Result<Callback, CallbackError> {
    if body.len() > MOST_CALLBACK_BYTES {
        return Err(CallbackError);
    }
    let body: Value = serde_json::from_slice(body).map_err(|_| CallbackError)?;
    if let Some(challenge) = body["challenge"].as_str() {
        let fits = (1..=MOST_CHALLENGE_BYTES).contains(&challenge.len());
        return fits.then(|| Callback::Challenge(challenge.to_owned())).ok_or(CallbackError);
    }
    // The second generation may send its task as its poll has it.
    let (id, status) = match &body["task"] {
        Value::Object(task) => (task.get("id"), task.get("status")),
        _ => (body.get("task_id"), body.get("status")),
    };
    let task = id.and_then(identifier).ok_or(CallbackError)?;
    let ended = status.and_then(Value::as_str).is_some_and(is_end);
    Ok(Callback::Update { task, ended })
}

/// The body that answers a challenge, with HTTP 200.
pub fn answer(challenge: &str) -> Value {
    json!({ "challenge": challenge })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_challenge_is_given_back() {
        let Ok(Callback::Challenge(challenge)) = read(br#"{"challenge":"a \"b\" \u4e00"}"#) else { panic!("no challenge") };
        assert_eq!(answer(&challenge), json!({ "challenge": "a \"b\" 一" }));
    }

    #[test]
    fn incoming_words_are_lower_case_and_other_ones() {
        for (status, ended) in [("processing", false), ("success", true), ("failed", true), ("Success", true), ("sic", false)] {
            let body = json!({ "task_id": "115334141465231360", "status": status, "file_id": "205258526306433" });
            let update = Callback::Update { task: "115334141465231360".to_owned(), ended };
            assert_eq!(read(body.to_string().as_bytes()), Ok(update), "{status}");
        }
        let second = json!({ "task": { "id": "7", "status": "succeeded" } });
        assert_eq!(read(second.to_string().as_bytes()), Ok(Callback::Update { task: "7".to_owned(), ended: true }));
    }

    #[test]
    fn anything_else_is_refused() {
        let long = json!({ "challenge": "x".repeat(MOST_CHALLENGE_BYTES + 1) }).to_string();
        let huge = " ".repeat(MOST_CALLBACK_BYTES) + r#"{"challenge":"a"}"#;
        for body in
            ["", "{", "[]", "null", "7", r#"{"challenge":""}"#, r#"{"task_id":"../x"}"#, r#"{"status":"success"}"#, &long, &huge]
        {
            assert_eq!(read(body.as_bytes()), Err(CallbackError), "{body:.40}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body);
        }
    }
}
