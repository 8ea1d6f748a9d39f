//! The refusals that routes have in common, put into the OpenAPI document in one place: who asks, how often, and what no route reads.
//!
//! What a route says itself of a status stays.

use axum::http::StatusCode;
use utoipa::Modify;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::Ref;
use utoipa::openapi::{ContentBuilder, OpenApi as OpenApiDocument, PathItem, RefOr, ResponseBuilder, Schema};

use super::error::Surface;

/// Adds them to every route that needs a key.
pub(super) struct SharedResponses;

impl Modify for SharedResponses {
    fn modify(&self, document: &mut OpenApiDocument) {
        for (path, item) in &mut document.paths.paths {
            for operation in operations(item) {
                describe(path, operation);
            }
        }
    }
}

/// The methods that routes have.
fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

fn describe(path: &str, operation: &mut Operation) {
    use StatusCode as S;
    // The head of the document asks for a key; whoever needs none says so.
    if operation.security.is_some() {
        return;
    }
    let surfaces = surfaces_of(path, operation);
    let surface = surfaces[0];
    // Its refusals have HTTP 200, and its routes say so.
    if surface == Surface::MiniMax {
        return;
    }
    let has = |asked: &dyn Fn(&Parameter) -> bool| {
        let is_it = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if asked(parameter));
        operation.parameters.iter().flatten().any(is_it)
    };
    let has_in = |place: ParameterIn| has(&|parameter| parameter.parameter_in == place);
    let mut refusals = vec![(S::UNAUTHORIZED, "No key, or one that is not valid"), (S::TOO_MANY_REQUESTS, "Too many requests")];
    if is_for_administrators(path) {
        refusals.push((S::FORBIDDEN, "The key is not an administrator's"));
    }
    if operation.request_body.is_some() {
        refusals.push((S::PAYLOAD_TOO_LARGE, "The body is longer than this server allows"));
        refusals.push((S::UNSUPPORTED_MEDIA_TYPE, "The body is not of a type that is read here"));
        if surface == Surface::Native {
            refusals.push((S::BAD_REQUEST, "The body is not a JSON object"));
        }
    }
    if operation.request_body.is_some() || has_in(ParameterIn::Query) || has_in(ParameterIn::Header) {
        let unusable = if surface == Surface::OpenAi { S::BAD_REQUEST } else { S::UNPROCESSABLE_ENTITY };
        refusals.push((unusable, "A value cannot be used"));
    }
    if has(&|parameter| parameter.name == "Idempotency-Key") {
        refusals.push((S::CONFLICT, "The idempotency key belongs to another request"));
    }
    if has_in(ParameterIn::Path) {
        refusals.push((S::NOT_FOUND, "The path names nothing that there is"));
    }
    for (status, description) in refusals {
        let response = || {
            let described = ResponseBuilder::new().description(description);
            surfaces.iter().fold(described, |response, surface| response.content(media_type(*surface), content(*surface, status)))
        };
        operation.responses.responses.entry(status.as_str().to_owned()).or_insert_with(|| RefOr::T(response().build()));
    }
}

/// The surfaces that a route belongs to. Some paths are unified tasks' with one method and native with another; a route with both tags
/// answers either way, as the request asks, or both ways in one document.
fn surfaces_of(path: &str, operation: &Operation) -> Vec<Surface> {
    if Surface::of_path(path) == Surface::NativeAndUnified {
        return vec![Surface::NativeAndUnified];
    }
    let tags = || operation.tags.iter().flatten();
    let unified = tags().any(|tag| tag == "unified").then_some(Surface::Unified);
    let of_path = (unified.is_none() || tags().any(|tag| tag != "unified")).then(|| Surface::of_path(path));
    of_path.into_iter().chain(unified).collect()
}

/// Whether only administrators may call the route, or may where it does not listen on loopback.
fn is_for_administrators(path: &str) -> bool {
    path.starts_with("/api/v1/admin/") || path == "/metrics"
}

fn media_type(surface: Surface) -> &'static str {
    match surface {
        Surface::Native | Surface::NativeAndUnified => "application/problem+json",
        Surface::OpenAi | Surface::A1111 | Surface::MiniMax | Surface::Unified => "application/json",
    }
}

