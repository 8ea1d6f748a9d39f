//! What goes wrong at a provider, and what follows from it.

use std::fmt;

/// Kinds of failure, by what is to be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The provider does not take this request. Nobody was billed.
    InvalidRequest,
    /// The provider's moderation refused the prompt, a picture or the result.
    Moderation,
    /// The key is wrong, belongs to another region or site, or is one of an account that is locked or not in order.
    Authentication,
    /// The key is right, but its account may not use this model.
    Permission,
    /// The account has no money, or has not bought the service.
    Billing,
    /// An allowance of hours, a day or more is used up.
    Quota,
    /// Too many calls, or too many tasks at once.
    RateLimit,
    /// The provider is in trouble and has certainly not begun the task; or a call that changes nothing failed.
    Transient,
    /// A create whose fate nobody knows: the task may run and be billed.
    OutcomeUnknown,
    /// The provider has seen this request's own id before: an earlier create got through.
    Duplicate,
    /// The task was made and failed, or gave nothing.
    TaskFailed,
    /// The answer is not what the provider's documents say.
    Upstream,
}

/// Whether the same key may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameKey {
    /// No: it would fail again, or be billed twice.
    No,
    /// When the pause that the provider named, or one that grows, is over.
    AfterPause,
    /// A few times.
    AtMost(u32),
}

/// What becomes of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyConsequence {
    /// It stays in use.
    Keep,
    /// It rests for so many seconds, or as long as the provider says.
    Rest {
        /// Seconds.
        seconds: u32,
    },
    /// It is not used for this model for so many seconds, or as long as the provider says; other models go on.
    RestForModel {
        /// Seconds.
        seconds: u32,
    },
    /// It is not used until somebody changes it.
    Disable,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The same request with the same key.
    pub same_key: SameKey,
    /// The same request with another key of the provider.
    pub other_key: bool,
    /// The same request at another provider.
    pub other_provider: bool,
    /// What becomes of the key.
    pub key: KeyConsequence,
    /// The HTTP status that our client sees where the failure ends its request; none where the request was accepted and its job fails.
    pub client_status: Option<u16>,
    /// The error code that our client sees.
    pub client_code: &'static str,
}

/// Nothing is tried again, the key stays.
const NOTHING: Action = Action {
    same_key: SameKey::No,
    other_key: false,
    other_provider: false,
    key: KeyConsequence::Keep,
    client_status: Some(502),
    client_code: "upstream_error",
};

impl FailureClass {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::InvalidRequest,
        Self::Moderation,
        Self::Authentication,
        Self::Permission,
        Self::Billing,
        Self::Quota,
        Self::RateLimit,
        Self::Transient,
        Self::OutcomeUnknown,
        Self::Duplicate,
        Self::TaskFailed,
        Self::Upstream,
    ];

    /// What follows. A prompt that one provider refused is never carried to another.
    pub const fn action(self) -> Action {
        match self {
            Self::InvalidRequest => Action { client_status: Some(400), client_code: "invalid_request_error", ..NOTHING },
            Self::Moderation => Action { client_status: Some(400), client_code: "moderation_blocked", ..NOTHING },
            Self::Authentication | Self::Billing => {
                Action { other_key: true, other_provider: true, key: KeyConsequence::Disable, ..NOTHING }
            }
            Self::Permission => {
                Action { other_key: true, other_provider: true, key: KeyConsequence::RestForModel { seconds: 3600 }, ..NOTHING }
            }
            Self::Quota => {
                Action { other_key: true, other_provider: true, key: KeyConsequence::Rest { seconds: 3600 }, ..NOTHING }
            }
            Self::RateLimit => Action {
                same_key: SameKey::AfterPause,
                other_key: true,
                other_provider: true,
                key: KeyConsequence::Rest { seconds: 45 },
                client_status: Some(429),
                client_code: "rate_limit_exceeded",
            },
            Self::Transient => Action {
                same_key: SameKey::AtMost(2),
                other_key: true,
                other_provider: true,
                client_status: Some(503),
                client_code: "upstream_unavailable",
                ..NOTHING
            },
            Self::OutcomeUnknown | Self::Duplicate => Action { client_code: "outcome_unknown", ..NOTHING },
            Self::TaskFailed => Action { client_status: None, client_code: "generation_failed", ..NOTHING },
            Self::Upstream => NOTHING,
        }
    }

    /// Whether a create that failed so may be sent again with the same key: of an unknown outcome only where the provider knows the
    /// request by an id of ours, which the second create then carries too.
    pub const fn may_create_again(self, known_by_our_id: bool) -> bool {
        match self {
            Self::OutcomeUnknown => known_by_our_id,
            other => !matches!(other.action().same_key, SameKey::No),
        }
    }

    /// The class of a task that was made and failed with a reason of this class. What is neither about the request nor about the account
    /// is no reason to try again by itself: another attempt is billed again.
    pub(super) const fn of_task(self) -> Self {
        match self {
            Self::RateLimit | Self::Transient | Self::OutcomeUnknown | Self::Duplicate | Self::Upstream => Self::TaskFailed,
            other => other,
        }
    }

    /// Whether a call that changes nothing may be sent again after this.
    pub const fn may_read_again(self) -> bool {
        matches!(self, Self::RateLimit | Self::Transient | Self::OutcomeUnknown | Self::Upstream)
    }

    /// The status for our client when every key failed so: a quota that nobody has left is one that the client can wait for.
    pub const fn client_status_without_keys(self) -> Option<u16> {
        match self {
            Self::Billing | Self::Quota => Some(429),
            other => other.action().client_status,
        }
    }

    /// One line for users.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::InvalidRequest => "the provider does not take this request",
            Self::Moderation => "the provider's moderation refused the prompt, a picture or the result",
            Self::Authentication => "the provider does not accept the server's key; its administrator must look at it",
            Self::Permission => "the server's account at the provider may not use this model; its administrator must look at it",
            Self::Billing => "the server's account at the provider cannot pay; its administrator must look at it",
            Self::Quota => "the server's allowance at the provider is used up; try again later",
            Self::RateLimit => "the provider takes no more requests at the moment; try again later",
            Self::Transient => "the provider is in trouble at the moment; try again later",
            Self::OutcomeUnknown => {
                "the provider did not say whether it took the request; it may run and be billed, so it is not sent again"
            }
            Self::Duplicate => {
                "the provider already has this request, from an attempt whose answer was lost; it may run and be billed"
            }
            Self::TaskFailed => "the provider could not make it",
            Self::Upstream => "the provider's answer could not be read",
        }
    }
}

