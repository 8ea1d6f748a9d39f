//! `/docs`: the OpenAPI document and a page to read it with.

use std::sync::Arc;

use axum::extract::Path;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::openapi::OpenApi as OpenApiDocument;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::error::{ApiError, ErrorKind};
use super::state::ApiState;

/// The head of the document; the routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "framewright",
        description = "Images from prompts on your own devices. Routes take an API key as `Authorization: Bearer <key>`, except the health check, these pages and, on loopback, `/metrics`; links to files carry a key of their own. Whoever has a limit of requests a minute finds `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (seconds) in every answer.",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "images", description = "Make pictures"),
        (name = "tasks", description = "Look at, watch, stop and retry what was asked for"),
        (name = "models", description = "What can be asked for"),
        (name = "webhooks", description = "Callbacks: what was told to whom, and what they are signed with"),
        (name = "server", description = "How the server is"),
        (name = "administration", description = "Users, projects, keys, devices, loaded models and the queue; for administrators"),
        (name = "openai", description = "The same in OpenAI's words"),
        (name = "a1111", description = "Pictures in the words of Stable Diffusion web UI (A1111); the key may be the password of HTTP Basic here"),
        (name = "minimax", description = "Films in MiniMax's words: every answer has HTTP 200, and says in `base_resp` how it went"),
        (name = "unified", description = "Pictures and films of all models and providers, in one envelope"),
    ),
    security(("api_key" = [])),
    modifiers(&BearerKey)
)]
pub(super) struct Document;

struct BearerKey;

impl Modify for BearerKey {
    fn modify(&self, document: &mut OpenApiDocument) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key, or a token signed with SECRET_KEY"))
            .build();
        document.components.get_or_insert_default().add_security_scheme("api_key", SecurityScheme::Http(scheme));
    }
}

/// Swagger UI's own page has references relative to a path with a trailing slash; here a path is the same without.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>framewright API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/swagger-ui-standalone-preset.js"></script>
<script src="/docs/swagger-initializer.js"></script>
</body>
</html>
"#;

/// The routes that serve `document` and its page.
pub(super) fn routes(document: OpenApiDocument) -> Router<ApiState> {
    let document = Arc::new(document);
    let page =
        Arc::new(utoipa_swagger_ui::Config::new(["/docs/openapi.json"]).try_it_out_enabled(true).persist_authorization(false));
    Router::new()
        .route("/docs/openapi.json", get(move || std::future::ready(Json(Arc::clone(&document)).into_response())))
        .route("/docs", get(|| std::future::ready(Html(PAGE))))
        .route("/docs/{file}", get(move |Path(file): Path<String>| std::future::ready(page_file(&file, &page))))
}

fn page_file(name: &str, config: &Arc<utoipa_swagger_ui::Config<'static>>) -> Result<Response, ApiError> {
    let file = utoipa_swagger_ui::serve(name, Arc::clone(config))
        .map_err(|error| ApiError::internal(error.to_string()))?
        .ok_or_else(|| ApiError::new(ErrorKind::RouteNotFound, "there is no such page"))?;
    let mut response = ([(CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response();
    if file.gzpipped {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}
