//! Administration: `/api/v1/admin`. Every route here needs an administrator's key.

pub(in crate::api) mod calls;
pub(in crate::api) mod devices;
pub(in crate::api) mod keys;
pub(in crate::api) mod models;
mod page;
mod policy_document;
pub(in crate::api) mod projects;
pub(in crate::api) mod providers;
pub(in crate::api) mod queue;
pub(in crate::api) mod routes;
pub(in crate::api) mod spend;
pub(in crate::api) mod usage;
pub(in crate::api) mod users;

use crate::api::error::ApiError;
use crate::domain::IdError;

/// A name as a client wrote it.
fn parse<T: std::str::FromStr<Err = IdError>>(field: &'static str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|error| ApiError::invalid(field, format!("cannot be used: {error}")))
}

/// A name of a query.
fn parsed<T: std::str::FromStr<Err = IdError>>(field: &'static str, text: Option<String>) -> Result<Option<T>, ApiError> {
    text.map(|text| parse(field, &text)).transpose()
}