/// Which call failed: the same answer means another thing when it answers a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// A create, which is billed.
    Create,
    /// Polls, retrievals and cancellations: they may be repeated.
    Repeatable,
}

impl Call {
    /// The class for an answer of this call. A create that failed in the provider's inside may have made its task all the same; only
    /// 503 and 529 with an error in the body say that it was turned away at the door.
    pub(super) const fn class(self, class: FailureClass, status: u16, error_in_body: bool) -> FailureClass {
        let turned_away = error_in_body && matches!(status, 429 | 503 | 529);
        match (self, class) {
            (Self::Create, FailureClass::Transient) if !turned_away => FailureClass::OutcomeUnknown,
            // A create that was answered, but not readably, may have succeeded.
            (Self::Create, FailureClass::Upstream) if status < 300 || status >= 500 => FailureClass::OutcomeUnknown,
            (_, class) => class,
        }
    }
}

/// The class of an HTTP status, where nothing in the body says more.
pub(super) const fn class_of_status(status: u16) -> FailureClass {
    match status {
        400 | 404 | 405 | 409..=417 | 422 => FailureClass::InvalidRequest,
        401 => FailureClass::Authentication,
        402 => FailureClass::Billing,
        403 => FailureClass::Permission,
        429 => FailureClass::RateLimit,
        408 | 425 | 500..=599 => FailureClass::Transient,
        _ => FailureClass::Upstream,
    }
}

/// A provider's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderFailure {
    /// What follows from it.
    pub class: FailureClass,
    /// The provider's code, or our word where it gave none.
    pub code: String,
    /// The provider's words, cleaned of links and keys; may be empty.
    pub message: String,
    /// Seconds that the provider asks to wait.
    pub retry_after_seconds: Option<u32>,
}

/// The code of answers that cannot be read.
const UNREADABLE: &str = "unreadable_answer";
/// Most characters of a provider's message that are kept.
const MOST_MESSAGE_CHARACTERS: usize = 300;
/// Most characters of a provider's code.
const MOST_CODE_CHARACTERS: usize = 80;
/// Letters and digits in a row from which on a word is taken for a key. Task ids (UUIDs) have 36.
const KEY_CHARACTERS: usize = 40;

impl ProviderFailure {
    /// A failure. Code and message may be anything: they are cut to length, and links and keys are taken out.
    pub fn new(class: FailureClass, code: &str, message: &str) -> Self {
        Self {
            class,
            code: clean(code, MOST_CODE_CHARACTERS),
            message: clean(message, MOST_MESSAGE_CHARACTERS),
            retry_after_seconds: None,
        }
    }

    /// An answer that cannot be read.
    pub(super) fn unreadable(call: Call, status: u16, why: &str) -> Self {
        let class = if (200..300).contains(&status) { FailureClass::Upstream } else { class_of_status(status) };
        Self::new(call.class(class, status, false), UNREADABLE, &format!("HTTP {status}: {why}"))
    }

    /// Whether the answer could not be read at all.
    pub fn is_unreadable(&self) -> bool {
        self.code == UNREADABLE
    }

