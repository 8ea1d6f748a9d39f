//! Names to addresses that were judged.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::error::LookupError;
use super::policy::{EgressPolicy, Reach};

/// Addresses of a name that are tried at most.
const MAX_ADDRESSES: usize = 16;

/// A name service. Tests bring their own.
#[async_trait]
pub trait NameLookup: Send + Sync + fmt::Debug {
    /// All addresses of a name.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's name service.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

#[async_trait]
impl NameLookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Gives a connection only addresses that the policy lets through, and they are the ones that it connects to.
#[derive(Clone, Debug)]
pub(super) struct VettedResolver {
    pub(super) policy: EgressPolicy,
    pub(super) reach: Reach,
    pub(super) lookup: Arc<dyn NameLookup>,
}

impl VettedResolver {
    async fn vetted(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let mut addresses = self.lookup.lookup(name).await.map_err(LookupError::Failed)?;
        self.policy.check_addresses(&addresses, self.reach)?;
        addresses.truncate(MAX_ADDRESSES);
        Ok(addresses)
    }
}

impl Resolve for VettedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.vetted(name.as_str()).await?;
            // The link's port takes the place of 0.
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}
