//! Every special network at both its ends and beside them, and what holds for all addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::address::{OpenNetworks, Restriction, restriction};

/// NAT64's well-known prefix, `64:ff9b::/96`.
const NAT64: u128 = 0x0064_ff9b << 96;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn networks(texts: &[&str]) -> OpenNetworks {
    OpenNetworks::new(texts.iter().map(|text| text.parse().unwrap()).collect())
}

#[test]
fn special_networks_are_refused_from_end_to_end() {
    use Restriction::{
        Benchmarking, CloudHost, Documentation, LinkLocal, Loopback, Multicast, Private, Protocol, Reserved, Shared, ThisNetwork,
        Tunnel,
    };
    for (first, last, expected) in [
        ("0.0.0.0", "0.255.255.255", ThisNetwork),
        ("10.0.0.0", "10.255.255.255", Private),
        ("100.64.0.0", "100.127.255.255", Shared),
        ("100.100.100.200", "100.100.100.200", Shared),
        ("127.0.0.0", "127.255.255.255", Loopback),
        ("168.63.129.16", "168.63.129.16", CloudHost),
        ("169.254.0.0", "169.254.255.255", LinkLocal),
        ("169.254.169.254", "169.254.170.2", LinkLocal),
        ("172.16.0.0", "172.31.255.255", Private),
        ("192.0.0.0", "192.0.0.255", Protocol),
        ("192.0.2.0", "192.0.2.255", Documentation),
        ("192.88.99.0", "192.88.99.255", Protocol),
        ("192.168.0.0", "192.168.255.255", Private),
        ("198.18.0.0", "198.19.255.255", Benchmarking),
        ("198.51.100.0", "198.51.100.255", Documentation),
        ("203.0.113.0", "203.0.113.255", Documentation),
        ("224.0.0.0", "239.255.255.255", Multicast),
        ("240.0.0.0", "255.255.255.255", Reserved),
        ("::", "::", ThisNetwork),
        ("::1", "::1", Loopback),
        ("::2", "::ffff:ffff", Tunnel),
        ("::8.8.8.8", "::127.0.0.1", Tunnel),
        ("::ffff:127.0.0.1", "::ffff:127.255.255.255", Loopback),
        ("::ffff:10.0.0.0", "::ffff:10.255.255.255", Private),
        ("::ffff:0.0.0.0", "::ffff:0.0.0.1", ThisNetwork),
        // RFC 2765's translated form
        ("::ffff:0:8.8.8.8", "::ffff:0:127.0.0.1", Reserved),
        ("64:ff9b::127.0.0.1", "64:ff9b::127.255.255.255", Loopback),
        ("64:ff9b::169.254.169.254", "64:ff9b::a9fe:a9fe", LinkLocal),
        ("64:ff9b::10.0.0.1", "64:ff9b::10.255.255.255", Private),
        ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", Tunnel),
        ("64:ff9b:1::8.8.8.8", "64:ff9b:1:fffe::8.8.8.8", Tunnel),
        ("64:ff9b:0:1::", "64:ff9b::1:0:0", Reserved),
        ("100::", "100::ffff:ffff:ffff:ffff", Protocol),
        ("100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", Protocol),
        ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", Tunnel),
        ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", Benchmarking),
        ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", Protocol),
        ("2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", Protocol),
        ("2001:1::1", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", Protocol),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Documentation),
        ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Tunnel),
        ("2002:7f00:1::", "2002:a9fe:a9fe::1", Tunnel),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Documentation),
        ("4000::", "5f00::1", Reserved),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Private),
        ("fd00:ec2::254", "fd20:ce::254", Private),
        ("fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Reserved),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", LinkLocal),
        ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", LinkLocal),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Multicast),
        ("2606:4700::5efe:127.0.0.1", "2606:4700::5efe:8.8.8.8", Tunnel),
        ("2606:4700::200:5efe:10.0.0.1", "2606:4700:1:2:200:5efe:8.8.8.8", Tunnel),
    ] {
        assert_eq!(restriction(ip(first)), Some(expected), "{first}");
        assert_eq!(restriction(ip(last)), Some(expected), "{last}");
    }
}

