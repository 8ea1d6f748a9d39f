//! Names to addresses that were judged.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::error::LookupError;
use super::policy::{EgressPolicy, Reach};

/// Addresses of a name that are tried at most.
const MAX_ADDRESSES: usize = 16;
/// Lookups at one time. The system's cannot be given up, so that those of names whose servers are silent go on after their requests ended;
/// they must not take all threads for blocking work, which files need too.
const MAX_LOOKUPS: usize = 16;

/// A name service. Tests bring their own.
#[async_trait]
pub trait NameLookup: Send + Sync + fmt::Debug {
    /// All addresses of a name.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's name service.
#[derive(Clone, Debug)]
pub struct SystemLookup {
    permits: Arc<Semaphore>,
}

impl Default for SystemLookup {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }
}

impl SystemLookup {
    /// Runs `resolve` on a thread for blocking work. Its permit is given back when it ends, not when its caller goes.
    async fn run<T: Send + 'static>(&self, resolve: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let permit = self.permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        let resolve = move || {
            let resolved = resolve();
            drop(permit);
            resolved
        };
        tokio::task::spawn_blocking(resolve).await?
    }
}

#[async_trait]
impl NameLookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let name = name.to_owned();
        self.run(move || Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())).await
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_lookup_holds_its_place_until_it_ends() {
        let lookup = SystemLookup { permits: Arc::new(Semaphore::new(1)) };
        let (started_sender, started) = tokio::sync::oneshot::channel();
        let (answer, answered) = mpsc::channel();
        let silent = lookup.run(move || {
            let _ = started_sender.send(());
            answered.recv().map_err(io::Error::other)
        });
        // The caller goes once the lookup runs.
        tokio::select! {
            result = silent => panic!("nobody answered: {result:?}"),
            started = started => started.unwrap(),
        }
        assert_eq!(lookup.permits.available_permits(), 0);
        answer.send(()).unwrap();
        assert_eq!(lookup.run(|| Ok(7)).await.unwrap(), 7);
        assert_eq!(lookup.lookup("127.0.0.1").await.unwrap(), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    }
}
