//! framewright: an image and video generation service for the GPUs you own.
//!
//! Data flows one way: [`api`] → [`jobs`] → [`scheduler`] → [`execution`] → `framewright_engine` → [`media`] → [`storage`] → events.
//! `tests/it/architecture.rs` holds the direction of every `use`.

#![forbid(unsafe_code)]

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod database;
pub mod domain;
pub mod execution;
pub mod jobs;
pub mod ledger;
pub mod media;
pub mod models;
pub mod net;
pub mod providers;
pub mod quota;
pub mod routes;
pub mod scheduler;
pub mod storage;
pub mod telemetry;
pub mod tenants;
pub mod webhooks;
