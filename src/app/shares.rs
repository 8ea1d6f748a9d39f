//! What tenants are granted, in the scheduler's words.

use crate::domain::{ProjectId, UserId};
use crate::scheduler::fleet::Shares;
use crate::tenants::Tenants;

/// The policies in force, as the scheduler asks for them.
#[derive(Clone, Debug)]
pub struct TenantShares(pub Tenants);

impl Shares for TenantShares {
    fn user_weight(&self, user: &UserId) -> f64 {
        self.0.user_weight(user)
    }

    fn project_weight(&self, project: Option<&ProjectId>) -> f64 {
        self.0.project_weight(project)
    }

    fn user_concurrency(&self, user: &UserId) -> Option<u32> {
        self.0.user_concurrency(user)
    }

    fn project_concurrency(&self, project: &ProjectId) -> Option<u32> {
        self.0.project_concurrency(project)
    }
}
