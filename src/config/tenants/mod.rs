//! `users/` and `projects/` beside the system file — who may do what, and what projects are like.
//!
//! Invariants: everything is read or nothing is taken; a file's name is an identifier before it is part of anything; nothing is read
//! that is not a regular file of a bounded size; the order in which a directory lists its files changes nothing.

mod directory;
mod documents;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::DeserializeOwned;

use super::{ConfigError, Notice, yaml};
use crate::domain::{IdError, ProjectId, ProjectPolicy, TenantPolicies, UserId};
use directory::TenantFile;
use documents::{ProjectDocument, UserDocument};

pub use watch::{Change, TenantFiles};

const USERS: &str = "users";
const PROJECTS: &str = "projects";
/// `users/default.yaml`: those without a file of their own.
const DEFAULT_USER: &str = "default";

/// Reads every file of `users/` and `projects/` below `directory`; an absent directory has no files. Blocking.
pub fn load(directory: &Path) -> Result<TenantPolicies, ConfigError> {
    let mut policies = TenantPolicies::default();
    for file in directory::files(&directory.join(USERS))? {
        let user: UserId = identifier(&file)?;
        let policy = parse::<UserDocument>(&file)?.into_policy();
        if user.as_str() == DEFAULT_USER {
            policies.default_user = policy;
        } else {
            policies.users.insert(user, policy);
        }
    }
    policies.projects = projects(&directory.join(PROJECTS))?;
    Ok(policies)
}

/// Settings that are in force without effect, for the log: each once, however many projects set it.
pub fn notices(policies: &TenantPolicies) -> Vec<Notice> {
    let projects = policies.projects.values();
    let set = |is_set: fn(&ProjectPolicy) -> bool| projects.clone().any(is_set);
    [
        ("style", set(|project| project.style.is_some())),
        ("character_profiles", set(|project| project.character_profiles.is_some())),
        ("scene_profiles", set(|project| project.scene_profiles.is_some())),
    ]
    .into_iter()
    .filter(|(_, is_set)| *is_set)
    .map(|(setting, _)| Notice::no_effect(&format!("projects/*.yaml: {setting}")))
    .collect()
}

/// The projects of a directory. Files that a project names as its profiles lie there too, and are no projects.
fn projects(directory: &Path) -> Result<BTreeMap<ProjectId, ProjectPolicy>, ConfigError> {
    let files = directory::files(directory)?;
    let parsed: Vec<_> = files.iter().map(|file| (file, project(file))).collect();
    let profiles: BTreeSet<String> = parsed
        .iter()
        .filter_map(|(_, outcome)| outcome.as_ref().ok())
        .flat_map(|(_, project)| [&project.character_profiles, &project.scene_profiles])
        .flatten()
        .cloned()
        .collect();
    parsed.into_iter().filter(|(file, _)| !profiles.contains(&file.name)).map(|(_, outcome)| outcome).collect()
}

fn project(file: &TenantFile) -> Result<(ProjectId, ProjectPolicy), ConfigError> {
    Ok((identifier(file)?, parse::<ProjectDocument>(file)?.into_policy()))
}

fn parse<T: DeserializeOwned>(file: &TenantFile) -> Result<T, ConfigError> {
    yaml::parse(&file.path, &file.read()?)
}

/// The identifier that a file is named after.
fn identifier<T: std::str::FromStr<Err = IdError>>(file: &TenantFile) -> Result<T, ConfigError> {
    file.stem().parse().map_err(|error: IdError| file.refused(error))
}

#[cfg(test)]
mod tests;
