//! Whose limits a request falls under: its user's, and its project's.

use std::sync::Arc;

use super::error::{ApiError, ErrorKind};
use super::state::ApiState;
use crate::domain::{
    Holder, Job, JobRequest, LOCAL_PROVIDER, ModelId, Principal, ProjectId, ProjectPolicy, Reservation, RoutedRequest,
    TenantPolicies, TenantPolicy, UserId,
};
use crate::quota::{self, Forbidden, Payers};

/// A user, perhaps within a project, and the policies at one moment.
#[derive(Clone, Debug)]
pub(super) struct Tenancy {
    policies: Arc<TenantPolicies>,
    user: UserId,
    project: Option<ProjectId>,
}

impl Tenancy {
    /// The caller's own: within the project that the key is bound to, if it is.
    pub(super) fn of_caller(state: &ApiState, principal: &Principal) -> Result<Self, ApiError> {
        Self::of_request(state, principal, None)
    }

    /// The caller's, within the project that the key is bound to, else within the one that the request names.
    pub(super) fn of_request(state: &ApiState, principal: &Principal, project_id: Option<&str>) -> Result<Self, ApiError> {
        let project = match (&principal.project, project_id) {
            (Some(own), Some(named)) if own.as_str() != named => {
                let shown: String = named.chars().take(64).collect();
                return Err(ApiError::about(
                    ErrorKind::Forbidden,
                    "project_id",
                    format!("is '{shown}', but this key is bound to project '{own}'"),
                ));
            }
            (Some(own), _) => Some(own.clone()),
            (None, Some(named)) => Some(parse_project(named)?),
            (None, None) => None,
        };
        Self::within(state, principal, principal.user.clone(), project)
    }

    /// Those that a job counts for, whoever asks.
    pub(super) fn of_job(state: &ApiState, principal: &Principal, job: &Job) -> Result<Self, ApiError> {
        Self::within(state, principal, job.user.clone(), job.project.clone())
    }

    /// A user's without a project.
    pub(super) fn of_user(state: &ApiState, user: UserId) -> Self {
        Self { policies: state.tenants.policies(), user, project: None }
    }

    fn within(state: &ApiState, principal: &Principal, user: UserId, project: Option<ProjectId>) -> Result<Self, ApiError> {
        let policies = state.tenants.policies();
        if let Some(project) = &project {
            find_project(&policies, project, principal.admin)?;
        }
        Ok(Self { policies, user, project })
    }

    /// The user.
    pub(super) fn user(&self) -> &UserId {
        &self.user
    }

    /// The project, which exists.
    pub(super) fn project(&self) -> Option<&ProjectId> {
        self.project.as_ref()
    }

    /// The model of the project's requests that name none.
    pub(super) fn default_engine(&self) -> Option<&str> {
        self.project_policy()?.default_engine.as_deref()
    }

    /// Whether the lists of models and providers allow a local model.
    pub(super) fn allows(&self, model: &ModelId) -> bool {
        self.allows_of(LOCAL_PROVIDER, model)
    }

    /// Whether the lists of models and providers allow a provider's model.
    pub(super) fn allows_of(&self, provider: &str, model: &ModelId) -> bool {
        self.each().all(|(_, TenantPolicy { limits, .. })| {
            limits.models.as_ref().is_none_or(|models| models.contains(model))
                && limits.providers.as_ref().is_none_or(|providers| providers.contains(provider))
        })
    }

    /// Whether a route of the name may send this request to its target, as far as no quota forbids it for ever.
    pub(super) fn allows_target(&self, state: &ApiState, route: &ModelId, target: &JobRequest) -> bool {
        let alone = RoutedRequest::new(route.clone(), vec![target.clone()]);
        alone.is_some_and(|routed| self.reserve(state, &routed.into()).is_ok())
    }

    /// What a request takes from the quotas.
    pub(super) fn reserve(&self, state: &ApiState, request: &JobRequest) -> Result<Vec<Reservation>, Forbidden> {
        let project = self.project.as_ref().zip(self.project_policy()).map(|(id, project)| (id, &project.policy));
        let payers = Payers { user: (&self.user, self.policies.user(&self.user)), project };
        quota::reserve(request, payers, state.tenants.zone(), state.clock.now())
    }

    /// Every counter of the user and of the project, as a reservation of nothing.
    pub(super) fn meters(&self, state: &ApiState) -> Vec<Reservation> {
        let (zone, now) = (state.tenants.zone(), state.clock.now());
        self.each().flat_map(|(holder, policy)| quota::meters(&holder, policy, zone, now)).collect()
    }

    fn each(&self) -> impl Iterator<Item = (Holder, &TenantPolicy)> {
        let user = (Holder::User(self.user.clone()), self.policies.user(&self.user));
        let project = self.project.as_ref().zip(self.project_policy());
        std::iter::once(user).chain(project.map(|(id, project)| (Holder::Project(id.clone()), &project.policy)))
    }

    fn project_policy(&self) -> Option<&ProjectPolicy> {
        self.policies.projects.get(self.project.as_ref()?)
    }
}

/// A project's policy. Which projects there are is told to administrators alone.
pub(super) fn find_project<'a>(
    policies: &'a TenantPolicies,
    project: &ProjectId,
    is_admin: bool,
) -> Result<&'a ProjectPolicy, ApiError> {
    policies.projects.get(project).ok_or_else(|| {
        let known: Vec<&str> = policies.projects.keys().map(ProjectId::as_str).collect();
        let message = match (is_admin, known.is_empty()) {
            (false, _) => format!("no project '{project}'"),
            (true, true) => format!("no project '{project}'; projects: none"),
            (true, false) => format!("no project '{project}'; projects: {}", known.join(", ")),
        };
        ApiError::new(ErrorKind::ProjectNotFound, message).with_field("project_id")
    })
}

/// A project's name as a client wrote it.
pub(super) fn parse_project(text: &str) -> Result<ProjectId, ApiError> {
    text.parse().map_err(|error: crate::domain::IdError| ApiError::invalid("project_id", format!("cannot be used: {error}")))
}
