//! Zhipu's codes: texts of digits.

use crate::providers::failure::{FailureClass, class_of_status};
use FailureClass::{Authentication, Billing, Duplicate, InvalidRequest, Moderation, Permission, Quota, RateLimit, Transient};

/// The class of a code. With HTTP 429 come rates, but also a balance (1113) and allowances of a day or more, which no pause of seconds
/// mends: the code counts before the status.
pub(super) fn class_of_code(code: &str) -> Option<FailureClass> {
    Some(match code {
        // Also: the account is locked, abnormal, or not verified.
        "1000" | "1001" | "1002" | "1003" | "1004" | "1005" | "1110" | "1111" | "1112" | "1120" | "1121" => Authentication,
        "1220" => Permission,
        "1113" => Billing,
        "1302" | "1303" | "1305" | "1312" => RateLimit,
        "1304" | "1308" | "1309" | "1310" | "1311" | "1313" => Quota,
        "1210" | "1211" | "1212" | "1213" | "1214" | "1215" | "1221" | "1222" | "1261" => InvalidRequest,
        "1231" => Duplicate,
        "1301" => Moderation,
        "1200" | "1230" | "1234" => Transient,
        _ => return None,
    })
}

/// The class of a status, two of which are Zhipu's own.
pub(super) fn class_of(status: u16) -> FailureClass {
    match status {
        434 => Permission,
        435 => InvalidRequest,
        other => class_of_status(other),
    }
}
