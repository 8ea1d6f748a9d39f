//! MiniMax's codes, which stand in `base_resp.status_code` beside HTTP 200.

use crate::providers::failure::FailureClass;
use FailureClass::{Authentication, Billing, InvalidRequest, Moderation, Permission, Quota, RateLimit, Transient};

/// The class of a code other than 0.
pub(super) fn class_of_code(code: i64) -> Option<FailureClass> {
    Some(match code {
        1000 | 1001 | 1013 | 1024 | 1033 => Transient,
        1002 | 1039 | 1041 | 2045 => RateLimit,
        1004 | 2049 => Authentication,
        1008 => Billing,
        1026 | 1027 => Moderation,
        1042 | 2013 => InvalidRequest,
        2038 => Permission,
        2056 => Quota,
        _ => return None,
    })
}

/// The code that messages of the second generation end with: `rate limit (1002)`.
pub(super) fn code_in(message: &str) -> Option<i64> {
    let inside = message.trim_end().strip_suffix(')')?.rsplit_once('(')?.1;
    inside.parse().ok().filter(|code| *code > 0)
}
