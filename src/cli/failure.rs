//! How a command fails: what is written, and the exit status.

use std::process::ExitCode;

use crate::config::ConfigError;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The user's input cannot be used: exit status 2, one line that names the flag and the allowed range.
    Input(String),
    /// Anything else: exit status 1, one line and its causes.
    Other(anyhow::Error),
}

/// The result of a command.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Bad input at `flag`.
    pub(super) fn input(flag: &str, problem: impl std::fmt::Display) -> Self {
        Self::Input(format!("{flag}: {problem}"))
    }

    /// A flag whose feature this version lacks.
    pub(super) fn not_supported(flag: &str) -> Self {
        Self::input(flag, "not supported yet")
    }

    /// The process's exit status.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Input(_) => ExitCode::from(2),
            Self::Other(_) => ExitCode::FAILURE,
        }
    }

    /// What is written to standard error, without the line's end.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Input(text) => format!("error: {}", one_line(text)),
            // Causes that the message already quotes are not repeated.
            Self::Other(error) => {
                let mut text = String::from("error");
                for cause in error.chain().map(|cause| one_line(&cause.to_string())) {
                    if !text.contains(&cause) {
                        text.push_str(": ");
                        text.push_str(&cause);
                    }
                }
                text
            }
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Input(error.to_string())
    }
}

/// `result.or_fail()?` turns any error into exit status 1.
pub(super) trait OrFail<T> {
    /// The value, or exit status 1.
    fn or_fail(self) -> Outcome<T>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for Result<T, E> {
    fn or_fail(self) -> Outcome<T> {
        self.map_err(|error| Failure::Other(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line() {
        assert_eq!(Failure::input("--width", "is 0;\n  allowed: 8 to 16").message(), "error: --width: is 0; allowed: 8 to 16");
        let causes = anyhow::anyhow!("disk full").context("cannot write out.png");
        assert_eq!(Failure::Other(causes).message(), "error: cannot write out.png: disk full");
        let repeated = anyhow::anyhow!("disk full").context("cannot write out.png: disk full");
        assert_eq!(Failure::Other(repeated).message(), "error: cannot write out.png: disk full");
    }
}
