//! The table of contents: every route, who may call it, and what lies around them all.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{from_fn, from_fn_with_state};
use tower::util::MapRequest;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::normalize_path::NormalizePath;
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::authentication::{require_admin, require_admin_unless_loopback, require_key, require_key_or_link};
use super::error::{ApiError, ErrorKind};
use super::shared_responses::SharedResponses;
use super::state::{ApiSettings, ApiState};
use super::{a1111, documentation, extract, ignored, minimax, native, observe, openai, rate_limit, unified};

/// The whole API. A path with and without its trailing slash is the same, but for the list of tasks (see `unified::list`).
pub fn router(state: ApiState) -> Router {
    let (routes, mut document) = routes(&state).split_for_parts();
    SharedResponses.modify(&mut document);
    let inner = routes
        .merge(documentation::routes(document))
        .fallback(route_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(extract::require_readable_path))
        .layer(DefaultBodyLimit::max(state.settings.max_body_bytes))
        .layer(CatchPanicLayer::custom(extract::panic_response))
        .layer(from_fn_with_state(state.clone(), observe::observe))
        .layer(cors(&state.settings))
        .with_state(state);
    let inner = MapRequest::new(inner, unified::list::with_its_slash);
    Router::new().fallback_service(NormalizePath::trim_trailing_slash(inner))
}

fn routes(state: &ApiState) -> OpenApiRouter<ApiState> {
    // No key needed.
    let open = OpenApiRouter::with_openapi(documentation::Document::openapi()).routes(routes!(native::health::get_health));

    // No key needed by whoever was told the address.
    let called_back = OpenApiRouter::new()
        .routes(routes!(minimax::callbacks::hear_minimax))
        .route_layer(DefaultBodyLimit::max(minimax::callbacks::MOST_BYTES));

    // No key needed on loopback.
    let metrics = OpenApiRouter::new()
        .routes(routes!(native::metrics::get_metrics))
        .route_layer(from_fn_with_state(state.clone(), require_admin_unless_loopback));

    // A key or a signed link.
    let content = OpenApiRouter::new()
        .routes(routes!(native::content::get_result))
        .routes(routes!(native::content::get_result_by_index))
        .routes(routes!(native::content::get_thumbnail))
        .routes(routes!(native::content::get_thumbnail_by_index))
        .routes(routes!(native::media_file::get_sprite_sheet))
        .routes(routes!(native::media_file::get_scene_thumbnail))
        .route_layer(from_fn_with_state(state.clone(), rate_limit::limit_rate))
        .route_layer(from_fn_with_state(state.clone(), require_key_or_link));

    // A key.
    let keyed = OpenApiRouter::new()
        // Native
        .routes(routes!(native::images::generate_image))
        .routes(routes!(native::videos::generate_video))
        .routes(routes!(native::estimate::estimate))
        .routes(routes!(native::tasks::list_tasks))
        .routes(routes!(native::tasks::get_task, native::tasks::delete_task))
        .routes(routes!(native::events::watch_task))
        .routes(routes!(native::tasks::cancel_task))
        .routes(routes!(native::tasks::retry_task))
        .routes(routes!(native::models::list_models))
        .routes(routes!(native::models::get_model))
        .routes(routes!(native::devices::list_devices))
        .routes(routes!(native::usage::get_usage))
        .routes(routes!(native::webhooks::get_webhook_secret))
        .routes(routes!(native::webhooks::list_deliveries))
        .routes(routes!(native::webhooks::list_deliveries_of_task))
        .routes(routes!(native::webhooks::replay_delivery))
        // OpenAI
        .routes(routes!(openai::images::generations::create_images))
        .routes(routes!(openai::images::edits::edit_images))
        .routes(routes!(openai::images::variations::vary_image))
        .routes(routes!(openai::chat::completions::complete_chat))
        .routes(routes!(openai::task_stream::stream_task))
        .routes(routes!(openai::videos::create::create_video, openai::videos::lookup::list_videos))
        .routes(routes!(openai::videos::lookup::get_video, openai::videos::lookup::delete_video))
        .routes(routes!(openai::videos::content::get_video_content))
        .routes(routes!(openai::videos::variations::extend_video))
        .routes(routes!(openai::videos::variations::remix_video))
        .routes(routes!(openai::models::list_openai_models))
        .routes(routes!(openai::models::get_openai_model))
        .merge(a1111::routes())
        // MiniMax
        .routes(routes!(minimax::create::create_video_generation))
        .routes(routes!(minimax::query::query_video_generation))
        .routes(routes!(minimax::files::retrieve_file))
        // Unified tasks; their results are with the content
        .routes(routes!(unified::create::create_task))
        .routes(routes!(unified::list::list_unified_tasks))
        .routes(routes!(unified::tasks::get_task_status))
        .merge(administration())
        .route_layer(from_fn_with_state(state.clone(), rate_limit::limit_rate))
        .route_layer(from_fn_with_state(state.clone(), require_key));

    open.merge(called_back).merge(metrics).merge(content).merge(keyed)
}

