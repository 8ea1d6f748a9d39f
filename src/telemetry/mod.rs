//! What operators see: logs and numbers. Nothing here decides anything.

mod callback_metrics;
mod labels;
pub mod logging;
mod maker;
pub mod metrics;
mod provider_metrics;
pub mod readings;

pub use logging::{LogFormat, init_logging};
pub use metrics::Metrics;
pub use readings::Readings;
