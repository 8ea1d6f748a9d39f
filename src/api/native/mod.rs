//! The native surface: `/api/v1`, `/metrics`.

pub(super) mod admin;
pub(super) mod content;
pub(super) mod devices;
pub(super) mod estimate;
pub(super) mod events;
pub(super) mod health;
pub(super) mod images;
pub(super) mod media_file;
pub(super) mod metrics;
pub(super) mod models;
pub(super) mod scene_document;
pub(super) mod task_document;
pub(super) mod tasks;
pub(super) mod usage;
pub(super) mod videos;
pub(super) mod webhooks;
