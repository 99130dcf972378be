//! Where a request came from: the peer's address, or what a trusted proxy says it is.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::http::HeaderMap;

/// A range of addresses, as `10.0.0.0/8` or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: u128,
    prefix: u32,
}

/// The text was no address and no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no IP address or CIDR range such as 10.0.0.0/8")]
pub struct InvalidNetwork(String);

/// IPv4 as its mapped IPv6 form, so that one comparison serves both (RFC 4291, section 2.5.5.2).
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Network {
    /// Whether the address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
        (bits(address) ^ self.base) & mask == 0
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (address, prefix) = text.trim().split_once('/').map_or((text.trim(), None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u32 = prefix.map_or(Ok(width), str::parse).map_err(|_| invalid())?;
        if prefix > width {
            return Err(invalid());
        }
        Ok(Self { base: bits(address), prefix: prefix + 128 - width })
    }
}

/// The proxies whose `X-Forwarded-For` is believed; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// Reads a list of addresses and ranges.
    ///
    /// # Errors
    /// [`InvalidNetwork`] naming the first entry that is neither.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, InvalidNetwork> {
        entries.iter().map(|entry| entry.as_ref().parse()).collect::<Result<_, _>>().map(Self)
    }

    /// The address of the client: the peer's, unless the peer is trusted; then the last one in `X-Forwarded-For` that is
    /// not itself a trusted proxy. Entries before it can be made up by the client and are not looked at.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let hops: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(',')).collect();
        for hop in hops.into_iter().rev() {
            if !self.trusts(client) {
                break;
            }
            let Some(address) = parse_hop(hop.trim()) else { break };
            client = address.to_canonical();
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// An address, with or without a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// The client's address; unknown where the host does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RemoteAddr(Option<IpAddr>);

impl RemoteAddr {
    pub(super) fn of(peer: Option<IpAddr>, headers: &HeaderMap, proxies: &TrustedProxies) -> Self {
        Self(peer.map(|peer| proxies.client(peer, headers)))
    }

    /// What shares a rate limit: an IPv4 address, or the /64 that one IPv6 subscriber has at least.
    pub(crate) fn bucket(self) -> Self {
        Self(self.0.map(|address| match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        }))
    }
}

impl fmt::Display for RemoteAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", axum::http::HeaderValue::from_static(line));
        }
        TrustedProxies::parse(trusted).expect("valid ranges").client(peer.parse().expect("valid address"), &headers).to_string()
    }

    #[test]
    fn a_stranger_cannot_forge_its_address() {
        assert_eq!(client(&[], "203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(client(&["10.0.0.0/8"], "203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        // What stands before the address the proxy added came from the client.
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &["198.51.100.1, 203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn trusted_hops_are_passed_over() {
        assert_eq!(client(&["10.0.0.0/8", "192.0.2.7"], "10.1.2.3", &["203.0.113.9, 192.0.2.7", "10.9.9.9"]), "203.0.113.9");
        assert_eq!(client(&["::1"], "::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client(&["127.0.0.1"], "::ffff:127.0.0.1", &["203.0.113.9:1234"]), "203.0.113.9");
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &["garbage"]), "10.1.2.3");
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &[]), "10.1.2.3");
    }

    #[test]
    fn ranges_are_read_and_bounded() {
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "host"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        let contains = |network: &str, address: &str| network.parse::<Network>().expect("valid").contains(address.parse().expect("valid"));
        assert!(contains("0.0.0.0/0", "203.0.113.9"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(contains("10.1.2.3/8", "10.255.0.1"));
        assert!(!contains("10.1.2.3/8", "11.0.0.1"));
    }

    #[test]
    fn one_ipv6_subscriber_has_one_bucket() {
        let bucket = |text: &str| RemoteAddr(Some(text.parse().expect("valid"))).bucket().to_string();
        assert_eq!(bucket("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(bucket("203.0.113.9"), "203.0.113.9");
    }
}
