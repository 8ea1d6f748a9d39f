//! Accounts, opened: an entry of the settings and a key become a provider that can be spoken with. A new kind is an arm here.

use std::sync::Arc;

use crate::domain::{AccountKey, ProviderEntry, ProviderId, ProviderKind};
use crate::providers::aliyun::{Aliyun, Region};
use crate::providers::minimax::{Minimax, Site};
use crate::providers::zhipuai::{self, Authentication, Zhipuai};
use crate::providers::{Account, AccountError, Provider};

/// Why the settings of providers cannot be put in force.
#[derive(Debug, thiserror::Error)]
#[error("providers.{provider}: {source}")]
pub struct ProviderSetupError {
    /// Which.
    pub provider: ProviderId,
    /// Why.
    #[source]
    pub source: AccountError,
}

/// Opens a provider's account with a key.
pub(super) fn open(entry: &ProviderEntry, key: &AccountKey) -> Result<Arc<dyn Provider>, AccountError> {
    let account = |usual: &str| Account::new(entry.base_url.as_deref().unwrap_or(usual), key.secret.clone());
    let is_international = entry.setting("site") == Some("international");
    Ok(match entry.kind {
        ProviderKind::Aliyun => {
            let region = match entry.setting("region") {
                Some("singapore") => Region::Singapore,
                Some("virginia") => Region::Virginia,
                _ => Region::Beijing,
            };
            let workspace = entry.setting("workspace");
            Arc::new(Aliyun::new(account(&region.base_url(workspace))?, region, workspace.map(str::to_owned))?)
        }
        ProviderKind::Zhipuai => {
            let usual = if is_international { zhipuai::INTERNATIONAL_BASE_URL } else { zhipuai::CHINA_BASE_URL };
            let authentication = match entry.setting("authentication") {
                Some("signed_token") => Authentication::SignedToken,
                _ => Authentication::Key,
            };
            Arc::new(Zhipuai::new(account(usual)?, authentication)?)
        }
        ProviderKind::Minimax => {
            let site = if is_international { Site::International } else { Site::China };
            let group = entry.setting("group_id").map(str::to_owned);
            Arc::new(Minimax::new(account(site.base_url())?, site, group)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn every_kind_is_opened_and_bad_settings_are_named() {
        for kind in ProviderKind::ALL {
            let key = AccountKey { id: "key-1".parse().unwrap(), secret: SecretString::from("id.secret"), max_concurrent: None };
            let entry = ProviderEntry::of_kind(kind);
            assert_eq!(open(&entry, &key).unwrap().name(), kind.as_str());
            let spaced = AccountKey { secret: SecretString::from("a key"), ..key };
            assert_eq!(open(&entry, &spaced).err(), Some(AccountError::Key), "{kind:?}");
        }
    }
}
