//! Projects: those with a file.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::policy_document::PolicyDocument;
use crate::api::error::{ApiError, Problem};
use crate::api::quota_document::{QuotaDocument, Standing};
use crate::api::state::ApiState;
use crate::api::tenancy::{find_project, parse_project};
use crate::domain::{Holder, ProjectId, ProjectPolicy};
use crate::quota;

/// A project.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProjectDocument {
    /// The project's name.
    id: String,
    /// The model of requests that name none.
    default_engine: Option<String>,
    /// The preset of `styles.yaml` that its pictures use.
    style: Option<String>,
    /// What all its users together may do.
    policy: PolicyDocument,
    /// Its counters as they stand.
    usage: Vec<QuotaDocument>,
}

/// Every project.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProjectList {
    /// By name.
    projects: Vec<ProjectDocument>,
}

/// The counters of a project as they stand.
pub(super) async fn usage_of(state: &ApiState, id: &ProjectId, project: &ProjectPolicy) -> Result<Vec<QuotaDocument>, ApiError> {
    let holder = Holder::Project(id.clone());
    let meters = quota::meters(&holder, &project.policy, state.tenants.zone(), state.clock.now());
    Ok(Standing::read(state, meters).await?.documents())
}

impl ProjectDocument {
    async fn read(state: &ApiState, id: &ProjectId, project: &ProjectPolicy) -> Result<Self, ApiError> {
        Ok(Self {
            id: id.to_string(),
            default_engine: project.default_engine.clone(),
            style: project.style.clone(),
            policy: (&project.policy).into(),
            usage: usage_of(state, id, project).await?,
        })
    }
}

/// List the projects
#[utoipa::path(get, path = "/api/v1/admin/projects", tag = "administration", responses((status = 200, description = "By name", body = ProjectList)))]
pub(in crate::api) async fn list_projects(State(state): State<ApiState>) -> Result<Json<ProjectList>, ApiError> {
    let policies = state.tenants.policies();
    let mut projects = Vec::with_capacity(policies.projects.len());
    for (id, project) in &policies.projects {
        projects.push(ProjectDocument::read(&state, id, project).await?);
    }
    Ok(Json(ProjectList { projects }))
}

/// Look at a project
#[utoipa::path(
    get, path = "/api/v1/admin/projects/{id}", tag = "administration", params(("id" = String, Path, description = "The project")),
    responses(
        (status = 200, description = "Policy and usage", body = ProjectDocument),
        (status = 404, description = "No such project", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_project(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<ProjectDocument>, ApiError> {
    let (id, policies) = (parse_project(&id)?, state.tenants.policies());
    let project = find_project(&policies, &id, true)?;
    Ok(Json(ProjectDocument::read(&state, &id, project).await?))
}
