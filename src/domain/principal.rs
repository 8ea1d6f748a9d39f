//! Who is asking.

use super::ids::{KeyId, ProjectId, UserId};

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user the key belongs to.
    pub user: UserId,
    /// The project that the key is bound to: it sees and makes only that project's jobs.
    pub project: Option<ProjectId>,
    /// Administrators see everybody's jobs.
    pub admin: bool,
    /// The key, when it is a stored one.
    pub key: Option<KeyId>,
}
