//! `auth:`, `API_KEY` and `API_MASTER_KEY` — who may call.

use std::net::SocketAddr;

use secrecy::SecretString;
use serde::Deserialize;

use super::ConfigError;

/// Who may call.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// Whether a key is needed.
    pub enabled: bool,
    /// The administrator's key from the environment; when there is one, none is generated at first start.
    pub master_key: Option<SecretString>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuthSection {
    enabled: Option<bool>,
}

impl AuthSection {
    pub(super) fn resolve(self, master_key: Option<SecretString>, listen: SocketAddr) -> Result<AuthConfig, ConfigError> {
        let enabled = self.enabled.unwrap_or(true);
        if !enabled && !listen.ip().is_loopback() {
            return Err(ConfigError::setting(
                "auth.enabled",
                format!(
                    "false is allowed on loopback only, and the server would listen on {listen}; listen on 127.0.0.1 or turn it on"
                ),
            ));
        }
        Ok(AuthConfig { enabled, master_key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_keys_means_loopback_only() {
        let resolve = |enabled, listen: &str| AuthSection { enabled }.resolve(None, listen.parse().unwrap());
        assert!(resolve(None, "0.0.0.0:80").unwrap().enabled);
        assert!(!resolve(Some(false), "127.0.0.1:80").unwrap().enabled);
        assert!(!resolve(Some(false), "[::1]:80").unwrap().enabled);
        assert!(resolve(Some(false), "0.0.0.0:80").unwrap_err().to_string().starts_with("auth.enabled: "));
        assert!(resolve(Some(false), "192.168.1.5:80").is_err());
    }
}
