//! The keys that clouds know which look at them.

/// The names of the keys that a cloud lets in. Any other is one that it does not know.
pub(crate) const KNOWN_KEYS: [&str; 2] = ["a", "b"];

/// The key of a name.
pub(crate) fn secret_of_key(name: &str) -> String {
    format!("secret-of-{name}")
}

/// The name of a key that is known.
pub(crate) fn name_of_key(secret: &str) -> Option<&'static str> {
    KNOWN_KEYS.into_iter().find(|name| secret_of_key(name) == secret)
}
