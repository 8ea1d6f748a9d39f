//! Notices that the files were changed.

use std::path::{Path, PathBuf};

use super::directory::{self, Look, TenantFile};
use super::{PROJECTS, Present, USERS, read};
use crate::config::ConfigError;
use crate::domain::TenantPolicies;

/// The files below a directory, to be looked at every second or two.
#[derive(Debug)]
pub struct TenantFiles {
    /// `None`: there is no system file, so there are no files beside it.
    directory: Option<PathBuf>,
    /// How the files looked when they were last read.
    read: Looks,
    /// The directories that were there when the policies in force were read.
    present: Present,
    /// How they looked the last time, if that was not how they were last read.
    pending: Option<Looks>,
    /// Why they could not be taken when they were last read.
    broken: Option<String>,
}

/// What a change of the files means.
#[derive(Debug)]
pub enum Change {
    /// New policies, to be put in force.
    Policies {
        /// All of them.
        policies: Box<TenantPolicies>,
        /// The files were broken before.
        mended: bool,
    },
    /// The files are broken, or broken otherwise than before: the old policies stay in force. To be logged, once.
    Broken(ConfigError),
}

impl TenantFiles {
    /// Reads the files below `directory` (none without one) for the first time. There are no old policies that could stay in force, so a
    /// broken file is an error. Blocking.
    pub fn open(directory: Option<&Path>) -> Result<(Self, TenantPolicies), ConfigError> {
        let read = directory.map_or_else(Vec::new, looks);
        let (policies, present) = directory.map_or_else(|| Ok(Default::default()), super::read)?;
        Ok((Self { directory: directory.map(Path::to_owned), read, present, pending: None, broken: None }, policies))
    }

    /// What changed since the last call. A change is taken when the files look the same on two calls in a row, so that a file which is
    /// being written (empty, for a moment, which would mean: no limits) is not taken half. Blocking, for as long as it takes to list two
    /// directories.
    pub fn changed(&mut self) -> Option<Change> {
        let directory = self.directory.as_deref()?;
        let now = looks(directory);
        // What is broken may be mended by what does not show, such as a permission.
        if now == self.read && self.broken.is_none() {
            self.pending = None;
            return None;
        }
        if now != self.read && self.pending.as_ref() != Some(&now) {
            self.pending = Some(now);
            return None;
        }
        // Looked at before they are read: what is written meanwhile is seen as another change.
        self.read = now;
        self.pending = None;
        match read(directory).and_then(|found| self.with_all_directories(directory, found)) {
            Ok((policies, present)) => {
                self.present = present;
                Some(Change::Policies { policies: Box::new(policies), mended: self.broken.take().is_some() })
            }
            Err(error) => {
                let reason = error.to_string();
                let is_known = self.broken.as_ref() == Some(&reason);
                self.broken = Some(reason);
                (!is_known).then_some(Change::Broken(error))
            }
        }
    }

    /// What was found, unless a directory is missing that was there: one that is not mounted any more would mean no limits for anybody.
    fn with_all_directories(
        &self,
        directory: &Path,
        found: (TenantPolicies, Present),
    ) -> Result<(TenantPolicies, Present), ConfigError> {
        match self.present.difference(&found.1).next() {
            None => Ok(found),
            Some(gone) => Err(ConfigError::Refused {
                path: directory.join(gone),
                reason: "is not there any more; bring it back (empty, if that is meant), or start the server again without it"
                    .to_owned(),
            }),
        }
    }
}

/// How the files look, or why that cannot be seen.
type Looks = Vec<Result<Look, String>>;

fn looks(directory: &Path) -> Looks {
    let mut looks = Vec::new();
    for name in [USERS, PROJECTS] {
        match directory::files(&directory.join(name)) {
            Ok(Some(files)) => looks.extend(files.iter().map(TenantFile::look)),
            Ok(None) => looks.push(Err(format!("no {name}"))),
            Err(error) => looks.push(Err(error.to_string())),
        }
    }
    looks
}
