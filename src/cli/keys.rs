//! `framewright keys`: over the database alone, so it works with and without a running server.

use std::io::Write;
use std::sync::Arc;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;

use super::failure::{Failure, OrFail, Outcome};
use super::options::CommonOptions;
use crate::app::stores;
use crate::config::{Config, tenants};
use crate::domain::{Clock, KeyId, ProjectId, SystemClock, UnixMs, UserId};
use crate::tenants::{KeyRecord, KeyService, MOST_KEY_DAYS, NewKey, store};

/// What to do with keys.
#[derive(Subcommand, Debug)]
pub(super) enum KeysCommand {
    /// Make a key and print it, alone, on standard output; it works at once and is never shown again
    Create(CreateArguments),
    /// List keys by id, first characters, user, scope and state
    List(ListArguments),
    /// Revoke a key at once
    Revoke(RevokeArguments),
}

/// Flags of `keys create`.
#[derive(Args, Debug)]
pub(super) struct CreateArguments {
    /// Whose key it is
    #[arg(long, value_name = "USER")]
    user: UserId,
    /// An administrator's key: sees everybody's tasks
    #[arg(long, conflicts_with = "project")]
    admin: bool,
    /// A key for one project's tasks alone: it needs projects/PROJECT.yaml beside the file that --config names
    #[arg(long, value_name = "PROJECT")]
    project: Option<ProjectId>,
    /// Refuse the key after N days [default: when it is revoked]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_KEY_DAYS)))]
    expires_in_days: Option<u32>,
    #[command(flatten)]
    common: CommonOptions,
}

/// Flags of `keys list`.
#[derive(Args, Debug)]
pub(super) struct ListArguments {
    /// Only this user's keys
    #[arg(long, value_name = "USER")]
    user: Option<UserId>,
    #[command(flatten)]
    common: CommonOptions,
}

/// Flags of `keys revoke`.
#[derive(Args, Debug)]
pub(super) struct RevokeArguments {
    /// The key's id, as 'keys list' shows it: key_…
    #[arg(value_name = "ID")]
    id: KeyId,
    #[command(flatten)]
    common: CommonOptions,
}

/// Runs one of them.
pub(super) async fn run(command: &KeysCommand, out: &mut (dyn Write + Send)) -> Outcome {
    let common = match command {
        KeysCommand::Create(arguments) => &arguments.common,
        KeysCommand::List(arguments) => &arguments.common,
        KeysCommand::Revoke(arguments) => &arguments.common,
    };
    run_under(&common.load()?, command, out).await
}

async fn run_under(config: &Config, command: &KeysCommand, out: &mut (dyn Write + Send)) -> Outcome {
    match command {
        KeysCommand::Create(arguments) => create(config, arguments, out).await,
        KeysCommand::List(arguments) => {
            let now = SystemClock.now();
            for key in open(config).await?.list(arguments.user.as_ref()).await.or_fail()? {
                writeln!(out, "{}", line(&key, now)).or_fail()?;
            }
            Ok(())
        }
        KeysCommand::Revoke(arguments) => match open(config).await?.revoke(arguments.id).await.or_fail()? {
            Some(_) => Ok(()),
            None => Err(Failure::Input(format!("no key {}", arguments.id))),
        },
    }
}

async fn create(config: &Config, arguments: &CreateArguments, out: &mut (dyn Write + Send)) -> Outcome {
    let user = arguments.user.clone();
    let new = match &arguments.project {
        Some(project) => {
            check_project(config, project)?;
            NewKey::for_project(user, project.clone())
        }
        None if arguments.admin => NewKey::for_administrator(user),
        None => NewKey::for_user(user),
    };
    let keys = open(config).await?;
    let expires = arguments.expires_in_days.map(|days| keys.after_days(days));
    let (_, key) = keys.create(new.until(expires)).await.or_fail()?;
    writeln!(out, "{}", key.expose_secret()).or_fail()
}

/// A key of a project that does not exist could do nothing.
fn check_project(config: &Config, project: &ProjectId) -> Outcome {
    let policies = config.tenants_directory.as_deref().map(tenants::load).transpose()?;
    if policies.is_some_and(|policies| policies.projects.contains_key(project)) {
        return Ok(());
    }
    Err(Failure::input(
        "--project",
        format!(
            "there is no project '{project}': make projects/{project}.yaml beside the system file, and name that with --config"
        ),
    ))
}

/// A key in a list.
fn line(key: &KeyRecord, now: UnixMs) -> String {
    let KeyRecord { id, prefix, user, scope, project, created, expires, revoked } = key;
    let scope = project.as_ref().map_or_else(|| scope.as_str().to_owned(), |project| format!("project {project}"));
    let state = match (revoked, expires) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) if *at <= now => format!("expired {at}"),
        (None, Some(at)) => format!("active until {at}"),
        (None, None) => "active".to_owned(),
    };
    format!("{id}  {prefix}…  {user}  {scope}  created {created}  {state}")
}

