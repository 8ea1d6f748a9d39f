//! What operators see: logs and numbers. Nothing here decides anything.

mod labels;
pub mod logging;
pub mod metrics;
pub mod readings;

pub use logging::{LogFormat, init_logging};
pub use metrics::Metrics;
pub use readings::Readings;
