//! Routes: names that stand for several models.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::state::ApiState;
use crate::domain::{LOCAL_PROVIDER, ProviderId};
use crate::execution::remote::ProviderHealth;
use crate::routes::{Route, RouteTarget};

/// The routes.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RouteList {
    /// By name.
    routes: Vec<RouteDocument>,
}

/// A route.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RouteDocument {
    /// The name that requests give as the model.
    #[schema(example = "best-video")]
    name: String,
    /// `fallback`, `cheapest`, `fastest`, `round_robin` or `weighted`.
    strategy: String,
    /// The models that it leads to.
    targets: Vec<RouteTargetDocument>,
}

/// A model that a route leads to.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RouteTargetDocument {
    /// `local`, or the provider.
    provider: String,
    /// The model.
    model: String,
    /// How often it is first, relative to the others.
    weight: u32,
    /// Whether it can be asked now.
    is_ready: bool,
}

/// List the routes
#[utoipa::path(
    get, path = "/api/v1/admin/routes", tag = "administration",
    responses((status = 200, description = "As routes.yaml has them", body = RouteList))
)]
pub(in crate::api) async fn list_routes(State(state): State<ApiState>) -> Json<RouteList> {
    let routes = state.routes.all();
    Json(RouteList { routes: routes.values().map(|route| document(&state, route)).collect() })
}

fn document(state: &ApiState, route: &Route) -> RouteDocument {
    let statuses = state.remote.statuses();
    let is_ready = |target: &RouteTarget| match &target.provider {
        None => state.models.describe(&target.model).is_ok(),
        Some(provider) => {
            let health = statuses.iter().find(|status| status.provider == *provider).map(|status| status.health);
            matches!(health, Some(ProviderHealth::Ready | ProviderHealth::Busy))
                && state.remote.provider_model(provider, target.model.as_str()).is_some()
        }
    };
    let target = |target: &RouteTarget| RouteTargetDocument {
        provider: target.provider.as_ref().map_or(LOCAL_PROVIDER, ProviderId::as_str).to_owned(),
        model: target.model.to_string(),
        weight: target.weight,
        is_ready: is_ready(target),
    };
    RouteDocument {
        name: route.name.to_string(),
        strategy: route.strategy.as_str().to_owned(),
        targets: route.targets.iter().map(target).collect(),
    }
}
