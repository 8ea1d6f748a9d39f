//! What every trial needs: a server and its clients, the processes below it, PostgreSQL, chance, and a place to report.

pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod metrics;
pub(crate) mod picture;
pub(crate) mod postgres;
pub(crate) mod processes;
pub(crate) mod random;
pub(crate) mod server;
pub(crate) mod task;
pub(crate) mod trial;
