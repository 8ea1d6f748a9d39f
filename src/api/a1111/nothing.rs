//! The answer that the web UI has where there is nothing to say.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// JSON's `null`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in crate::api) struct Nothing;

impl PartialSchema for Nothing {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Null).description(Some("Nothing to say")).into()
    }
}

impl ToSchema for Nothing {
    fn name() -> Cow<'static, str> {
        "Nothing".into()
    }
}
