//! `storage:` — where results are kept.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where results are kept.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// A local directory.
    pub base_path: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "StorageKeys")]
pub(super) struct StorageSection {
    base_path: Option<PathBuf>,
}

/// The keys as written; which of them belong together depends on `type`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StorageKeys {
    #[serde(rename = "type", default)]
    kind: StorageKind,
    base_path: Option<PathBuf>,
    bucket: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StorageKind {
    #[default]
    Local,
    S3,
}

impl TryFrom<StorageKeys> for StorageSection {
    type Error = String;
    fn try_from(keys: StorageKeys) -> Result<Self, String> {
        if matches!(keys.kind, StorageKind::S3) {
            return Err("storage.type: s3 is not supported by this build yet; write local".to_owned());
        }
        for (key, value) in [("bucket", keys.bucket), ("endpoint", keys.endpoint), ("region", keys.region)] {
            if value.is_some() {
                return Err(format!("storage.{key}: belongs to type s3, which is not supported by this build yet"));
            }
        }
        if keys.base_path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err("storage.base_path: is empty".to_owned());
        }
        Ok(Self { base_path: keys.base_path })
    }
}

impl StorageSection {
    pub(super) fn resolve(self, data_dir: &Path) -> StorageConfig {
        StorageConfig { base_path: self.base_path.unwrap_or_else(|| data_dir.join("outputs")) }
    }
}
