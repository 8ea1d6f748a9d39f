//! What operators see: logs and numbers. Nothing here decides anything.

pub mod logging;
pub mod metrics;

pub use logging::{LogFormat, init_logging};
pub use metrics::Metrics;
