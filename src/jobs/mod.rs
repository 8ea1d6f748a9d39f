//! Durable jobs: submit, look, watch, cancel. The only door to jobs for the APIs.
//!
//! [`JobService`] is what the APIs call, [`JobRunner`] what the scheduler calls; both stand on one [`store::JobStore`]. Neither knows
//! how a job is run.

pub mod events;
pub mod runner;
pub mod service;
pub mod speed;
pub mod store;

#[cfg(test)]
mod tests;

pub use events::{EventHub, JobEvents, Previews};
pub use runner::JobRunner;
pub use service::{JobService, JobServiceError, JobServiceOptions, NewJob};
pub use store::{Database, DatabaseError, SqliteJobStore};
