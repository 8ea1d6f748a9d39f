//! The database that the configuration names, and what is kept there.

use std::sync::Arc;

use crate::config::{Config, DatabaseLocation};
use crate::database::{Database, DatabaseAddress, DatabaseError};
use crate::tenants::{self, KeyStore};

/// Opens the configured database.
pub async fn open(location: &DatabaseLocation) -> Result<Database, DatabaseError> {
    let address = match location {
        DatabaseLocation::Sqlite(path) => DatabaseAddress::File(path.clone()),
        DatabaseLocation::Postgres(url) => DatabaseAddress::Postgres(url.clone()),
    };
    Database::open(address).await
}

/// The keys of the configured database, for commands that need nothing else of it.
pub async fn key_store(config: &Config) -> Result<Arc<dyn KeyStore>, DatabaseError> {
    Ok(tenants::store::open(&open(&config.database.location).await?))
}

/// Whether other servers may stand on the same database.
pub const fn may_have_peers(location: &DatabaseLocation) -> bool {
    matches!(location, DatabaseLocation::Postgres(_))
}
