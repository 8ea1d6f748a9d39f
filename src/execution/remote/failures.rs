//! A provider's failure in the words of jobs and of the ledger. Pure.

use crate::domain::{CallOutcome, ErrorCode, JobError, Micros, ProviderId, ProviderTaskEnd};
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

/// What became of a call, for those who count.
pub fn call_outcome<T>(answered: &Result<T, ProviderFailure>) -> CallOutcome {
    answered.as_ref().map_or_else(|failure| CallOutcome::Failed(class_word(failure.class)), |_| CallOutcome::Answered)
}

/// How a task ended, for those who count.
pub fn task_end(state: CallState, class: Option<FailureClass>) -> ProviderTaskEnd {
    match state {
        CallState::Finished => ProviderTaskEnd::Finished,
        CallState::Cancelled => ProviderTaskEnd::Cancelled,
        _ => ProviderTaskEnd::Failed(class_word(class.unwrap_or(FailureClass::OutcomeUnknown))),
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
    fn calls_and_tasks_are_counted_by_how_they_ended() {
        for (state, class, word) in [
            (CallState::Finished, None, "finished"),
            (CallState::Cancelled, Some(FailureClass::Upstream), "cancelled"),
            (CallState::Failed, Some(FailureClass::Moderation), "moderation"),
            (CallState::Unknown, Some(FailureClass::Authentication), "authentication"),
            (CallState::Unknown, None, "outcome_unknown"),
        ] {
            assert_eq!(task_end(state, class).as_str(), word, "{state:?} {class:?}");
        }
        assert_eq!(call_outcome(&Ok(())).as_str(), "ok");
        assert_eq!(call_outcome::<()>(&Err(ProviderFailure::new(FailureClass::RateLimit, "", ""))).as_str(), "rate_limit");
    }

    #[test]
    fn what_may_be_passed_on_is_of_the_target_and_nothing_else() {
        for class in FailureClass::ALL {
            assert_eq!(error_code(class).is_of_the_target(), class.action().other_provider, "{class:?}");
        }
    }
}
