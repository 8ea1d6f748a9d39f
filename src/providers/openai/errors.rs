//! Codes of OpenAI's errors.

use crate::providers::failure::FailureClass;
use FailureClass::{Authentication, Billing, InvalidRequest, Moderation, Permission, RateLimit, Transient};

const CODES: &[(&str, FailureClass)] = &[
    ("insufficient_quota", Billing),
    ("billing_hard_limit_reached", Billing),
    ("rate_limit_exceeded", RateLimit),
    ("invalid_api_key", Authentication),
    ("model_not_found", InvalidRequest),
    ("invalid_request_error", InvalidRequest),
    ("authentication_error", Authentication),
    ("permission_error", Permission),
    ("server_error", Transient),
];

/// Words in the codes of moderation, which services write in several ways.
const MODERATION_WORDS: &[&str] = &["moderation", "content_policy", "content_filter", "safety"];

/// The class of a code or of a type.
pub(super) fn class_of_code(code: &str) -> Option<FailureClass> {
    let known = CODES.iter().find(|(known, _)| *known == code).map(|(_, class)| *class);
    known.or_else(|| {
        let code = code.to_ascii_lowercase();
        MODERATION_WORDS.iter().any(|word| code.contains(word)).then_some(Moderation)
    })
}
