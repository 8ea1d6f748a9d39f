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
    read(directory).map(|(policies, _)| policies)
}

/// The directories that there are, of `users/` and `projects/`.
type Present = BTreeSet<&'static str>;

/// The policies, and the directories that they are from.
fn read(directory: &Path) -> Result<(TenantPolicies, Present), ConfigError> {
    let mut present = Present::new();
    let mut files = |name| {
        let files = directory::files(&directory.join(name))?;
        present.extend(files.is_some().then_some(name));
        Ok::<_, ConfigError>(files.unwrap_or_default())
    };
    let (users, projects_files) = (files(USERS)?, files(PROJECTS)?);
    let mut policies = TenantPolicies::default();
    for file in users {
        let user: UserId = identifier(&file)?;
        let policy = parse::<UserDocument>(&file)?.into_policy();
        if user.as_str() == DEFAULT_USER {
            policies.default_user = policy;
        } else {
            policies.users.insert(user, policy);
        }
    }
    policies.projects = projects(&projects_files)?;
    Ok((policies, present))
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

/// The projects of a directory's files. Files that a project names as its profiles lie there too, and are no projects; but a project must
/// not vanish, with its limits, because another one names its file.
fn projects(files: &[TenantFile]) -> Result<BTreeMap<ProjectId, ProjectPolicy>, ConfigError> {
    let mut parsed: BTreeMap<&str, _> = files.iter().map(|file| (file.name.as_str(), project(file))).collect();
    let mut profiles = BTreeSet::new();
    for file in files {
        let Some(Ok((_, project))) = parsed.get(file.name.as_str()) else { continue };
        let named = [("character_profiles", &project.character_profiles), ("scene_profiles", &project.scene_profiles)];
        for (setting, name) in named.into_iter().filter_map(|(setting, name)| Some((setting, name.as_deref()?))) {
            if matches!(parsed.get(name), Some(Ok(_))) {
                let reason = "a project's own; put profiles into a directory of their own, such as profiles/characters.yaml";
                return Err(file.refused(format!("{setting}: {name} is {reason}")));
            }
            profiles.insert(name.to_owned());
        }
    }
    parsed.retain(|name, _| !profiles.contains(*name));
    parsed.into_values().collect()
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
