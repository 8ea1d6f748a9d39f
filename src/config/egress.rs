//! `egress:` — which private addresses the server may call on a user's behalf. Nothing is fetched for users in this version, so the
//! section is checked and said to have no effect.

use std::net::IpAddr;

use serde::Deserialize;

use super::Notice;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EgressSection {
    allow: Vec<Network>,
}

impl EgressSection {
    pub(super) fn resolve(&self, notices: &mut Vec<Notice>) {
        if !self.allow.is_empty() {
            notices.push(Notice::no_effect("egress.allow"));
        }
    }
}

/// `address/prefix`, checked only.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Network;

impl TryFrom<String> for Network {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.split_once('/')
            .and_then(|(address, prefix)| Some((address.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?)))
            .filter(|(address, prefix)| *prefix <= if address.is_ipv4() { 32 } else { 128 })
            .map(|_| Self)
            .ok_or_else(|| format!("egress.allow: '{text}' is not a network; write 10.0.0.0/8 or fd00::/8"))
    }
}
