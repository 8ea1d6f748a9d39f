//! The scenes of a film as the native API shows them.

use serde::Serialize;
use utoipa::ToSchema;

use super::task_document::content_path;
use crate::api::error::ApiError;
use crate::api::links::NATIVE_LINK_SECONDS;
use crate::api::state::ApiState;
use crate::domain::plan::{PlannedTask, TaskRole, plan};
use crate::domain::{Job, JobState, Principal, UnixMs};
use crate::jobs::store::TaskRecord;

/// A scene of a film as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct SceneDocument {
    /// Its name.
    id: String,
    /// `queued`, `running`, `completed`, `failed` or `cancelled`.
    #[schema(value_type = String, example = "completed")]
    status: &'static str,
    /// Frames that the film shows of it.
    frames: u32,
    /// The seed that makes it again.
    seed: u64,
    /// How much of it is made: its tasks that are finished, and all of them.
    tasks_completed: usize,
    /// Its tasks.
    tasks: usize,
    /// Whether all of it was taken over from the task that this one tries again.
    taken_over: bool,
    /// A link to a picture of it, once it is made; it needs no key and expires.
    thumbnail_url: Option<String>,
}

/// The scenes of a job, if it is a film.
pub(in crate::api) async fn scenes_of(
    job: &Job,
    state: &ApiState,
    principal: &Principal,
    base_url: &str,
) -> Result<Option<Vec<SceneDocument>>, ApiError> {
    let Some(film) = job.request.film() else { return Ok(None) };
    let records = state.jobs.tasks(principal, job.id).await?;
    let plan = plan(&job.request);
    let expires = UnixMs(state.clock.now().0 + NATIVE_LINK_SECONDS * 1000);
    let id = job.id.to_string();
    let scene = |(index, scene): (usize, &crate::domain::film::Scene)| {
        let standing = Standing::of(index, &plan, &records, job.state);
        let thumbnail = || state.links.sign(base_url, &content_path(&id, "scenes", index), "", expires);
        SceneDocument {
            id: scene.id.clone(),
            status: standing.state.as_str(),
            frames: scene.frames,
            seed: scene.seed,
            tasks_completed: standing.completed,
            tasks: standing.tasks,
            taken_over: standing.taken_over,
            thumbnail_url: (standing.state == JobState::Completed).then(thumbnail),
        }
    };
    Ok(Some(film.scenes.iter().enumerate().map(scene).collect()))
}

/// How far a scene is.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    state: JobState,
    completed: usize,
    tasks: usize,
    taken_over: bool,
}

impl Standing {
    fn of(scene: usize, plan: &[PlannedTask], records: &[TaskRecord], job: JobState) -> Self {
        let planned = || plan.iter().enumerate().filter(|(_, task)| task.role.scene() == Some(scene));
        let record = |position: usize| records.iter().find(|record| record.position as usize == position);
        let states: Vec<Option<JobState>> = planned().map(|(position, _)| record(position).map(|record| record.state)).collect();
        let is_made = planned()
            .filter(|(_, task)| matches!(task.role, TaskRole::Scene { .. }))
            .any(|(position, _)| record(position).is_some_and(|record| record.state == JobState::Completed));
        let has = |state: JobState| states.contains(&Some(state));
        let state = if is_made {
            JobState::Completed
        } else if job.is_terminal() {
            if has(JobState::Failed) { JobState::Failed } else { JobState::Cancelled }
        } else if has(JobState::Running) || has(JobState::Completed) {
            JobState::Running
        } else {
            JobState::Queued
        };
        let made = planned().filter_map(|(position, _)| record(position)).filter(|record| record.state == JobState::Completed);
        Self {
            state,
            completed: made.clone().count(),
            tasks: states.len(),
            taken_over: is_made && made.clone().all(|record| record.attempt == 0),
        }
    }
}
