//! Which addresses a push service may have. A user names it, so that it could be any: nothing but the public Internet is
//! called for them, and this machine, where tests and local push services run (contract, section 10), if whoever reaches the
//! server is on this machine as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Where an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On the Internet, reached over TLS.
    Internet,
    /// On this machine.
    Loopback,
}

/// Whether an address is one of this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Where this endpoint is; `None` if it must not be called: no HTTP(S), credentials in it, plain HTTP to anywhere but this
/// machine, or the address of a private network.
pub(super) fn place(url: &Url) -> Option<Place> {
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    if is_loopback(url) {
        return Some(Place::Loopback);
    }
    let is_public = match url.host()? {
        Host::Domain(_) => true,
        Host::Ipv4(ip) => is_public(ip.into()),
        Host::Ipv6(ip) => is_public(ip.into()),
    };
    (is_public && url.scheme() == "https").then_some(Place::Internet)
}

/// Whether an address is one of the public Internet (IANA special-purpose registries, RFC 6890).
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || a == 0
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xfe == 18)
        || a >= 224;
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, ..] = ip.segments();
    // Addresses that hold one of IPv4 lead there.
    if let Some(inner) = ip.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let inner = |high: u16, low: u16| is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    if (a, b) == (0x64, 0xff9b) {
        let [.., high, low] = ip.segments();
        return c == 0 && d == 0 && inner(high, low);
    }
    if a == 0x2002 {
        return inner(b, c);
    }
    // Global unicast is 2000::/3; of it, documentation and the benchmarking and Teredo blocks are not.
    a & 0xe000 == 0x2000 && !(a == 0x2001 && (b == 0xdb8 || b < 0x200)) && a != 0x3fff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Option<Place> {
        place(&Url::parse(url).expect("a URL"))
    }

    #[test]
    fn push_services_are_public_over_tls_or_on_this_machine() {
        for url in [
            "https://fcm.googleapis.com/fcm/send/x",
            "https://updates.push.services.mozilla.com/wpush/v2/x",
            "https://8.8.8.8/x",
            "https://[2606:4700::1111]/x",
        ] {
            assert_eq!(at(url), Some(Place::Internet), "{url}");
        }
        for url in ["http://127.0.0.1:9000/x", "http://localhost:9000/x", "http://[::1]:9000/x", "https://127.0.0.2/x", "http://push.localhost/x"] {
            assert_eq!(at(url), Some(Place::Loopback), "{url}");
        }
    }

    #[test]
    fn private_networks_are_not_called() {
        for url in [
            "http://push.example.org/x",
            "http://8.8.8.8/x",
            "https://10.0.0.1/x",
            "https://192.168.1.1/x",
            "https://172.16.0.1/x",
            "https://169.254.169.254/latest/meta-data",
            "http://169.254.169.254/latest/meta-data",
            "https://100.64.0.1/x",
            "https://0.0.0.0/x",
            "http://0/x",
            "https://224.0.0.1/x",
            "https://[fd00::1]/x",
            "https://[fe80::1]/x",
            "https://[::]/x",
            "https://[::ffff:10.0.0.1]/x",
            "https://[64:ff9b::a00:1]/x",
            "https://[2002:a00:1::]/x",
            "https://[2001:db8::1]/x",
            "https://user:pass@push.example.org/x",
            "ftp://push.example.org/x",
            "file:///etc/passwd",
            "https://0x0a000001/x",
            "https://167772161/x",
        ] {
            assert_eq!(at(url), None, "{url}");
        }
    }
}
