//! Accounts, opened: an entry of the settings and a key become a provider that can be spoken with. A new kind is an arm here.

use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;

use super::told::{self, ToldError};
use crate::domain::{AccountKey, ProviderEntry, ProviderId, ProviderKind};
use crate::providers::aliyun::{Aliyun, Region};
use crate::providers::declared::{Declaration, Declared};
use crate::providers::described::DescriptionError;
use crate::providers::fal::{self, Fal};
use crate::providers::kling::{self, Kling};
use crate::providers::mindvideo::{self, Bot, Mindvideo};
use crate::providers::minimax::{Minimax, Site};
use crate::providers::openai::{self, OpenAi};
use crate::providers::replicate::{self, Replicate};
use crate::providers::runway::{self, Runway};
use crate::providers::stability::{self, Stability};
use crate::providers::veo::{self, Veo};
use crate::providers::vidsme::{self, Named, Vidsme};
use crate::providers::zhipuai::{self, Authentication, Zhipuai};
use crate::providers::{Account, AccountError, Provider, SystemRandomness};

/// Understands the text of a file that declares a provider. Fails with one line that says where it is wrong. It is brought by whoever reads
/// files, since this module knows no format of files.
pub type ReadDeclaration = fn(&Path, &str) -> Result<Declaration, String>;

/// Why the settings of providers cannot be put in force.
#[derive(Debug, thiserror::Error)]
#[error("providers.{provider}: {source}")]
pub struct ProviderSetupError {
    /// Which.
    pub provider: ProviderId,
    /// Why.
    #[source]
    pub source: OpenError,
}

/// Why an account cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// An address, a key or a name.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A model that the operator tells of.
    #[error(transparent)]
    Told(#[from] ToldError),
    /// A setting of vidsme's.
    #[error(transparent)]
    Vidsme(#[from] vidsme::SettingsError),
    /// A declaration, with its place.
    #[error("declaration: {0}")]
    Declaration(String),
    /// No declaration.
    #[error("declaration: is missing; name the file that says how the provider speaks")]
    NoDeclaration,
}

impl From<DescriptionError> for OpenError {
    fn from(error: DescriptionError) -> Self {
        Self::Told(error.into())
    }
}

/// Opens a provider's account with each of its keys. What is wrong with its declaration is said without a key too.
pub(super) fn open(entry: &ProviderEntry, read: ReadDeclaration) -> Result<Vec<Arc<dyn Provider>>, OpenError> {
    let declaration = match &entry.declaration {
        Some(file) => Some(Arc::new(read(&file.path, &file.text).map_err(OpenError::Declaration)?)),
        None => None,
    };
    entry.keys.iter().map(|key| open_with(entry, declaration.as_ref(), key)).collect()
}

fn open_with(
    entry: &ProviderEntry,
    declaration: Option<&Arc<Declaration>>,
    key: &AccountKey,
) -> Result<Arc<dyn Provider>, OpenError> {
    let account = |usual: &str| Account::new(entry.base_url.as_deref().unwrap_or(usual), key.secret.clone());
    let owned = |name: &str| entry.setting(name).map(str::to_owned);
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
            Arc::new(Minimax::new(account(site.base_url())?, site, owned("group_id"))?)
        }
        ProviderKind::Declared => {
            let declaration = declaration.ok_or(OpenError::NoDeclaration)?;
            Arc::new(Declared::new(declaration.clone(), account(declaration.base_url())?))
        }
        ProviderKind::Openai => {
            let service = OpenAi::new(account(openai::BASE_URL)?, told::served(&entry.models)?)?;
            Arc::new(service.with_organization(owned("organization"), owned("project"))?)
        }
        ProviderKind::Mindvideo => {
            Arc::new(Mindvideo::new(account(mindvideo::BASE_URL)?, mindvideo_settings(entry), Arc::new(SystemRandomness))?)
        }
        ProviderKind::Vidsme => {
            Arc::new(Vidsme::new(account(vidsme::BASE_URL)?, vidsme_settings(entry), Arc::new(SystemRandomness))?)
        }
        ProviderKind::Kling => {
            let usual = if is_international { kling::INTERNATIONAL_BASE_URL } else { kling::CHINA_BASE_URL };
            Arc::new(Kling::new(account(usual)?, owned("access_key"))?)
        }
        ProviderKind::Runway => Arc::new(Runway::new(account(runway::BASE_URL)?)),
        ProviderKind::Veo => Arc::new(Veo::new(account(veo::BASE_URL)?)),
        ProviderKind::Stability => Arc::new(Stability::new(account(stability::BASE_URL)?)),
        ProviderKind::Replicate => Arc::new(Replicate::new(account(replicate::BASE_URL)?, told::described(&entry.models)?)?),
        ProviderKind::Fal => Arc::new(Fal::new(account(fal::BASE_URL)?, told::described(&entry.models)?)?),
    })
}

