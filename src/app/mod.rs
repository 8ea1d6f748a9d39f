//! The composition root: builds every part of the server from the configuration, in order, and takes it down in order.
//!
//! Nothing here decides anything about pictures, jobs or requests. This is the only module that knows all the others.

pub mod administrator;
pub mod compute;
pub mod data_directory;
pub mod films;
mod http;
mod parts;
mod provider_file;
pub mod remarks;
pub mod shares;
mod shutdown;
pub(crate) mod signals;
pub mod stores;
pub mod tenant_files;
mod watched_files;

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api;
use crate::config::{Config, ConfigError, DatabaseLocation, LogFormat};
use crate::database::DatabaseError;
use crate::execution::DeviceError;
use crate::execution::remote::ProviderSetupError;
use crate::jobs::store::StoreError;
use crate::net::FetchError;
use crate::storage::StorageError;
use crate::telemetry::logging::{self, LoggingError};
use crate::telemetry::metrics::MetricsError;
use crate::tenants::AuthenticationError;
use data_directory::{DataDirectory, DataDirectoryError};
use http::ConnectionLimits;
use parts::Parts;

/// What each of several servers does without `SECRET_KEY`.
const OWN_SECRET: &str = "SECRET_KEY is not set: this server signs links and tokens with a secret of its own, which other servers on the same \
                          database refuse; give all of them the same SECRET_KEY";

/// Why the server could not start, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The log filter is wrong.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
    /// The address cannot be listened on.
    #[error("{}", bind_message(*.address, .source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A file of a user or a project is wrong.
    #[error(transparent)]
    Tenants(#[from] ConfigError),
    /// A network of films is not what its key says.
    #[error(transparent)]
    Films(ConfigError),
    /// An account at a provider cannot be opened.
    #[error(transparent)]
    Providers(#[from] ProviderSetupError),
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The storage directory cannot be used.
    #[error("storage.base_path: cannot use {path}: {source}")]
    Storage {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: StorageError,
    },
    /// The bundled model cannot be unpacked.
    #[error("cannot unpack the bundled model below {path}: {source}")]
    BundledModel {
        /// Where to.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A device does not open.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The key table cannot be read or written.
    #[error(transparent)]
    Keys(#[from] AuthenticationError),
    /// The job table cannot be read or written.
    #[error(transparent)]
    Jobs(#[from] StoreError),
    /// The client for users' links cannot be set up.
    #[error(transparent)]
    Egress(#[from] FetchError),
    /// The metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The signal handlers, the HTTP server, or standard output failed.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

fn bind_message(address: SocketAddr, source: &io::Error) -> String {
    match source.kind() {
        ErrorKind::AddrInUse => {
            let next = SocketAddr::new(address.ip(), address.port().wrapping_add(1).max(1024));
            format!("--listen: {address} is in use by another program; stop it or choose another port, such as --listen {next}")
        }
        ErrorKind::PermissionDenied => format!("--listen: no permission to listen on {address}; ports below 1024 need root"),
        ErrorKind::AddrNotAvailable => format!("--listen: this machine has no address {}", address.ip()),
        _ => format!("--listen: cannot listen on {address}: {source}"),
    }
}

/// Runs the server until SIGINT or SIGTERM, and takes it down in order.
pub async fn serve(config: Config, out: &mut (dyn Write + Send)) -> Result<(), ServeError> {
    let format = match config.log.format {
        LogFormat::Text => logging::LogFormat::Human,
        LogFormat::Json => logging::LogFormat::Json,
    };
    logging::init_logging(format, config.log.filter.as_deref())?;
    log_notices(&config);

    let tools = films::film_tools(&config).map_err(ServeError::Films)?;
    films::announce(&config, &tools);
    // What fails most often fails first: another server on the data directory, another program on the port.
    let data_directory = DataDirectory::open(&config.data_dir)?;
    let _database_lock = match &config.database.location {
        DatabaseLocation::Sqlite(path) => data_directory.lock_database(path)?,
        // Its servers share it.
        DatabaseLocation::Postgres(_) => None,
    };
    let address = config.server.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })?;
    let mut signals = signals::Signals::new().map_err(|source| ServeError::Io { action: "cannot handle signals", source })?;

    let parts = Parts::build(&config, tools, &data_directory).await?;
    announce(&config, &parts, &listener, out).await?;

    let clients = TaskTracker::new();
    let close_http = CancellationToken::new();
    clients.spawn(http::serve(listener, api::router(parts.api.clone()), ConnectionLimits::of_process(), close_http.clone()));
    clients.close();

    signals.wait().await;
    shutdown::run(&parts, &clients, &close_http, &mut signals).await;
    Ok(())
}

fn log_notices(config: &Config) {
    for notice in &config.notices {
        if notice.is_warning {
            tracing::warn!("{}", notice.text);
        } else {
            tracing::info!("{}", notice.text);
        }
    }
    if config.secret_key.is_none() && stores::may_have_peers(&config.database.location) {
        tracing::warn!("{OWN_SECRET}");
    }
    if !config.auth.enabled {
        tracing::warn!("auth.enabled is false: whoever can reach {} may use the server", config.server.listen);
    }
}

/// Tells the person at the terminal the first key, if one was made, and the address. The key goes to standard output alone: logs are
/// kept and shipped.
async fn announce(
    config: &Config,
    parts: &Parts,
    listener: &TcpListener,
    out: &mut (dyn Write + Send),
) -> Result<(), ServeError> {
    let needs_key = config.auth.enabled && config.auth.master_key.is_none();
    if config.auth.enabled && !needs_key {
        tracing::info!("the administrator's key is the one in API_MASTER_KEY or API_KEY; none is generated");
    }
    let key = administrator::ensure_key(&parts.api.keys, needs_key).await?;
    let address = listener.local_addr().map_err(|source| ServeError::Io { action: "cannot read the address", source })?;
    let written = key
        .map_or(Ok(()), |key| out.write_all(administrator::announcement(&key, &config.data_dir).as_bytes()))
        .and_then(|()| writeln!(out, "listening on http://{address}"))
        .and_then(|()| out.flush());
    written.map_err(|source| ServeError::Io { action: "cannot write to standard output", source })?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "Listening on http://{address}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_comes_with_another_to_try() {
        let message = |kind, address: &str| bind_message(address.parse().unwrap(), &io::Error::from(kind));
        assert!(message(ErrorKind::AddrInUse, "127.0.0.1:8000").contains("such as --listen 127.0.0.1:8001"));
        assert!(message(ErrorKind::AddrInUse, "127.0.0.1:65535").contains("such as --listen 127.0.0.1:1024"));
        assert!(message(ErrorKind::PermissionDenied, "0.0.0.0:80").contains("0.0.0.0:80"));
        assert!(message(ErrorKind::AddrNotAvailable, "10.9.8.7:80").contains("10.9.8.7"));
    }
}
