//! DashScope's codes.

use crate::providers::failure::FailureClass;
use FailureClass::{Authentication, Billing, InvalidRequest, Moderation, Permission, Quota, RateLimit, Transient};

/// Codes and their classes. Some say with 400 or 429 that money is missing, so the code counts before the status.
const CODES: &[(&str, FailureClass)] = &[
    ("InvalidParameter", InvalidRequest),
    ("InvalidURL", InvalidRequest),
    ("BadRequest", InvalidRequest),
    ("UnsupportedOperation", InvalidRequest),
    ("ModelNotFound", InvalidRequest),
    ("WorkSpaceNotFound", InvalidRequest),
    ("DataInspectionFailed", Moderation),
    ("IPInfringementSuspect", Moderation),
    ("CustomRoleBlocked", Moderation),
    ("FaqRuleBlocked", Moderation),
    ("InvalidApiKey", Authentication),
    ("AccessDenied", Permission),
    ("Model.AccessDenied", Permission),
    ("Workspace.AccessDenied", Permission),
    ("AllocationQuota.FreeTierOnly", Billing),
    ("Arrearage", Billing),
    ("PrepaidBillOverdue", Billing),
    ("PostpaidBillOverdue", Billing),
    ("CommodityNotPurchased", Billing),
    ("Throttling.AllocationQuota", Quota),
    ("Throttling", RateLimit),
    ("LimitRequests", RateLimit),
    ("RequestTimeOut", Transient),
    ("InternalError", Transient),
    ("SystemError", Transient),
    ("ModelUnavailable", Transient),
];

/// The class of a code, or of the code before its first dot (`Throttling.BurstRate` is `Throttling`).
pub(super) fn class_of_code(code: &str) -> Option<FailureClass> {
    let find = |name: &str| CODES.iter().find(|(known, _)| *known == name).map(|(_, class)| *class);
    find(code).or_else(|| find(code.split_once('.')?.0))
}
