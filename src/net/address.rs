//! Which addresses are on the public internet, and which are not but were opened by the operator. Pure.
//!
//! Source: IANA's registries of special-purpose addresses (IPv4, IPv6), of which all that is not globally reachable is refused, and some of
//! the rest that no server for the public has. Of IPv6, what IANA has not given out for global use (outside of `2000::/3`) is refused too.
//!
//! An IPv4 address inside an IPv6 one: `::ffff:0:0/96` (the same address in another form) and `64:ff9b::/96` (NAT64, what DNS64 answers in
//! networks without IPv4) are as public as the address inside. All other such forms (IPv4-compatible, 6to4, Teredo, ISATAP, the local NAT64
//! prefix) are refused, whatever is inside: they are historic, or mean something within one site alone. A NAT64 prefix that a site chose
//! from its own global addresses cannot be told from others; such a site must see to it that its translator serves no private addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why an address is not one of the public internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restriction {
    /// `0.0.0.0/8`, `::`: this host, on this network.
    ThisNetwork,
    /// `127.0.0.0/8`, `::1`: this machine.
    Loopback,
    /// `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16`, `fc00::/7`: private networks.
    Private,
    /// `100.64.0.0/10`: a provider's network behind its address translation.
    Shared,
    /// `169.254.0.0/16`, `fe80::/10`, `fec0::/10`: this link or this site; the clouds' metadata services are here.
    LinkLocal,
    /// `168.63.129.16`: a cloud's host, as its machines see it, though in a public range.
    CloudHost,
    /// Documentation: `192.0.2.0/24`, `198.51.100.0/24`, `203.0.113.0/24`, `2001:db8::/32`, `3fff::/20`.
    Documentation,
    /// Measurements between devices: `198.18.0.0/15`, `2001:2::/48`.
    Benchmarking,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// Protocols' own addresses: `192.0.0.0/24`, `192.88.99.0/24`, `2001::/23` with ORCHID and the like, `100::/48` with the discard prefix.
    Protocol,
    /// An IPv4 address hidden in an IPv6 one in a form that is not in public use.
    Tunnel,
    /// Not given out: `240.0.0.0/4`, and IPv6 outside of `2000::/3`.
    Reserved,
}

impl fmt::Display for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ThisNetwork => "an address of this network",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::Shared => "an address of a provider's internal network",
            Self::LinkLocal => "a link-local address",
            Self::CloudHost => "an address of the cloud's own host",
            Self::Documentation => "an address for documentation",
            Self::Benchmarking => "an address for benchmarks",
            Self::Multicast => "a multicast address",
            Self::Protocol => "an address for protocols",
            Self::Tunnel => "an IPv4 address in a tunnel's form",
            Self::Reserved => "a reserved address",
        })
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

const RESTRICTED_IPV4: &[(Ipv4Net, Restriction)] = &[
    (v4(0, 0, 0, 0, 8), Restriction::ThisNetwork),
    (v4(10, 0, 0, 0, 8), Restriction::Private),
    (v4(100, 64, 0, 0, 10), Restriction::Shared),
    (v4(127, 0, 0, 0, 8), Restriction::Loopback),
    (v4(168, 63, 129, 16, 32), Restriction::CloudHost),
    (v4(169, 254, 0, 0, 16), Restriction::LinkLocal),
    (v4(172, 16, 0, 0, 12), Restriction::Private),
    (v4(192, 0, 0, 0, 24), Restriction::Protocol),
    (v4(192, 0, 2, 0, 24), Restriction::Documentation),
    // The anycast address of 6to4 relays, withdrawn by RFC 7526.
    (v4(192, 88, 99, 0, 24), Restriction::Protocol),
    (v4(192, 168, 0, 0, 16), Restriction::Private),
    (v4(198, 18, 0, 0, 15), Restriction::Benchmarking),
    (v4(198, 51, 100, 0, 24), Restriction::Documentation),
    (v4(203, 0, 113, 0, 24), Restriction::Documentation),
    (v4(224, 0, 0, 0, 4), Restriction::Multicast),
    // With the broadcast address.
    (v4(240, 0, 0, 0, 4), Restriction::Reserved),
];