    /// Whether the answer had no words for it: the code is that of the HTTP status, and there is no message.
    pub fn has_no_words(&self) -> bool {
        self.message.is_empty() && self.code.starts_with("http_")
    }

    /// A page for people in place of an answer: the provider's defence against programs. No other key and no other way is tried, since that
    /// would be to get round it.
    pub(super) fn blocked(call: Call, status: u16) -> Self {
        let message = "a page for people came in place of an answer: what stands before the provider keeps programs out";
        Self::new(call.class(FailureClass::Upstream, status, false), "upstream_blocked", message)
    }

    /// The failure with the pause that the provider asked for.
    pub(super) fn after(mut self, seconds: Option<u32>) -> Self {
        self.retry_after_seconds = seconds;
        self
    }

    /// A task that succeeded and has nothing to show for it.
    pub(super) fn no_result() -> Self {
        Self::new(FailureClass::TaskFailed, "no_result", "the task succeeded, but its answer has no result that can be fetched")
    }

    /// A poll, or the like, for a task whose id no provider gave.
    pub(super) fn bad_task_id() -> Self {
        Self::new(FailureClass::Upstream, "bad_task_id", "the task's id holds characters that no provider's id has")
    }

    /// The failure without a secret, and without the parts of it that dots divide, in its code and its message.
    #[must_use]
    pub fn without(mut self, secret: &str) -> Self {
        /// Shorter ones are words.
        const SHORTEST: usize = 6;
        let parts = std::iter::once(secret).chain(secret.split('.'));
        for part in parts.filter(|part| part.len() >= SHORTEST) {
            self.code = self.code.replace(part, "(hidden)");
            self.message = self.message.replace(part, "(hidden)");
        }
        self
    }

    /// A create that was sent and never answered: a timeout, a connection that broke.
    pub fn create_unanswered(message: &str) -> Self {
        Self::new(FailureClass::OutcomeUnknown, "no_answer", message)
    }

    /// A call that never reached the provider: no connection.
    pub fn not_sent(message: &str) -> Self {
        Self::new(FailureClass::Transient, "not_sent", message)
    }
}

impl std::error::Error for ProviderFailure {}

impl fmt::Display for ProviderFailure {
    /// For users: what the provider said only where it is about the request, since other messages are about our account.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.class.sentence())?;
        // What is said of an answer that cannot be read is our own, and whoever told us how to read it needs it.
        let may_be_shown = self.is_unreadable()
            || matches!(self.class, FailureClass::InvalidRequest | FailureClass::Moderation | FailureClass::TaskFailed);
        match (self.code.is_empty(), may_be_shown && !self.message.is_empty()) {
            (false, true) => write!(formatter, " ({}: {})", self.code, self.message),
            (true, true) => write!(formatter, " ({})", self.message),
            (false, false) => write!(formatter, " ({})", self.code),
            (true, false) => Ok(()),
        }
    }
}

/// `text` as one line of at most `most` characters, with links and what looks like a key taken out: results' links are signed, and some
/// providers repeat the key that they do not like.
fn clean(text: &str, most: usize) -> String {
    // The bound on what is looked at is a little wider, so that a word is not cut into something that no longer looks like a key.
    let looked_at: String = text.chars().take(most + 4096).collect();
    let mut cleaned = String::new();
    for word in looked_at.split(|character: char| character.is_whitespace() || character.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !cleaned.is_empty() {
            cleaned.push(' ');
        }
        cleaned.push_str(if word.contains("://") {
            "(link)"
        } else if looks_like_a_key(word) {
            "(hidden)"
        } else {
            word
        });
    }
    cleaned.chars().take(most).collect()
}

