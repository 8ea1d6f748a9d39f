//! What is called on a user's behalf, and what is not. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Url;

use super::error::{LookupError, UrlRefusal};
use super::url::{Parts, UserUrl, check_text};
use crate::net::address::{ClosedNetworks, OpenNetworks, restriction};

/// Ports of HTTPS on the public internet: the usual one, and the usual other one. A server that called all ports for its users could be
/// used to look for others' open ports, and to speak to services that are no web servers.
pub const PORTS: [u16; 2] = [443, 8443];

/// Where a link may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To the public internet and to opened networks: HTTPS at one of its [`PORTS`].
    World,
    /// To opened networks alone: plain HTTP, and other ports.
    Opened,
}

/// The rules: HTTPS to the public internet, and whatever the operator opened; nothing that the operator closed.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    open: OpenNetworks,
    closed: ClosedNetworks,
}

impl EgressPolicy {
    /// The public internet, and `allow`.
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { open: OpenNetworks::new(allow), closed: ClosedNetworks::default() }
    }

    /// The same without the networks of `deny`, also where they are public or opened.
    #[must_use]
    pub fn closed_to(self, deny: Vec<IpNet>) -> Self {
        Self { closed: ClosedNetworks::new(deny), ..self }
    }

    /// Judges a link that a user gave, without looking up its name.
    pub fn check(&self, text: &str) -> Result<UserUrl, UrlRefusal> {
        check_text(text)?;
        self.check_url(Url::parse(text).map_err(|_| UrlRefusal::Malformed)?)
    }

    /// Judges a link that the answer to `from` redirects to.
    pub fn check_redirect(&self, from: &UserUrl, location: &str) -> Result<UserUrl, UrlRefusal> {
        check_text(location)?;
        let to = self.check_url(from.url().join(location).map_err(|_| UrlRefusal::Malformed)?)?;
        if from.is_encrypted() && !to.is_encrypted() {
            return Err(UrlRefusal::Downgrade { host: to.host().to_owned() });
        }
        Ok(to)
    }

    /// Judges a link that was read already.
    pub(super) fn check_url(&self, url: Url) -> Result<UserUrl, UrlRefusal> {
        let parts = Parts::of(&url)?;
        let reach = if parts.is_encrypted && PORTS.contains(&parts.port) { Reach::World } else { Reach::Opened };
        if parts.address.is_some_and(|address| self.closed.hold(address)) {
            return Err(UrlRefusal::Closed { host: parts.host });
        }
        if let Some(address) = parts.address
            && !self.open.hold(address)
            && let Some(restriction) = restriction(address)
        {
            return Err(UrlRefusal::Address { host: parts.host, restriction });
        }
        // A name may lead to an opened network, if there are any; that is known once it was looked up.
        let may_be_open = parts.address.map_or(!self.open.is_empty(), |address| self.open.hold(address));
        if reach == Reach::Opened && !may_be_open {
            return Err(if parts.is_encrypted {
                UrlRefusal::Port { host: parts.host, port: parts.port }
            } else {
                UrlRefusal::PlainHttp { host: parts.host }
            });
        }
        Ok(UserUrl::new(url, reach))
    }

    /// Judges the addresses of a name: all of them, or none may be called.
    pub fn check_addresses(&self, addresses: &[IpAddr], reach: Reach) -> Result<(), LookupError> {
        if addresses.is_empty() {
            return Err(LookupError::Empty);
        }
        if let Some(&address) = addresses.iter().find(|address| self.closed.hold(**address)) {
            return Err(LookupError::Closed { address });
        }
        addresses.iter().filter(|address| !self.open.hold(**address)).try_for_each(|&address| {
            match (restriction(address), reach) {
                (Some(restriction), _) => Err(LookupError::Restricted { address, restriction }),
                (None, Reach::Opened) => Err(LookupError::NotOpened { address }),
                (None, Reach::World) => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn policy(allow: &[&str]) -> EgressPolicy {
        EgressPolicy::new(allow.iter().map(|network| network.parse().unwrap()).collect())
    }

    #[test]
    fn https_to_the_public_internet_is_called() {
        for (text, normal) in [
            ("https://example.com", "https://example.com/"),
            ("HTTPS://Example.COM:443/a%20b?x=1#part", "https://example.com/a%20b?x=1"),
            ("https://example.com:8443/", "https://example.com:8443/"),
            ("https://example.com./", "https://example.com./"),
            ("https://bücher.example/ü?ü", "https://xn--bcher-kva.example/%C3%BC?%C3%BC"),
            ("https://8.8.8.8/", "https://8.8.8.8/"),
            ("https://134744072/", "https://8.8.8.8/"),
            ("https://[2606:4700:4700::1111]/", "https://[2606:4700:4700::1111]/"),
            ("https://[64:ff9b::8.8.8.8]/", "https://[64:ff9b::808:808]/"),
            ("https://example.com/a/../b", "https://example.com/b"),
            (
                "https://example.com/http://127.0.0.1/?u=http://10.0.0.1/",
                "https://example.com/http://127.0.0.1/?u=http://10.0.0.1/",
            ),
        ] {
            let url = policy(&[]).check(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
            assert_eq!((url.as_str(), url.reach()), (normal, Reach::World));
            // What is kept is judged in the same way when it is read again.
            assert_eq!(policy(&[]).check(url.as_str()), Ok(url));
        }
    }

    #[test]
    fn opened_networks_are_called_as_the_operator_likes() {
        let policy = policy(&["10.1.0.0/16", "fd00::/8", "9.9.9.9/32"]);
        for (text, reach) in [
            ("http://10.1.0.1/", Reach::Opened),
            ("http://10.1.0.1:9000/", Reach::Opened),
            ("https://10.1.0.1:9000/", Reach::Opened),
            ("https://10.1.0.1/", Reach::World),
            ("http://[fd00::1]:9000/", Reach::Opened),
            ("http://9.9.9.9:22/", Reach::Opened),
            // A name may lead there.
            ("http://minio:9000/", Reach::Opened),
        ] {
            assert_eq!(policy.check(text).unwrap().reach(), reach, "{text}");
        }
        for text in ["http://10.2.0.1/", "https://10.2.0.1/", "http://8.8.8.8/", "https://8.8.8.8:22/", "http://[fc00::1]/"] {
            assert!(policy.check(text).is_err(), "{text}");
        }
        assert!(self::policy(&[]).check("http://minio:9000/").is_err());
    }

    #[test]
    fn closed_networks_are_not_called_by_any_way() {
        let closed: Vec<IpNet> =
            ["8.8.8.8/32", "10.1.2.0/24", "2606:4700::/32"].iter().map(|text| text.parse().unwrap()).collect();
        let policy = policy(&["10.1.0.0/16", "::/0"]).closed_to(closed);
        for text in [
            "https://8.8.8.8/",
            "https://134744072/",
            "https://[::ffff:8.8.8.8]/",
            "https://[64:ff9b::8.8.8.8]/",
            "https://[2002:808:808::1]/",
            "https://[::8.8.8.8]/",
            "http://10.1.2.3:9000/",
            "https://[2606:4700:4700::1111]/",
        ] {
            assert!(matches!(policy.check(text), Err(UrlRefusal::Closed { .. })), "{text}");
            let Ok(address) = text.split('/').nth(2).unwrap().trim_matches(['[', ']']).parse::<IpAddr>() else { continue };
            let both = [address, "10.1.3.3".parse().unwrap()];
            assert!(matches!(policy.check_addresses(&both, Reach::World), Err(LookupError::Closed { .. })), "{text}");
        }
        for text in ["https://8.8.4.4/", "http://10.1.3.3:9000/", "https://[64:ff9b::8.8.4.4]/"] {
            assert!(policy.check(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn redirects_never_lose_tls() {
        let policy = policy(&["10.1.0.0/16"]);
        let from = |text: &str| policy.check(text).unwrap();
        for (start, location, to) in [
            ("https://example.com/a/b", "c", Ok("https://example.com/a/c")),
            ("https://example.com/a/b?x", "?y", Ok("https://example.com/a/b?y")),
            ("https://example.com/", "//other.example/x", Ok("https://other.example/x")),
            ("https://example.com/", "https://8.8.8.8/", Ok("https://8.8.8.8/")),
            ("http://10.1.0.1/", "https://example.com/", Ok("https://example.com/")),
            ("http://10.1.0.1/", "http://10.1.0.2:9000/", Ok("http://10.1.0.2:9000/")),
            ("https://10.1.0.1/", "http://10.1.0.1/", Err(UrlRefusal::Downgrade { host: "10.1.0.1".to_owned() })),
            ("https://example.com/", "http://minio/", Err(UrlRefusal::Downgrade { host: "minio".to_owned() })),
            ("https://example.com/", "http:c", Err(UrlRefusal::Downgrade { host: "c".to_owned() })),
            ("https://example.com/", "data:,x", Err(UrlRefusal::Scheme { scheme: "data".to_owned() })),
            ("https://example.com/", "//user@other.example/", Err(UrlRefusal::UserInfo)),
            ("https://example.com/", "//other.example:22/", Ok("https://other.example:22/")),
            ("https://example.com/", "/a b", Err(UrlRefusal::Characters)),
            ("https://example.com/", "https://", Err(UrlRefusal::Malformed)),
        ] {
            let found = policy.check_redirect(&from(start), location);
            assert_eq!(found.as_ref().map(UserUrl::as_str), to.as_ref().copied(), "{start} {location}");
        }
        let strict = self::policy(&[]);
        let refusal = strict.check_redirect(&strict.check("https://example.com/").unwrap(), "http://example.com/").unwrap_err();
        assert_eq!(refusal, UrlRefusal::PlainHttp { host: "example.com".to_owned() });
    }

    #[test]
    fn refusals_say_what_to_do() {
        let long = format!("https://example.com/{}", "ü".repeat(2000));
        for (text, message) in [
            (
                "http://example.com/?sig=1",
                "'example.com' is not called without TLS; write https://, or have the operator open its network in egress.allow",
            ),
            (
                "https://example.com:22/?sig=1",
                "port 22 of 'example.com' is not called; use 443 or 8443, or have the operator open its network in egress.allow",
            ),
            (
                "https://0x7f.1/?sig=1",
                "'127.0.0.1' is not called, because it is a loopback address; the operator can open it in egress.allow",
            ),
            (
                "https://[fd00::1]/",
                "'fd00::1' is not called, because it is a private address; the operator can open it in egress.allow",
            ),
            ("https://me:secret@example.com/", "the link holds a user name or a password; leave it out"),
            ("ftp://example.com/", "links of the kind 'ftp:' are not called; write https://"),
            ("a", "not a link; write https://host/path, the host with at most 253 characters"),
            (
                "https://example.com/ x",
                "the link holds a space, a control character or a backslash; write them as %20 and the like",
            ),
            // What counts is what is sent.
            (long.as_str(), "the link has 12020 characters; at most 4096"),
        ] {
            assert_eq!(policy(&[]).check(text).unwrap_err().to_string(), message);
        }
        let shown = format!("{:?}", policy(&[]).check("https://example.com/secret?signature=1").unwrap());
        assert_eq!(shown, "UserUrl(https://example.com, World)");
    }

    /// An IPv4 address in the ways that readers of links take one.
    fn forms(address: Ipv4Addr) -> Vec<String> {
        let bits = address.to_bits();
        let [a, b, c, d] = address.octets();
        vec![
            address.to_string(),
            format!("{address}."),
            bits.to_string(),
            format!("0x{bits:x}"),
            format!("0X{bits:08X}"),
            format!("0{bits:o}"),
            format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
            format!("0x{a:x}.{b}.0{c:o}.{d}"),
            format!("{a}.{}", bits & 0x00ff_ffff),
            format!("{a}.{b}.{}", bits & 0xffff),
            address.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat(),
            address.to_string().replace('.', "\u{3002}"),
            address
                .to_string()
                .chars()
                .map(|digit| if digit == '.' { digit } else { char::from_u32(u32::from(digit) + 0xfee0).unwrap() })
                .collect(),
            format!("[::ffff:{address}]"),
            format!("[64:ff9b::{address}]"),
        ]
    }

    proptest! {
        #[test]
        fn no_form_of_an_address_changes_what_it_is(
            bits in prop_oneof![any::<u32>(), 0x7f00_0000_u32..0x8000_0000, 0xa9fe_0000_u32..0xa9ff_0000, 0x0a00_0000_u32..0x0b00_0000],
        ) {
            let address = Ipv4Addr::from_bits(bits);
            for form in forms(address) {
                let result = policy(&[]).check(&format!("https://{form}/"));
                match restriction(address.into()) {
                    Some(expected) => prop_assert!(
                        matches!(result, Err(UrlRefusal::Address { restriction, .. }) if restriction == expected), "{}: {:?}", form, result
                    ),
                    None => prop_assert!(result.is_ok(), "{}: {:?}", form, result),
                }
            }
        }

        #[test]
        fn no_text_panics_or_leads_out_of_the_rules(text in "(https?:)?/{0,3}([a-z0-9.@:%#?\\[\\]-]|\\PC){0,60}", location in "\\PC{0,60}") {
            let policy = policy(&[]);
            if let Ok(url) = policy.check(&text) {
                prop_assert!(url.is_encrypted() && url.reach() == Reach::World && !url.as_str().contains(['#', '\\', ' ']));
                prop_assert!(url.as_str().len() <= crate::net::egress::MAX_URL_CHARACTERS);
                prop_assert!(url.url().username().is_empty() && url.url().password().is_none());
                if let Ok(next) = policy.check_redirect(&url, &location) {
                    prop_assert!(next.is_encrypted() && next.reach() == Reach::World);
                }
            }
        }

        #[test]
        fn one_refused_address_refuses_the_name(
            public in prop::collection::vec(any::<u128>().prop_map(|bits| Ipv6Addr::from_bits((0x2606_u128 << 112) | (bits >> 16))), 0..4),
            refused in prop::sample::select(vec!["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "64:ff9b::127.0.0.1", "2002:7f00:1::", "0.0.0.0"]),
            at in any::<prop::sample::Index>(),
        ) {
            let mut addresses: Vec<IpAddr> =
                public.into_iter().map(IpAddr::V6).filter(|address| restriction(*address).is_none()).collect();
            let expected = if addresses.is_empty() { "Err(Empty)" } else { "Ok(())" };
            prop_assert_eq!(format!("{:?}", policy(&[]).check_addresses(&addresses, Reach::World)), expected);
            prop_assert!(policy(&[]).check_addresses(&addresses, Reach::Opened).is_err());
            addresses.insert(at.index(addresses.len() + 1), refused.parse().unwrap());
            prop_assert!(policy(&[]).check_addresses(&addresses, Reach::World).is_err_and(|error| error.is_refused()));
            prop_assert!(policy(&["192.168.0.0/16"]).check_addresses(&addresses, Reach::Opened).is_err());
        }
    }
}
