//! Which queued task runs where and when.
//!
//! [`plan`] decides, purely; [`dispatcher`] looks, claims and starts; [`task_run`] follows one task on a device to its end, `conclusion` writes down how that came out, `host_tasks` runs those that need no device. The scheduler owns no
//! tensor and no HTTP: it talks to [`crate::jobs::JobRunner`] and to [`crate::execution::Executor`]s.

mod abandoned_calls;
mod admission;
pub mod affinity;
pub mod ageing;
pub mod blame;
mod cap_time;
mod conclusion;
pub mod device_pool;
pub mod dispatcher;
pub mod elsewhere;
pub mod fair_share;
pub mod fleet;
pub mod forecast;
pub mod handle;
mod host_tasks;
pub mod known_models;
mod lane_queue;
pub mod options;
pub mod orders;
mod picker;
pub mod plan;
pub mod publish;
mod publish_clip;
pub mod queue_order;
pub mod queue_view;
mod remote_queue;
mod remote_tasks;
mod route_stage;
mod shared_memory;
pub mod task_run;
pub mod upkeep;
pub mod waiting;
pub mod work_directories;

#[cfg(test)]
mod tests;

pub use device_pool::DeviceStatus;
pub use handle::Scheduler;
pub use options::{SchedulerOptions, SchedulerParts};
pub use orders::DeviceOrderError;
