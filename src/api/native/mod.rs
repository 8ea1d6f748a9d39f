//! The native surface: `/api/v1`, `/metrics`.

pub(super) mod content;
pub(super) mod events;
pub(super) mod health;
pub(super) mod images;
pub(super) mod metrics;
pub(super) mod models;
pub(super) mod task_document;
pub(super) mod tasks;