async fn open(config: &Config) -> Outcome<KeyService> {
    let database = stores::open(&config.database.location).await.or_fail()?;
    Ok(KeyService::new(store::open(&database), Arc::new(SystemClock)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::config::{Environment, Flags};
    use crate::tenants::{AuthenticationError, KeyScope};

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: KeysCommand,
    }

    /// What a command prints, or its error line.
    async fn keys(config: &Config, arguments: &[&str]) -> Result<String, String> {
        let line = Line::try_parse_from(std::iter::once(&"keys").chain(arguments)).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        run_under(config, &line.command, &mut out).await.map_err(|failure| failure.message())?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn config(directory: &Path) -> Config {
        let file = directory.join("system_config.yaml");
        std::fs::create_dir_all(directory.join("projects")).unwrap();
        std::fs::write(&file, "").unwrap();
        std::fs::write(directory.join("projects/film.yaml"), "").unwrap();
        let flags = Flags { config: Some(file), data_dir: Some(directory.join("data")), ..Flags::default() };
        Config::load(&flags, Environment::default()).unwrap()
    }

    #[tokio::test]
    async fn keys_are_made_listed_and_revoked_beside_a_server() {
        let place = tempfile::tempdir().unwrap();
        let config = config(place.path());
        let server = open(&config).await.unwrap_or_else(|failure| panic!("{}", failure.message()));
        let project_key =
            keys(&config, &["create", "--user", "anna", "--project", "film", "--expires-in-days", "2"]).await.unwrap();
        let admin_key = keys(&config, &["create", "--user", "root", "--admin"]).await.unwrap();
        assert!(admin_key.starts_with("fw_") && admin_key.ends_with('\n') && admin_key.lines().count() == 1, "the key alone");

        let principal = server.authenticate(project_key.trim()).await.unwrap();
        assert_eq!((principal.user.as_str(), principal.admin), ("anna", false));
        assert_eq!(principal.project.as_ref().map(ProjectId::as_str), Some("film"));
        assert!(server.authenticate(admin_key.trim()).await.unwrap().admin);

        let list = keys(&config, &["list"]).await.unwrap();
        assert_eq!(list.lines().count(), 2);
        assert!(list.contains("  anna  project film  created ") && list.contains("  active until "), "{list}");
        assert!(!list.contains(project_key.trim()) && !list.contains(admin_key.trim()));
        assert_eq!(keys(&config, &["list", "--user", "root"]).await.unwrap().lines().count(), 1);

        let id = principal.key.unwrap().to_string();
        assert_eq!(keys(&config, &["revoke", &id]).await.unwrap(), "");
        assert!(matches!(server.authenticate(project_key.trim()).await, Err(AuthenticationError::Invalid)));
        assert!(keys(&config, &["list", "--user", "anna"]).await.unwrap().contains("  revoked "));
        let absent = KeyId::generate().to_string();
        assert_eq!(keys(&config, &["revoke", &absent]).await.unwrap_err(), format!("error: no key {absent}"));
    }

    #[tokio::test]
    async fn flags_that_make_no_key_are_refused_before_anything_is_made() {
        let place = tempfile::tempdir().unwrap();
        let config = config(place.path());
        for (flags, words) in [
            (&["--admin", "--project", "film"][..], "cannot be used with"),
            (&["--project", "flim"], "--project: there is no project 'flim': make projects/flim.yaml"),
            (&["--project", "../film"], "project '../film' must be"),
            (&["--expires-in-days", "0"], "1..=3650"),
            (&["--expires-in-days", "3651"], "1..=3650"),
            (&["--expires-in-days", "soon"], "--expires-in-days"),
        ] {
            let message = keys(&config, &[&["create", "--user", "anna"], flags].concat()).await.unwrap_err();
            assert!(message.contains(words), "{message}");
        }
        assert!(!config.data_dir.exists());
        std::fs::write(place.path().join("projects/film.yaml"), "stile: x\n").unwrap();
        let message = keys(&config, &["create", "--user", "anna", "--project", "film"]).await.unwrap_err();
        assert!(message.contains("projects/film.yaml:1:1: unknown field `stile`"), "{message}");
    }

    #[test]
    fn a_line_shows_the_scope_and_the_state() {
        let day = 86_400_000;
        let mut key = KeyRecord {
            id: KeyId::generate(),
            prefix: "fw_abcdef".to_owned(),
            user: "anna".parse().unwrap(),
            scope: KeyScope::Project,
            project: Some("film".parse().unwrap()),
            created: UnixMs(0),
            expires: Some(UnixMs(2 * day)),
            revoked: None,
        };
        let ends = |key: &KeyRecord, now| line(key, UnixMs(now)).split("created ").nth(1).unwrap().to_owned();
        assert!(line(&key, UnixMs(day)).contains("  fw_abcdef…  anna  project film  created 1970-01-01T00:00:00.000Z  "));
        assert!(ends(&key, day).ends_with("active until 1970-01-03T00:00:00.000Z"));
        assert!(ends(&key, 2 * day).ends_with("expired 1970-01-03T00:00:00.000Z"));
        key.revoked = Some(UnixMs(day));
        assert!(ends(&key, day).ends_with("revoked 1970-01-02T00:00:00.000Z"));
        (key.scope, key.project, key.expires, key.revoked) = (KeyScope::Admin, None, None, None);
        assert!(line(&key, UnixMs(0)).contains("  anna  admin  ") && ends(&key, 0).ends_with("  active"));
    }
}