#[test]
fn the_public_internet_is_not() {
    for address in [
        "1.0.0.0",
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2000::",
        "2001:200::",
        "2001:4860:4860::8888",
        "2001:db7:ffff::",
        "2001:db9::",
        "2003::",
        "2606:4700:4700::1111",
        "2606:4700::5eff:8.8.8.8",
        "2a00:1450:4001:82a::200e",
        "3ffe:ffff::",
        "3fff:1000::",
    ] {
        assert_eq!(restriction(ip(address)), None, "{address}");
    }
}

#[test]
fn opened_networks_hold_their_addresses_and_no_relatives() {
    let open = networks(&["127.0.0.0/8", "10.1.0.0/16", "fd00::/8"]);
    for held in ["127.0.0.1", "127.255.255.255", "::ffff:127.0.0.1", "10.1.255.255", "::ffff:10.1.0.1", "fd12::1"] {
        assert!(open.hold(ip(held)), "{held}");
    }
    for other in [
        "128.0.0.1",
        "::1",
        "10.2.0.0",
        "::127.0.0.1",
        "64:ff9b::127.0.0.1",
        "2002:7f00:1::",
        "2001::1",
        "fc00::1",
        "::ffff:10.2.0.0",
        "::ffff:0:127.0.0.1",
    ] {
        assert!(!open.hold(ip(other)), "{other}");
    }
    // Each form can be opened by its own name.
    assert!(networks(&["64:ff9b::7f00:0/104"]).hold(ip("64:ff9b::127.0.0.1")));
    assert!(!networks(&["::ffff:7f00:0/104"]).hold(ip("127.0.0.1")));
    assert!(!networks(&[]).hold(ip("8.8.8.8")));
    assert!(networks(&[]).is_empty());
}

proptest! {
    #[test]
    fn an_address_is_as_public_in_its_other_forms(bits in any::<u32>()) {
        let plain = Ipv4Addr::from_bits(bits);
        let mapped = IpAddr::V6(plain.to_ipv6_mapped());
        let nat64 = IpAddr::V6(Ipv6Addr::from_bits(NAT64 | u128::from(bits)));
        prop_assert_eq!(restriction(mapped), restriction(IpAddr::V4(plain)));
        prop_assert_eq!(restriction(nat64), restriction(IpAddr::V4(plain)));
    }

    #[test]
    fn historic_forms_hide_no_address(bits in any::<u32>(), rest in any::<u64>()) {
        let wide = u128::from(bits);
        for hidden in [
            wide,
            (0x2002_u128 << 112) | (wide << 80) | u128::from(rest),
            (0x2001_u128 << 112) | (u128::from(rest) << 32) | wide,
            (0x0064_ff9b_0001_u128 << 80) | (u128::from(rest) << 16 >> 16) | wide,
            (0x2606_4700_u128 << 96) | (0x0000_5efe_u128 << 32) | wide,
        ] {
            let address = IpAddr::V6(Ipv6Addr::from_bits(hidden));
            prop_assert!(restriction(address).is_some(), "{}", address);
        }
    }

    /// The standard library's own predicates, in part unstable, are a second opinion for what they cover.
    #[test]
    fn nothing_that_the_standard_library_calls_special_is_public(bits in any::<u128>(), narrow in any::<u32>()) {
        let address = Ipv4Addr::from_bits(narrow);
        let special = address.is_private() || address.is_loopback() || address.is_link_local() || address.is_multicast()
            || address.is_broadcast() || address.is_documentation() || address.is_unspecified();
        prop_assert!(!special || restriction(IpAddr::V4(address)).is_some(), "{}", address);
        for bits in [bits, bits >> 96, (bits >> 8) | (0xfe << 120), (bits >> 8) | (0xfd << 120)] {
            let address = Ipv6Addr::from_bits(bits);
            let special = address.is_loopback() || address.is_multicast() || address.is_unspecified() || address.is_unique_local()
                || address.is_unicast_link_local();
            prop_assert!(!special || restriction(IpAddr::V6(address)).is_some(), "{}", address);
            let is_global_range = bits >> 125 == 1 || bits >> 32 == NAT64 >> 32 || address.to_ipv4_mapped().is_some();
            prop_assert!(is_global_range || restriction(IpAddr::V6(address)).is_some(), "{}", address);
        }
    }
}
