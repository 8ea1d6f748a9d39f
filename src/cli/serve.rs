//! `framewright serve`.

use std::io::Write;

use clap::Args;

use super::failure::{Failure, Outcome};
use super::options::CommonOptions;
use crate::app::{self, ServeError};
use crate::config::{Config, Environment};

/// Flags of `serve`.
#[derive(Args, Debug)]
pub(super) struct ServeArguments {
    /// Address and port to listen on [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    #[command(flatten)]
    common: CommonOptions,
}

/// Serves until SIGINT or SIGTERM.
pub(super) async fn run(arguments: &ServeArguments, out: &mut (dyn Write + Send)) -> Outcome {
    let mut flags = arguments.common.flags();
    flags.listen.clone_from(&arguments.listen);
    let config = Config::load(&flags, Environment::read()?)?;
    app::serve(config, out).await.map_err(|error| match error {
        ServeError::Logging(error) => Failure::input("FRAMEWRIGHT_LOG (or log.filter)", error),
        ServeError::Tenants(error) | ServeError::Films(error) => error.into(),
        other => Failure::Other(other.into()),
    })
}
