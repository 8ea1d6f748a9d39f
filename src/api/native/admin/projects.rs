//! Projects: those with a file.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::page::NamePage;
use super::policy_document::PolicyDocument;
use crate::api::error::{ApiError, Problem};
use crate::api::extract::QueryParameters;
use crate::api::quota_document::{QuotaDocument, Standing};
use crate::api::state::ApiState;
use crate::api::tenancy::{find_project, parse_project};
use crate::domain::{Holder, ProjectId, ProjectPolicy, Reservation};
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

/// Projects.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProjectList {
    /// By name.
    projects: Vec<ProjectDocument>,
    /// `after` of the next page; null on the last.
    next: Option<String>,
}

fn meters(state: &ApiState, id: &ProjectId, project: &ProjectPolicy) -> Vec<Reservation> {
    quota::meters(&Holder::Project(id.clone()), &project.policy, state.tenants.zone(), state.clock.now())
}

/// The counters of a project as they stand.
pub(super) async fn usage_of(state: &ApiState, id: &ProjectId, project: &ProjectPolicy) -> Result<Vec<QuotaDocument>, ApiError> {
    Ok(Standing::read(state, meters(state, id, project)).await?.documents())
}

impl ProjectDocument {
    fn new(id: &ProjectId, project: &ProjectPolicy, usage: Vec<QuotaDocument>) -> Self {
        Self {
            id: id.to_string(),
            default_engine: project.default_engine.clone(),
            style: project.style.clone(),
            policy: (&project.policy).into(),
            usage,
        }
    }
}

/// List the projects
#[utoipa::path(
    get, path = "/api/v1/admin/projects", tag = "administration", params(NamePage),
    responses(
        (status = 200, description = "By name", body = ProjectList),
        (status = 422, description = "A parameter cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn list_projects(
    State(state): State<ApiState>,
    QueryParameters(page): QueryParameters<NamePage>,
) -> Result<Json<ProjectList>, ApiError> {
    let policies = state.tenants.policies();
    let (projects, next) = page.of(&policies.projects, |(id, _)| id.as_str())?;
    let standings =
        Standing::read_each(&state, projects.iter().map(|(id, project)| meters(&state, id, project)).collect()).await?;
    let document = |((id, project), standing): (_, Standing)| ProjectDocument::new(id, project, standing.documents());
    Ok(Json(ProjectList { projects: projects.into_iter().zip(standings).map(document).collect(), next }))
}

/// Look at a project
#[utoipa::path(
    get, path = "/api/v1/admin/projects/{id}", tag = "administration", params(("id" = String, Path, description = "The project")),
    responses(
        (status = 200, description = "Policy and usage", body = ProjectDocument),
        (status = 404, description = "No such project", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No project can have that name", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_project(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<ProjectDocument>, ApiError> {
    let (id, policies) = (parse_project(&id)?, state.tenants.policies());
    let project = find_project(&policies, &id, true)?;
    Ok(Json(ProjectDocument::new(&id, project, usage_of(&state, &id, project).await?)))
}
