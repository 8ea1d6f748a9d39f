//! Why Runway's tasks fail: words with dots between, the first of which matter.

use crate::providers::failure::FailureClass;

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
