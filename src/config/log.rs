//! `log:` and `FRAMEWRIGHT_LOG` — what is logged and how.

use serde::Deserialize;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged and how.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Directives as `tracing`'s filter takes them: `info`, `framewright=debug,warn`. Absent: the logging's own default.
    pub filter: Option<String>,
    /// How a line looks.
    pub format: LogFormat,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogSection {
    filter: Option<String>,
    format: LogFormat,
}

impl LogSection {
    pub(super) fn resolve(self, variable: Option<String>) -> LogConfig {
        LogConfig { filter: variable.or(self.filter), format: self.format }
    }
}
