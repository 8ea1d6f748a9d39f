//! What users and projects may do now: the files' words, swapped whole when the files change.

use std::sync::Arc;

use jiff::tz::TimeZone;
use parking_lot::RwLock;

use super::rates::{RateDecision, Rates};
use crate::domain::{Clock, Holder, Limits, ProjectId, TenantPolicies, UserId};

/// The policies in force, and the rate limits that follow from them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tenants {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    policies: RwLock<Arc<TenantPolicies>>,
    zone: TimeZone,
    rates: Rates,
}

impl Tenants {
    /// Policies that days and months of `zone` count for. Only the passing of `clock` matters here, not what it shows.
    pub fn new(policies: TenantPolicies, zone: TimeZone, clock: Arc<dyn Clock>) -> Self {
        Self { shared: Arc::new(Shared { policies: RwLock::new(Arc::new(policies)), zone, rates: Rates::new(clock) }) }
    }

    /// The policies in force.
    pub fn policies(&self) -> Arc<TenantPolicies> {
        self.shared.policies.read().clone()
    }

    /// Puts new policies in force, at once and as a whole.
    pub fn replace(&self, policies: TenantPolicies) {
        *self.shared.policies.write() = Arc::new(policies);
    }

    /// Where days and months begin.
    pub fn zone(&self) -> &TimeZone {
        &self.shared.zone
    }

    /// Counts one request of a user.
    pub fn admit(&self, user: &UserId) -> RateDecision {
        let limit = self.user_limits(user, |limits| limits.requests_per_minute);
        self.shared.rates.admit(&Holder::User(user.clone()), limit)
    }

    /// Counts one request for a project, of whichever user.
    pub fn admit_project(&self, project: &ProjectId) -> RateDecision {
        let limit = self.project_limits(project, |limits| limits.requests_per_minute).flatten();
        self.shared.rates.admit(&Holder::Project(project.clone()), limit)
    }

    /// The priority of a job that asks for `wanted`: the user's and the project's are added to it.
    pub fn priority(&self, user: &UserId, project: Option<&ProjectId>, wanted: i32) -> i32 {
        let of_project = project.and_then(|project| self.project_limits(project, |limits| limits.priority)).unwrap_or(0);
        wanted.saturating_add(self.user_limits(user, |limits| limits.priority)).saturating_add(of_project)
    }

    /// A user's weight among the users of a project (or of none); 1 unless configured.
    pub fn user_weight(&self, user: &UserId) -> f64 {
        self.user_limits(user, |limits| limits.weight).unwrap_or(1.0)
    }

    /// A project's weight among projects; 1 unless configured, and for `None`, everything outside projects.
    pub fn project_weight(&self, project: Option<&ProjectId>) -> f64 {
        project.and_then(|project| self.project_limits(project, |limits| limits.weight).flatten()).unwrap_or(1.0)
    }

    /// How many jobs of the user may run at once.
    pub fn user_concurrency(&self, user: &UserId) -> Option<u32> {
        self.user_limits(user, |limits| limits.max_concurrent_jobs)
    }

    /// How many jobs of the project may run at once.
    pub fn project_concurrency(&self, project: &ProjectId) -> Option<u32> {
        self.project_limits(project, |limits| limits.max_concurrent_jobs).flatten()
    }

    fn user_limits<T>(&self, user: &UserId, look: impl FnOnce(&Limits) -> T) -> T {
        look(&self.shared.policies.read().user(user).limits)
    }

    fn project_limits<T>(&self, project: &ProjectId, look: impl FnOnce(&Limits) -> T) -> Option<T> {
        self.shared.policies.read().projects.get(project).map(|project| look(&project.policy.limits))
    }
}
