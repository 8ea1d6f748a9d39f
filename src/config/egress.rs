//! `egress:` — which networks that are not of the public internet the server may call on a user's behalf.

use ipnet::IpNet;
use serde::Deserialize;

use super::Notice;

/// What the server may call on a user's behalf.
#[derive(Clone, Debug, Default)]
pub struct EgressConfig {
    /// Networks that are opened beside the public internet, also to plain HTTP and to every port.
    pub allow: Vec<IpNet>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EgressSection {
    allow: Vec<Network>,
}

impl EgressSection {
    pub(super) fn resolve(self, notices: &mut Vec<Notice>) -> EgressConfig {
        let allow: Vec<IpNet> = self.allow.into_iter().map(|network| network.0).collect();
        if !allow.is_empty() {
            // Goes with the first request field that takes a link.
            notices.push(Notice::no_effect("egress.allow"));
        }
        if let Some(network) = allow.iter().find(|network| network.prefix_len() == 0) {
            notices.push(Notice::warning(format!(
                "egress.allow: {network} lets users reach this machine and everything beside it; name the networks that they need"
            )));
        }
        EgressConfig { allow }
    }
}

/// `address/prefix`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Network(IpNet);

impl TryFrom<String> for Network {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let network: IpNet = text.parse().map_err(|_| {
            format!("egress.allow: '{text}' is not a network; write 10.0.0.0/8 or fd00::/8, one address as 10.0.0.7/32")
        })?;
        if network.trunc() != network {
            return Err(format!("egress.allow: '{text}' is an address within a network; write {}", network.trunc()));
        }
        Ok(Self(network))
    }
}