fn secret(entry: &ProviderEntry, name: &str) -> SecretString {
    entry.secrets.get(name).cloned().unwrap_or_default()
}

fn mindvideo_settings(entry: &ProviderEntry) -> mindvideo::Settings {
    let mut settings = mindvideo::Settings::new(secret(entry, "app_key"));
    if let Some(language) = entry.setting("language") {
        language.clone_into(&mut settings.language);
    }
    if let Some(version) = entry.setting("version") {
        version.clone_into(&mut settings.version);
    }
    settings.is_public = entry.setting("visibility") == Some("public");
    let bot = |model: &crate::domain::OfferedName| Some(Bot { model: model.name.clone(), id: model.told.bot? });
    settings.bots = entry.models.iter().filter_map(bot).collect();
    settings
}

fn vidsme_settings(entry: &ProviderEntry) -> vidsme::Settings {
    let setting = |name: &str| entry.setting(name).unwrap_or_default().to_owned();
    let named = |model: &crate::domain::OfferedName| Named { name: model.name.clone(), wire_name: model.told.wire_name.clone() };
    vidsme::Settings {
        app_id: setting("app_id"),
        salt: secret(entry, "salt"),
        // In a variable of the environment, lines are often written so.
        public_key: setting("public_key").replace("\\n", "\n"),
        pictures_url: entry.setting("pictures_url").unwrap_or(vidsme::PICTURES_URL).to_owned(),
        models: entry.models.iter().map(named).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DeclarationFile;

    fn read(path: &Path, text: &str) -> Result<Declaration, String> {
        crate::config::parse_yaml(path, text).map_err(|error| error.to_string())
    }

    /// A provider with all that its kind needs.
    fn entry(kind: ProviderKind) -> ProviderEntry {
        let mut entry = ProviderEntry::of_kind(kind);
        for setting in kind.settings().iter().filter(|setting| setting.is_needed) {
            match setting.name {
                "public_key" => {
                    let key = include_str!("../../providers/vidsme/test_keys/public_key.pem").replace('\n', "\\n");
                    entry.settings.insert(setting.name, key)
                }
                name if setting.is_secret => {
                    entry.secrets.insert(name, SecretString::from("a-secret"));
                    None
                }
                name => entry.settings.insert(name, "an-id".to_owned()),
            };
        }
        if kind == ProviderKind::Declared {
            let document = include_str!("../../../docs/adding-a-provider.md");
            let text = document.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
            entry.declaration = Some(DeclarationFile { path: "reelworks.yaml".into(), text: text.into() });
        }
        entry
    }

    #[test]
    fn every_kind_is_opened_and_bad_settings_are_named() {
        for kind in ProviderKind::ALL {
            let key = AccountKey { id: "key-1".parse().unwrap(), secret: SecretString::from("a-user_1"), max_concurrent: None };
            let key = match kind {
                ProviderKind::Zhipuai => AccountKey { secret: SecretString::from("id.secret"), ..key },
                _ => key,
            };
            let name = if kind == ProviderKind::Declared { "reelworks" } else { kind.as_str() };
            let keyed = |key: &AccountKey| ProviderEntry { keys: vec![key.clone()], ..entry(kind) };
            assert_eq!(open(&keyed(&key), read).unwrap()[0].name(), name);
            let spaced = AccountKey { secret: SecretString::from("a key"), ..key };
            assert_eq!(open(&keyed(&spaced), read).err(), Some(OpenError::Account(AccountError::Key)), "{kind:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_declaration_is_said_without_a_key() {
        let mut entry = entry(ProviderKind::Declared);
        let text = "name: reelworks\nbase_url: nowhere\n";
        entry.declaration = Some(DeclarationFile { path: "reelworks.yaml".into(), text: text.into() });
        let message = open(&entry, read).err().unwrap().to_string();
        assert!(message.starts_with("declaration: reelworks.yaml:2:") && message.contains("base_url"), "{message}");
    }
}
