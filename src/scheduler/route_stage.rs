//! What became of a request at a target of its route, for those who count.

use super::conclusion::Conclusion;
use super::dispatcher::Shared;
use crate::domain::{Job, JobRequest, RouteStage, RouteStageResult};
use crate::jobs::RunningTask;

/// Tells what became of a request at a target of its route, where that is over.
pub(super) fn report(shared: &Shared, task: &RunningTask, job: &Job, conclusion: &Conclusion) {
    let JobRequest::Routed(routed) = &task.job.request else { return };
    let result = match (job.state, conclusion) {
        (state, _) if state.is_terminal() => RouteStageResult::Ended(state),
        (_, Conclusion::End(outcome)) if task.is_passed_on(outcome) => RouteStageResult::PassedOn,
        _ => return,
    };
    let target = task.request();
    let provider = target.remote().map(|request| &request.provider);
    shared.parts.observer.route_stage_ended(RouteStage { route: &routed.model, provider, model: target.model() }, result);
}
