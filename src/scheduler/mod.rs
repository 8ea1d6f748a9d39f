//! Which queued task runs where and when.
//!
//! [`plan`] decides, purely; [`dispatcher`] looks, claims and starts; [`image_job`] follows one task to its end. The scheduler owns no
//! tensor and no HTTP: it talks to [`crate::jobs::JobRunner`] and to [`crate::execution::Executor`]s.

pub mod dispatcher;
pub mod image_job;
pub mod plan;

#[cfg(test)]
mod tests;

pub use dispatcher::{DeviceStatus, Scheduler, SchedulerParts};
