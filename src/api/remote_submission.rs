//! From what was asked for to requests to providers, and to routes of several.

use super::error::ApiError;
use super::state::ApiState;
use super::tenancy::Tenancy;
use crate::domain::{JobRequest, ModelDescription, ModelId, RemoteRequest, RoutedRequest};
use crate::execution::remote::{OfferedModel, ProviderHealth, called};
use crate::models::parameters::ParameterError;
use crate::models::remote_parameters::{RemoteModel, native_field};
use crate::providers::RequestRefusal;
use crate::routes::{Candidate, Route, RouteTarget, order};

/// The model as requests name it: by the name that the client gave.
pub(super) fn remote_model(offered: &OfferedModel, id: &ModelId) -> RemoteModel {
    RemoteModel { id: id.clone(), provider: offered.provider.clone(), name: offered.name.clone() }
}

/// A request to a provider, checked against its model's limits, with its price, and with what the provider will be told of length and size
/// where nothing was asked for: clients are shown it, and policies count it.
pub(super) fn priced(state: &ApiState, offered: &OfferedModel, mut request: RemoteRequest) -> Result<JobRequest, ApiError> {
    let priced = state.remote.validate(&offered.provider, offered.id.as_str(), &request);
    let priced = priced.map_err(|refusal| refused(&refusal, &request))?;
    request.estimated_cost_micros = priced.estimated.get();
    request.seconds = request.seconds.or(priced.expected_seconds);
    request.frame = request.frame.or(priced.frame);
    Ok(request.into())
}

/// What a request is made of: for a model of this server, and for one of a provider.
pub(super) struct Translation<'a> {
    /// For a model of this server.
    pub(super) local: &'a dyn Fn(&ModelDescription) -> Result<JobRequest, ApiError>,
    /// For a model of a provider.
    pub(super) remote: &'a dyn Fn(&RemoteModel) -> Result<RemoteRequest, ParameterError>,
}

impl Translation<'_> {
    /// The request to a model of a provider.
    pub(super) fn offered(&self, state: &ApiState, offered: &OfferedModel) -> Result<JobRequest, ApiError> {
        priced(state, offered, (self.remote)(&remote_model(offered, &offered.id))?)
    }

    /// The request to a route: to those of its targets that can express it and that the policies allow, in their order. Fails as the
    /// first target does where none can; where the policies allow none, all are kept, so that the refusal says whose policy it is.
    pub(super) fn routed(&self, state: &ApiState, tenancy: &Tenancy, route: &Route) -> Result<JobRequest, ApiError> {
        let offered = state.remote.describe();
        let statuses = state.remote.statuses();
        let (mut able, mut refusals) = (Vec::new(), Vec::new());
        for target in &route.targets {
            match self.target(state, &offered, target) {
                Ok(request) => {
                    let status =
                        target.provider.as_ref().map(|provider| statuses.iter().find(|status| status.provider == *provider));
                    let (is_ready, seconds) = match status {
                        None => (true, state.scheduler.forecast_new(&request).seconds),
                        Some(None) => (false, None),
                        Some(Some(status)) => {
                            let is_ready = matches!(status.health, ProviderHealth::Ready | ProviderHealth::Busy);
                            let name = request.remote().map(|remote| remote.provider_model.as_str()).unwrap_or_default();
                            (is_ready, status.latencies_ms.get(name).map(|ms| *ms as f64 / 1000.0))
                        }
                    };
                    let cost_micros = request.remote().map_or(0, |remote| remote.estimated_cost_micros);
                    able.push((Candidate { is_ready, cost_micros, seconds, weight: target.weight }, request));
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        let is_allowed: Vec<bool> = able.iter().map(|(_, request)| tenancy.allows_target(state, &route.name, request)).collect();
        if is_allowed.contains(&true) {
            let mut is_allowed = is_allowed.into_iter();
            able.retain(|_| is_allowed.next().unwrap_or(false));
        }
        let candidates: Vec<Candidate> = able.iter().map(|(candidate, _)| *candidate).collect();
        let random = getrandom::u64().map_err(|error| ApiError::internal(error.to_string()))?;
        let mut requests: Vec<Option<JobRequest>> = able.into_iter().map(|(_, request)| Some(request)).collect();
        let tried = order(route.strategy, &candidates, state.routes.next_turn(), random);
        let targets: Vec<JobRequest> = tried.into_iter().filter_map(|index| requests.get_mut(index)?.take()).collect();
        match RoutedRequest::new(route.name.clone(), targets) {
            Some(routed) => Ok(routed.into()),
            None => Err(refusals.into_iter().next().unwrap_or_else(|| {
                ApiError::invalid("model", format!("'{}' is a route whose targets make different things", route.name))
            })),
        }
    }

    fn target(&self, state: &ApiState, offered: &[OfferedModel], target: &RouteTarget) -> Result<JobRequest, ApiError> {
        match &target.provider {
            None => (self.local)(&state.models.describe(&target.model)?),
            Some(provider) => {
                let found = called(offered, &target.model, |model| model.provider == *provider);
                let missing = || {
                    ApiError::invalid(
                        "model",
                        format!("'{}' of provider '{provider}' is not offered at the moment", target.model),
                    )
                };
                self.offered(state, &found.ok_or_else(missing)?)
            }
        }
    }
}

/// What a provider's table refuses, in native words; the other surfaces make theirs of these.
fn refused(refusal: &RequestRefusal, request: &RemoteRequest) -> ApiError {
    let error = ApiError::invalid(refusal.field, refusal.problem());
    match native_field(refusal.field, request) {
        // The words say what it is about the model.
        "model" => error.with_field("model"),
        field => error.renamed(field),
    }
}