/// The surface's envelope of a refusal with `status`.
fn content(surface: Surface, status: StatusCode) -> utoipa::openapi::Content {
    let envelope = |name: &str| RefOr::Ref(Ref::from_schema_name(name));
    let schema: RefOr<Schema> = match surface {
        Surface::Native => envelope("Problem"),
        Surface::OpenAi => envelope("OpenAiErrorEnvelope"),
        Surface::A1111 if status == StatusCode::UNPROCESSABLE_ENTITY => envelope("A1111ValidationError"),
        Surface::A1111 => envelope("A1111Error"),
        Surface::MiniMax => envelope("MinimaxError"),
        Surface::Unified => envelope("UnifiedError"),
        Surface::NativeAndUnified => envelope("UnifiedProblem"),
    };
    ContentBuilder::new().schema(Some(schema)).build()
}

#[cfg(test)]
mod tests {
    use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, PathsBuilder};
    use utoipa::openapi::request_body::RequestBody;
    use utoipa::openapi::security::SecurityRequirement;
    use utoipa::openapi::{InfoBuilder, OpenApiBuilder};

    use super::*;

    /// The statuses, and the description of 404, of a route with `operation`.
    fn described(path: &str, operation: OperationBuilder) -> (Vec<String>, Option<String>) {
        let paths = PathsBuilder::new().path(path, PathItem::new(HttpMethod::Post, operation));
        let mut document = OpenApiBuilder::new().info(InfoBuilder::new().build()).paths(paths).build();
        SharedResponses.modify(&mut document);
        let responses = document.paths.paths[path].post.clone().unwrap().responses.responses;
        let not_found = responses.get("404").map(|response| match response {
            RefOr::T(response) => response.description.clone(),
            RefOr::Ref(_) => unreachable!("no route refers to a response"),
        });
        (responses.into_keys().collect(), not_found)
    }

    fn parameter(place: ParameterIn) -> ParameterBuilder {
        ParameterBuilder::new().name("x").parameter_in(place)
    }

    #[test]
    fn a_route_gets_what_it_can_answer_on_its_surface() {
        let plain = || OperationBuilder::new();
        assert_eq!(described("/api/v1/x", plain()).0, ["401", "429"]);
        assert_eq!(described("/metrics", plain()).0, ["401", "403", "429"]);
        assert_eq!(described("/api/v1/admin/x", plain()).0, ["401", "403", "429"]);
        let query = || OperationBuilder::new().parameter(parameter(ParameterIn::Query));
        assert_eq!(described("/api/v1/x", query()).0, ["401", "422", "429"]);
        assert_eq!(described("/sdapi/v1/x", query()).0, ["401", "422", "429"]);
        assert_eq!(described("/v1/x", query()).0, ["400", "401", "429"]);
        let body = || OperationBuilder::new().request_body(Some(RequestBody::new()));
        assert_eq!(described("/api/v1/x", body()).0, ["400", "401", "413", "415", "422", "429"]);
        assert_eq!(described("/sdapi/v1/x", body()).0, ["401", "413", "415", "422", "429"]);
        assert_eq!(described("/v1/x", body()).0, ["400", "401", "413", "415", "429"]);
        assert!(described("/v1/video_generation", body()).0.is_empty());
        assert_eq!(described("/api/v1/tasks", body().tag("unified")).0, ["401", "413", "415", "422", "429"]);
    }

    #[test]
    fn a_key_that_was_used_before_is_a_conflict() {
        let key = ParameterBuilder::new().name("Idempotency-Key").parameter_in(ParameterIn::Header);
        assert_eq!(described("/v1/x", OperationBuilder::new().parameter(key)).0, ["400", "401", "409", "429"]);
    }

    #[test]
    fn what_a_route_says_itself_stays() {
        let of_path = || OperationBuilder::new().parameter(parameter(ParameterIn::Path));
        assert_eq!(described("/v1/{x}", of_path()).1.as_deref(), Some("The path names nothing that there is"));
        let own = of_path().response("404", ResponseBuilder::new().description("No such task"));
        assert_eq!(described("/v1/{x}", own).1.as_deref(), Some("No such task"));
    }

    #[test]
    fn a_route_without_a_key_gets_none() {
        let open = OperationBuilder::new().security(SecurityRequirement::default());
        assert!(described("/api/v1/health", open).0.is_empty());
    }
}
