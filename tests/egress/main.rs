//! The egress policy over real sockets: what is refused is never sent, what is fetched stays within its limits.

#[cfg(test)]
mod bodies;
#[cfg(test)]
mod callbacks;
#[cfg(test)]
mod exchange;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod names;
#[cfg(test)]
mod redirects;
#[cfg(test)]
mod server;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod surroundings;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod upstream;

#[cfg(test)]
use std::net::{IpAddr, Ipv4Addr};
#[cfg(test)]
use std::sync::Arc;
#[cfg(test)]
use std::time::Duration;

#[cfg(test)]
use framewright::net::Limits;
#[cfg(test)]
use framewright::net::egress::{Egress, EgressPolicy};

/// A machine that the policies of these tests open.
#[cfg(test)]
const FRIEND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 83, 21, 8));
/// A machine that none of them opens.
#[cfg(test)]
const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 83, 21, 9));

/// Enough for every answer that comes at all.
#[cfg(test)]
const LIMITS: Limits = Limits { max_bytes: 1 << 20, total: Duration::from_mins(1), idle: Duration::from_mins(1) };

/// A client that may call `allow` beside the public internet, with these names.
#[cfg(test)]
fn egress(allow: &[&str], names: &Arc<names::Names>) -> Egress {
    let allow = allow.iter().map(|network| network.parse().unwrap()).collect();
    Egress::with_lookup(EgressPolicy::new(allow), names.clone()).unwrap()
}

/// An error and all its causes, as the log has them.
#[cfg(test)]
fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
