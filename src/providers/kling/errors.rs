//! Kling's codes: whole numbers, with a status that says less.

use crate::providers::failure::FailureClass;
use FailureClass::{Authentication, Billing, InvalidRequest, Moderation, Permission, RateLimit, Transient};

/// The class of a code other than 0. With HTTP 429 come rates, but also an empty account and addresses that are not on its list.
pub(super) fn class_of_code(code: i64) -> Option<FailureClass> {
    Some(match code {
        // Also: the account is not in order, or may not be used from here.
        1000..=1004 | 1100 | 1304 => Authentication,
        1103 => Permission,
        1101 | 1102 => Billing,
        1200..=1203 => InvalidRequest,
        1300 | 1301 => Moderation,
        1302 | 1303 => RateLimit,
        5000..=5002 => Transient,
        _ => return None,
    })
}
