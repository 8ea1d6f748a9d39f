//! Why Runway's calls and tasks fail. The codes of tasks are words with dots between, the first of which matter.

use crate::providers::failure::{FailureClass, class_of_status};

/// The class of an answer that is an error. An account without credits is told apart from a wrong request by words alone.
pub(super) fn class_of_answer(status: u16, error: Option<&str>) -> FailureClass {
    match error {
        Some(error) if status == 400 && error.to_ascii_lowercase().contains("not have enough credits") => FailureClass::Billing,
        _ => class_of_status(status),
    }
}

/// The class of a failed task's code: `SAFETY.INPUT.TEXT`, `INPUT_PREPROCESSING.SAFETY.TEXT`, `ASSET.INVALID`, `INTERNAL.BAD_OUTPUT…`.
pub(super) fn class_of_code(code: &str) -> FailureClass {
    let mut words = code.split('.');
    match words.next() {
        Some("SAFETY") => FailureClass::Moderation,
        Some("INPUT_PREPROCESSING") if words.next() == Some("SAFETY") => FailureClass::Moderation,
        Some("ASSET") => FailureClass::InvalidRequest,
        _ => FailureClass::TaskFailed,
    }
}

/// What users are shown of a code: its first two words. The others are for diagnosis and may name an input that there was not.
pub(super) fn shown(code: &str) -> &str {
    match code.match_indices('.').nth(1) {
        Some((at, _)) => code.get(..at).unwrap_or(code),
        None => code,
    }
}