/// An administrator's key.
fn administration() -> OpenApiRouter<ApiState> {
    use native::admin;
    OpenApiRouter::new()
        // Tenants
        .routes(routes!(admin::users::list_users))
        .routes(routes!(admin::users::get_user))
        .routes(routes!(admin::projects::list_projects))
        .routes(routes!(admin::projects::get_project))
        .routes(routes!(admin::keys::list_keys, admin::keys::create_key))
        .routes(routes!(admin::keys::revoke_key))
        .routes(routes!(admin::usage::get_usage_of))
        // Devices and what they hold
        .routes(routes!(admin::devices::drain_device))
        .routes(routes!(admin::devices::undrain_device))
        .routes(routes!(admin::models::load_model))
        .routes(routes!(admin::models::unload_model))
        .routes(routes!(admin::models::pin_model))
        .routes(routes!(admin::models::unpin_model))
        // Providers, routes, and what they cost
        .routes(routes!(admin::providers::list_providers))
        .routes(routes!(admin::providers::get_provider))
        .routes(routes!(admin::providers::enable_provider))
        .routes(routes!(admin::providers::disable_provider))
        .routes(routes!(admin::providers::enable_provider_key))
        .routes(routes!(admin::providers::disable_provider_key))
        .routes(routes!(admin::spend::get_spend))
        .routes(routes!(admin::calls::list_calls))
        .routes(routes!(admin::routes::list_routes))
        // The queue
        .routes(routes!(admin::queue::list_queue))
        .routes(routes!(admin::queue::set_priority))
        .route_layer(from_fn(require_admin))
}

fn cors(settings: &ApiSettings) -> CorsLayer {
    const HEADERS: [HeaderName; 5] = [
        AUTHORIZATION,
        CONTENT_TYPE,
        HeaderName::from_static("x-api-key"),
        HeaderName::from_static("idempotency-key"),
        HeaderName::from_static("last-event-id"),
    ];
    const EXPOSED: [HeaderName; 7] = [
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static("x-task-id"),
        ignored::IGNORED,
        RETRY_AFTER,
        rate_limit::LIMIT,
        rate_limit::REMAINING,
        rate_limit::RESET,
    ];
    if settings.cors_origins.is_empty() {
        return CorsLayer::new();
    }
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(HEADERS)
        .expose_headers(EXPOSED);
    if settings.cors_origins.iter().any(|origin| origin == "*") {
        layer.allow_origin(Any)
    } else {
        let origins: Vec<HeaderValue> =
            settings.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin.trim_end_matches('/')).ok()).collect();
        layer.allow_origin(origins)
    }
}

async fn route_not_found(method: Method, uri: axum::http::Uri) -> ApiError {
    ApiError::new(ErrorKind::RouteNotFound, format!("there is no {method} {}; see /docs", uri.path()))
}

async fn method_not_allowed(method: Method, uri: axum::http::Uri) -> ApiError {
    ApiError::new(ErrorKind::MethodNotAllowed, format!("{} does not know {method}; see /docs", uri.path()))
}