/// The first that holds an address decides.
const RESTRICTED_IPV6: &[(Ipv6Net, Restriction)] = &[
    (v6(0, 0, 0, 128), Restriction::ThisNetwork),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), Restriction::Loopback),
    // IPv4-compatible, RFC 4291.
    (v6(0, 0, 0, 96), Restriction::Tunnel),
    // A site's own NAT64, RFC 8215: where the IPv4 address lies in it, only the site knows.
    (v6(0x64, 0xff9b, 1, 48), Restriction::Tunnel),
    (v6(0x100, 0, 0, 48), Restriction::Protocol),
    // Teredo, RFC 4380.
    (v6(0x2001, 0, 0, 32), Restriction::Tunnel),
    (v6(0x2001, 2, 0, 48), Restriction::Benchmarking),
    // With ORCHID (2001:10::/28) and ORCHIDv2 (2001:20::/28).
    (v6(0x2001, 0, 0, 23), Restriction::Protocol),
    (v6(0x2001, 0xdb8, 0, 32), Restriction::Documentation),
    // 6to4, RFC 3056.
    (v6(0x2002, 0, 0, 16), Restriction::Tunnel),
    (v6(0x3fff, 0, 0, 20), Restriction::Documentation),
    (v6(0xfc00, 0, 0, 7), Restriction::Private),
    (v6(0xfe80, 0, 0, 10), Restriction::LinkLocal),
    // Site-local, withdrawn by RFC 3879 and still in use.
    (v6(0xfec0, 0, 0, 10), Restriction::LinkLocal),
    (v6(0xff00, 0, 0, 8), Restriction::Multicast),
];

/// What IANA gives out for global use.
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);
/// NAT64's well-known prefix, RFC 6052: the IPv4 address is the last 32 bits.
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);

/// Why `address` is not one of the public internet; `None` if it is.
pub fn restriction(address: IpAddr) -> Option<Restriction> {
    match address {
        IpAddr::V4(address) => restriction_of_ipv4(address),
        IpAddr::V6(address) => restriction_of_ipv6(address),
    }
}

fn restriction_of_ipv4(address: Ipv4Addr) -> Option<Restriction> {
    RESTRICTED_IPV4.iter().find(|(network, _)| network.contains(&address)).map(|(_, restriction)| *restriction)
}

fn restriction_of_ipv6(address: Ipv6Addr) -> Option<Restriction> {
    let nat64 = || NAT64.contains(&address).then(|| last_32_bits(address));
    if let Some(inside) = address.to_ipv4_mapped().or_else(nat64) {
        return restriction_of_ipv4(inside);
    }
    if let Some((_, restriction)) = RESTRICTED_IPV6.iter().find(|(network, _)| network.contains(&address)) {
        return Some(*restriction);
    }
    if !GLOBAL_UNICAST.contains(&address) {
        return Some(Restriction::Reserved);
    }
    is_isatap(address).then_some(Restriction::Tunnel)
}

fn last_32_bits(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

/// Whether the interface's identifier is ISATAP's (RFC 5214): `[02]00:5efe` and an IPv4 address, under any prefix.
fn is_isatap(address: Ipv6Addr) -> bool {
    let [.., fifth, sixth, _, _] = address.segments();
    matches!(fifth, 0 | 0x0200) && sixth == 0x5efe
}

/// Networks that the operator closed, whatever else they are.
#[derive(Clone, Debug, Default)]
pub struct ClosedNetworks(Vec<IpNet>);

impl ClosedNetworks {
    /// The networks of `egress.deny`.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether one of the networks holds the address. An IPv4 network holds whatever leads to its addresses, tunnels included: what is
    /// closed is the machine, by whatever way.
    pub fn hold(&self, address: IpAddr) -> bool {
        let inside = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => ipv4_inside(address).map(IpAddr::V4),
        };
        self.0.iter().any(|network| network.contains(&address) || inside.is_some_and(|inside| network.contains(&inside)))
    }
}

/// The IPv4 address within a mapped, a compatible, a NAT64 or a 6to4 one.
fn ipv4_inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    const COMPATIBLE: Ipv6Net = v6(0, 0, 0, 96);
    const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 16);
    if SIX_TO_FOUR.contains(&address) {
        let [_, high, low, ..] = address.segments();
        return Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    }
    address
        .to_ipv4_mapped()
        .or_else(|| (NAT64.contains(&address) || COMPATIBLE.contains(&address)).then(|| last_32_bits(address)))
}

/// Networks that the operator opened, though they are not of the public internet.
#[derive(Clone, Debug, Default)]
pub struct OpenNetworks(Vec<IpNet>);

impl OpenNetworks {
    /// The networks of `egress.allow`.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether nothing was opened.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the networks holds the address. An IPv4 network holds its addresses in the IPv4-mapped form too (`::ffff:10.0.0.1`),
    /// since that is the same address to every system, and in no other form: NAT64, 6to4 and the like reach another machine than the
    /// plain address does, so who wants them opens them by an IPv6 network that names them.
    pub fn hold(&self, address: IpAddr) -> bool {
        let plain = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address) || network.contains(&plain))
    }
}
