//! Durable jobs: submit, look, watch, cancel, retry. The only door to jobs for the APIs.
//!
//! [`JobService`] is what the APIs call, [`JobRunner`] what the scheduler calls; both stand on one [`store::JobStore`]. Neither knows
//! how a job is run.

pub mod clock;
pub mod error;
pub mod events;
pub mod feed;
pub mod leases;
mod progress;
mod removal;
pub mod retry;
pub mod runner;
pub mod service;
pub mod speed;
pub mod store;
pub mod submission;

#[cfg(test)]
mod tests;

pub use clock::StoreClock;
pub use error::JobServiceError;
pub use events::{EventHub, JobEvents, Previews};
pub use feed::QueueChange;
pub use removal::delete_files;
pub use retry::Retry;
pub use runner::{JobRunner, RunningTask};
pub use service::{JobService, JobServiceOptions};
pub use store::SqliteJobStore;
pub use submission::{InputPurpose, NamedRequest, NewInput, NewJob};
