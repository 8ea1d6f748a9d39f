//! `framewright keys`: over the database alone, so it works with and without a running server.

use std::io::Write;
use std::sync::Arc;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;

use super::failure::{Failure, OrFail, Outcome};
use super::options::CommonOptions;
use crate::app::data_directory;
use crate::domain::{KeyId, SystemClock, UserId};
use crate::jobs::store::database::Database;
use crate::tenants::KeyService;

/// What to do with keys.
#[derive(Subcommand, Debug)]
pub(super) enum KeysCommand {
    /// Make a key and print it, alone, on standard output; it works at once and is never shown again
    Create(CreateArguments),
    /// List keys by id, first characters, user and state
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
    #[arg(long)]
    admin: bool,
    #[command(flatten)]
    common: CommonOptions,
}

/// Flags of `keys list`.
#[derive(Args, Debug)]
pub(super) struct ListArguments {
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
    match command {
        KeysCommand::Create(arguments) => {
            let keys = open(&arguments.common).await?;
            let (_, key) = keys.create(&arguments.user, arguments.admin).await.or_fail()?;
            writeln!(out, "{}", key.expose_secret()).or_fail()
        }
        KeysCommand::List(arguments) => {
            for key in open(&arguments.common).await?.list().await.or_fail()? {
                let role = if key.admin { "admin" } else { "user" };
                let state = key.revoked.map_or_else(|| "active".to_owned(), |at| format!("revoked {at}"));
                let (id, prefix, user, created) = (key.id, key.prefix, key.user, key.created);
                writeln!(out, "{id}  {prefix}…  {user}  {role}  created {created}  {state}").or_fail()?;
            }
            Ok(())
        }
        KeysCommand::Revoke(arguments) => {
            if open(&arguments.common).await?.revoke(arguments.id).await.or_fail()? {
                Ok(())
            } else {
                Err(Failure::Input(format!("no key {}", arguments.id)))
            }
        }
    }
}

async fn open(common: &CommonOptions) -> Outcome<KeyService> {
    let config = common.load()?;
    data_directory::create(&config.data_dir).or_fail()?;
    let database = Database::open(&config.database.path).await.or_fail()?;
    Ok(KeyService::new(database, Arc::new(SystemClock)))
}
