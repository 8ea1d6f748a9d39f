//! Stability's errors, by name.

use crate::providers::failure::{FailureClass, class_of_status};

/// The class of an error's name, or of the status where the name says no more. Moderation comes with the status of a permission.
pub(super) fn class_of(name: Option<&str>, status: u16) -> FailureClass {
    match name {
        Some(name) if name.contains("moderation") => FailureClass::Moderation,
        _ => class_of_status(status),
    }
}