fn looks_like_a_key(word: &str) -> bool {
    let runs = word.split(|character: char| !character.is_ascii_alphanumeric() && !"-_.+/=".contains(character));
    runs.into_iter().any(|run| run.len() >= KEY_CHARACTERS || (run.starts_with("sk-") && run.len() > 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureClass::{
        Authentication, Billing, Duplicate, InvalidRequest, Moderation, OutcomeUnknown, Permission, Quota, RateLimit, TaskFailed,
        Transient, Upstream,
    };

    /// Class; again with the same key; with another key; at another provider; whether the key stays; our client's status and code.
    type Row = (FailureClass, bool, bool, bool, bool, Option<u16>, &'static str);

    const ACTIONS: &[Row] = &[
        (InvalidRequest, false, false, false, true, Some(400), "invalid_request_error"),
        (Moderation, false, false, false, true, Some(400), "moderation_blocked"),
        (Authentication, false, true, true, false, Some(502), "upstream_error"),
        (Permission, false, true, true, false, Some(502), "upstream_error"),
        (Billing, false, true, true, false, Some(502), "upstream_error"),
        (Quota, false, true, true, false, Some(502), "upstream_error"),
        (RateLimit, true, true, true, false, Some(429), "rate_limit_exceeded"),
        (Transient, true, true, true, true, Some(503), "upstream_unavailable"),
        (OutcomeUnknown, false, false, false, true, Some(502), "outcome_unknown"),
        (Duplicate, false, false, false, true, Some(502), "outcome_unknown"),
        (TaskFailed, false, false, false, true, None, "generation_failed"),
        (Upstream, false, false, false, true, Some(502), "upstream_error"),
    ];

    #[test]
    fn every_class_has_its_action() {
        assert_eq!(ACTIONS.len(), FailureClass::ALL.len());
        for &(class, same, other_key, other_provider, keeps, status, code) in ACTIONS {
            let action = class.action();
            assert_eq!(action.same_key != SameKey::No, same, "{class:?}");
            assert_eq!((action.other_key, action.other_provider), (other_key, other_provider), "{class:?}");
            assert_eq!(action.key == KeyConsequence::Keep, keeps, "{class:?}");
            assert_eq!((action.client_status, action.client_code), (status, code), "{class:?}");
        }
    }

    #[test]
    fn a_refused_prompt_is_never_carried_elsewhere() {
        let action = Moderation.action();
        assert!(!action.other_key && !action.other_provider && action.same_key == SameKey::No);
    }

    #[test]
    fn a_create_of_unknown_outcome_is_sent_again_only_under_an_id_of_ours() {
        assert!(!OutcomeUnknown.may_create_again(false));
        assert!(OutcomeUnknown.may_create_again(true));
        assert!(!Duplicate.may_create_again(true));
        for class in FailureClass::ALL {
            let expected = matches!(class, RateLimit | Transient);
            assert_eq!(class.may_create_again(false), expected, "{class:?}");
        }
        assert!(!ProviderFailure::create_unanswered("timed out").class.may_create_again(false));
        assert!(ProviderFailure::not_sent("refused").class.may_create_again(false));
    }

    #[test]
    fn a_failing_status_means_another_thing_when_it_answers_a_create() {
        // Status; an error in the body; the class for a create and for a poll.
        for (status, error_in_body, create, poll) in [
            (408, true, OutcomeUnknown, Transient),
            (500, true, OutcomeUnknown, Transient),
            (502, false, OutcomeUnknown, Transient),
            (503, false, OutcomeUnknown, Transient),
            (503, true, Transient, Transient),
            (504, true, OutcomeUnknown, Transient),
            (529, true, Transient, Transient),
            (429, false, RateLimit, RateLimit),
            (400, false, InvalidRequest, InvalidRequest),
            (401, false, Authentication, Authentication),
            (402, false, Billing, Billing),
            (403, false, Permission, Permission),
            (302, false, Upstream, Upstream),
        ] {
            let class = class_of_status(status);
            assert_eq!(Call::Create.class(class, status, error_in_body), create, "{status}");
            assert_eq!(Call::Repeatable.class(class, status, error_in_body), poll, "{status}");
        }
        assert_eq!(ProviderFailure::unreadable(Call::Create, 200, "").class, OutcomeUnknown);
        assert_eq!(ProviderFailure::unreadable(Call::Repeatable, 200, "").class, Upstream);
        assert_eq!(ProviderFailure::unreadable(Call::Create, 301, "").class, Upstream);
    }

    #[test]
    fn when_no_key_is_left_the_client_is_told_to_wait() {
        assert_eq!(Quota.client_status_without_keys(), Some(429));
        assert_eq!(Billing.client_status_without_keys(), Some(429));
        assert_eq!(Authentication.client_status_without_keys(), Some(502));
    }

    #[test]
    fn neither_keys_nor_signed_links_get_into_a_message() {
        let key = "0123456789abcdef0123456789abcdef.0123456789abcdef";
        let message = format!(
            "Incorrect key sk-abc123, \"{key}\"\r\nsee https://host/x?Signature=s task 0385dc79-5ff8-4d82-bcb6-000000000000 {}",
            "长".repeat(5000)
        );
        let failure = ProviderFailure::new(Authentication, "InvalidApiKey", &message);
        assert!(
            failure
                .message
                .starts_with("Incorrect key (hidden) (hidden) see (link) task 0385dc79-5ff8-4d82-bcb6-000000000000 长"),
            "{}",
            failure.message
        );
        assert_eq!(failure.message.chars().count(), MOST_MESSAGE_CHARACTERS);
        assert!(!failure.to_string().contains("Incorrect"), "what is said of our account is for the log: {failure}");
        let failure = ProviderFailure::new(InvalidRequest, "InvalidParameter", "size is wrong");
        assert_eq!(failure.to_string(), "the provider does not take this request (InvalidParameter: size is wrong)");
    }
}
