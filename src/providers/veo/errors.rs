//! Google's errors: a status in words, with reasons beside it.

use serde_json::Value;

use crate::providers::body::elements;
use crate::providers::failure::FailureClass;
use FailureClass::{Authentication, InvalidRequest, Permission, RateLimit, Transient};

/// Status words of calls, and the numbers that stand for them in operations.
const STATUSES: &[(&str, i64, FailureClass)] = &[
    ("INVALID_ARGUMENT", 3, InvalidRequest),
    ("DEADLINE_EXCEEDED", 4, Transient),
    ("NOT_FOUND", 5, InvalidRequest),
    ("PERMISSION_DENIED", 7, Permission),
    ("RESOURCE_EXHAUSTED", 8, RateLimit),
    // Not from where the server is, or not without billing.
    ("FAILED_PRECONDITION", 9, Permission),
    ("OUT_OF_RANGE", 11, InvalidRequest),
    ("INTERNAL", 13, Transient),
    ("UNAVAILABLE", 14, Transient),
    ("UNAUTHENTICATED", 16, Authentication),
];

/// The class of a call's error. A wrong key is an `INVALID_ARGUMENT` of which only the reason says so.
pub(super) fn class_of_call(error: &Value) -> Option<FailureClass> {
    if elements(&error["details"]).any(|detail| detail["reason"] == "API_KEY_INVALID") {
        return Some(Authentication);
    }
    let status = error["status"].as_str()?;
    STATUSES.iter().find(|(word, _, _)| *word == status).map(|(_, _, class)| *class)
}

/// The class of an operation's error, whose code is a number of another kind than a call's.
pub(super) fn class_of_operation(code: i64) -> FailureClass {
    STATUSES.iter().find(|(_, number, _)| *number == code).map_or(FailureClass::TaskFailed, |(_, _, class)| class.of_task())
}
