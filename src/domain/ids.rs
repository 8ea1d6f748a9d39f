//! Identifiers as types. Each is validated when it is made, so that paths and queries can be built from them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The word for this server itself, wherever a provider is named.
pub const LOCAL_PROVIDER: &str = "local";

/// A text that is not the identifier it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IdError(pub String);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier; later ones sort after earlier ones.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// Its bits; the first 48 are the Unix milliseconds at which it was generated.
            pub const fn bits(self) -> u128 {
                self.0.as_u128()
            }

            /// The identifier with these bits.
            pub const fn from_bits(bits: u128) -> Self {
                Self(Uuid::from_u128(bits))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or_else(|| IdError(format!(concat!("'{}' is not an id of the form ", $prefix, "_<32 hex digits>"), text.chars().take(64).collect::<String>())))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

uuid_id! {
    /// A job: what a user submitted. The APIs call it `task_id`.
    JobId, "job"
}
uuid_id! {
    /// A piece of a job that one device runs; users never see it.
    TaskId, "piece"
}
uuid_id! {
    /// A call to a provider that makes something, as the ledger has it.
    CallId, "call"
}
uuid_id! {
    /// An API key's public identifier.
    KeyId, "key"
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let first_is_alphanumeric = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
                let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@'));
                if first_is_alphanumeric && plain && text.len() <= 128 {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError(format!(
                        concat!($what, " '{}' must be 1 to 128 letters, digits, '.', '_', '-' or '@', beginning with a letter or digit"),
                        text.chars().take(64).collect::<String>()
                    )))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

name_id! {
    /// A model's name: its directory's name under a models directory.
    ModelId, "model"
}
name_id! {
    /// A provider's name, as in `configs/providers.yaml`.
    ProviderId, "provider"
}
/// Where tasks are told apart by model, those of a provider stand under its name.
impl From<&ProviderId> for ModelId {
    fn from(provider: &ProviderId) -> Self {
        Self(provider.0.clone())
    }
}

name_id! {
    /// What a key of an account at a provider is called, as in `configs/providers.yaml`; never the key.
    AccountKeyId, "key"
}
name_id! {
    /// A user's name, as in `configs/users/{user_id}.yaml`.
    UserId, "user"
}
name_id! {
    /// A project's name, as in `configs/projects/{project_id}.yaml`.
    ProjectId, "project"
}
