//! Structured logs on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::util::TryInitError;

/// What is logged unless the environment says otherwise.
pub const DEFAULT_FILTER: &str = "info,sqlx=warn";

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is not one.
    #[error("'{filter}' is not a log filter such as 'info,framewright=debug'")]
    Filter {
        /// What was given.
        filter: String,
        /// Why it is none.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in the process already logs.
    #[error("logging was already started")]
    AlreadyStarted(#[from] TryInitError),
}

/// Starts logging to standard error, once for the process. `filter` is in the words of `RUST_LOG`; absent: [`DEFAULT_FILTER`].
pub fn init_logging(format: LogFormat, filter: Option<&str>) -> Result<(), LoggingError> {
    let filter = filter.unwrap_or(DEFAULT_FILTER);
    let parsed = EnvFilter::try_new(filter).map_err(|source| LoggingError::Filter { filter: filter.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(parsed);
    match format {
        LogFormat::Human => {
            let ansi = std::io::stderr().is_terminal();
            registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi)).try_init()?;
        }
        LogFormat::Json => {
            registry.with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_filter_is_named() {
        let error = init_logging(LogFormat::Human, Some("info,=x=y")).unwrap_err();
        assert!(error.to_string().starts_with("'info,=x=y' is not a log filter"), "{error}");
    }
}
