//! Keys that the configuration format has and this version cannot honour. They are refused where they stand, with line and column,
//! rather than read and forgotten.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny};

/// `server.tls`.
pub(super) fn tls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    refuse_unless_null(
        deserializer,
        "server.tls is not supported by this build yet; put a TLS proxy in front and set server.public_url",
    )
}

fn refuse_unless_null<'de, D: Deserializer<'de>>(deserializer: D, reason: &str) -> Result<(), D::Error> {
    match Option::<IgnoredAny>::deserialize(deserializer)? {
        None => Ok(()),
        Some(_) => Err(D::Error::custom(reason)),
    }
}
