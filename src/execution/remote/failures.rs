//! A provider's failure in the words of jobs and of the ledger. Pure.

use crate::domain::{ErrorCode, JobError, Micros, ProviderId};
use crate::ledger::{CallEnding, CallState};
use crate::providers::{FailureClass, ProviderFailure};

/// The class's word in the ledger.
pub fn class_word(class: FailureClass) -> &'static str {
    match class {
        FailureClass::InvalidRequest => "invalid_request",
        FailureClass::Moderation => "moderation",
        FailureClass::Authentication => "authentication",
        FailureClass::Permission => "permission",
        FailureClass::Billing => "billing",
        FailureClass::Quota => "quota",
        FailureClass::RateLimit => "rate_limit",
        FailureClass::Transient => "transient",
        FailureClass::OutcomeUnknown => "outcome_unknown",
        FailureClass::Duplicate => "duplicate",
        FailureClass::TaskFailed => "task_failed",
        FailureClass::Upstream => "upstream",
    }
}

/// The class of a word.
pub fn class_of_word(word: &str) -> Option<FailureClass> {
    FailureClass::ALL.into_iter().find(|class| class_word(*class) == word)
}

/// What becomes of a call, as metrics say it: its class where it failed.
pub fn outcome_word<T>(answered: &Result<T, ProviderFailure>) -> &'static str {
    answered.as_ref().map_or_else(|failure| class_word(failure.class), |_| "ok")
}

/// How a task ended that gave no results, as metrics say it: `cancelled`, or the class of its failure; none of one that gave some.
pub fn failed_word(state: CallState, class: Option<FailureClass>) -> Option<&'static str> {
    match state {
        CallState::Finished => None,
        CallState::Cancelled => Some("cancelled"),
        _ => Some(class_word(class.unwrap_or(FailureClass::OutcomeUnknown))),
    }
}

/// The job's error code.
pub fn error_code(class: FailureClass) -> ErrorCode {
    match class {
        FailureClass::InvalidRequest => ErrorCode::ProviderRefused,
        FailureClass::Moderation => ErrorCode::ModerationBlocked,
        FailureClass::Authentication
        | FailureClass::Permission
        | FailureClass::Billing
        | FailureClass::Quota
        | FailureClass::RateLimit
        | FailureClass::Transient => ErrorCode::ProviderUnavailable,
        FailureClass::OutcomeUnknown | FailureClass::Duplicate => ErrorCode::OutcomeUnknown,
        FailureClass::TaskFailed | FailureClass::Upstream => ErrorCode::ProviderFailed,
    }
}

/// The job's error.
pub fn job_error(provider: &ProviderId, failure: &ProviderFailure) -> JobError {
    JobError { code: error_code(failure.class), message: format!("{provider}: {failure}") }
}

/// How a call ends, with its failure in the job's words.
pub fn call_ending(provider: &ProviderId, state: CallState, settled: Micros, failure: Option<&ProviderFailure>) -> CallEnding {
    let failure = failure.map(|failure| (class_word(failure.class).to_owned(), job_error(provider, failure).message));
    CallEnding { state, settled, failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_word() {
        for class in FailureClass::ALL {
            assert_eq!(class_of_word(class_word(class)), Some(class));
        }
        assert_eq!(class_of_word("other"), None);
    }

    #[test]
    fn ends_without_results_have_a_word() {
        for (state, class, word) in [
            (CallState::Finished, None, None),
            (CallState::Cancelled, Some(FailureClass::Upstream), Some("cancelled")),
            (CallState::Failed, Some(FailureClass::Moderation), Some("moderation")),
            (CallState::Unknown, Some(FailureClass::Authentication), Some("authentication")),
            (CallState::Unknown, None, Some("outcome_unknown")),
        ] {
            assert_eq!(failed_word(state, class), word, "{state:?} {class:?}");
        }
        assert_eq!(outcome_word(&Ok(())), "ok");
        assert_eq!(outcome_word::<()>(&Err(ProviderFailure::new(FailureClass::RateLimit, "", ""))), "rate_limit");
    }

    #[test]
    fn what_may_be_passed_on_is_of_the_target_and_nothing_else() {
        for class in FailureClass::ALL {
            assert_eq!(error_code(class).is_of_the_target(), class.action().other_provider, "{class:?}");
        }
    }
}
