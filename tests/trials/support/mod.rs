//! What trials need: a server and its clients, the processes below it, PostgreSQL, a disk to fill, chance, and a place to report.

pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod disk;
pub(crate) mod events;
pub(crate) mod film;
pub(crate) mod http;
pub(crate) mod metrics;
pub(crate) mod picture;
pub(crate) mod postgres;
pub(crate) mod processes;
pub(crate) mod random;
pub(crate) mod records;
pub(crate) mod server;
pub(crate) mod task;
pub(crate) mod trial;
