//! `egress:` — which networks the server may call on a user's behalf beside the public internet, and which it may not.

use ipnet::IpNet;
use serde::Deserialize;

use super::Notice;

/// What the server may call on a user's behalf.
#[derive(Clone, Debug, Default)]
pub struct EgressConfig {
    /// Networks that are opened beside the public internet, also to plain HTTP and to every port.
    pub allow: Vec<IpNet>,
    /// Networks that are never called, though they are public or within an opened one.
    pub deny: Vec<IpNet>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EgressSection {
    allow: Vec<Allowed>,
    deny: Vec<Denied>,
}

impl EgressSection {
    pub(super) fn resolve(self, notices: &mut Vec<Notice>) -> EgressConfig {
        let allow: Vec<IpNet> = self.allow.into_iter().map(|network| network.0).collect();
        if let Some(network) = allow.iter().find(|network| network.prefix_len() == 0) {
            notices.push(Notice::warning(format!(
                "egress.allow: {network} lets users reach this machine and everything beside it; name the networks that they need"
            )));
        }
        EgressConfig { allow, deny: self.deny.into_iter().map(|network| network.0).collect() }
    }
}

/// An entry of `allow`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Allowed(IpNet);

impl TryFrom<String> for Allowed {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        network("egress.allow", &text).map(Self)
    }
}

/// An entry of `deny`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Denied(IpNet);

impl TryFrom<String> for Denied {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        network("egress.deny", &text).map(Self)
    }
}

/// Reads `address/prefix`.
fn network(setting: &str, text: &str) -> Result<IpNet, String> {
    let network: IpNet = text
        .parse()
        .map_err(|_| format!("{setting}: '{text}' is not a network; write 10.0.0.0/8 or fd00::/8, one address as 10.0.0.7/32"))?;
    if network.trunc() != network {
        return Err(format!("{setting}: '{text}' is an address within a network; write {}", network.trunc()));
    }
    Ok(network)
}
