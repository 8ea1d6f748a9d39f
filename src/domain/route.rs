//! A request that several models could fulfil, in the order in which they are tried.

use super::ids::ModelId;
use super::job_request::{JobKind, JobRequest};

/// What a route made of a request: for every target the request in its own words, checked against its own limits. The next target is
/// tried where the one before could not be reached, or has broken; never where it refused what the request says.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutedRequest {
    /// The route's name, which the client gave as the model.
    pub model: ModelId,
    /// At least one; all of one kind, and none of them routed itself.
    targets: Vec<JobRequest>,
}

impl RoutedRequest {
    /// A request to these targets; none where there is none, or they are of several kinds, or routed themselves.
    pub fn new(model: ModelId, targets: Vec<JobRequest>) -> Option<Self> {
        let kind = targets.first()?.kind();
        let are_alike = targets.iter().all(|target| target.kind() == kind && !matches!(target, JobRequest::Routed(_)));
        are_alike.then_some(Self { model, targets })
    }

    /// The targets, in order.
    pub fn targets(&self) -> &[JobRequest] {
        &self.targets
    }

    /// The targets, in order, to be filled in.
    pub fn targets_mut(&mut self) -> &mut [JobRequest] {
        &mut self.targets
    }

    /// What all of them make.
    pub fn kind(&self) -> JobKind {
        // There is one: `new` has seen to it.
        self.targets.first().map_or(JobKind::Image, JobRequest::kind)
    }
}
