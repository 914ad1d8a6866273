//! Trusted proxies: the addresses whose word is taken for the client that they forward.

use actix_web::http::header::{HeaderMap, HeaderName, X_FORWARDED_FOR};
use ipnet::IpNet;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};

/// Addresses of a chain of proxies that are read, from the nearest on.
const MAX_HOPS: usize = 32;

/// TRUSTED_PROXIES: addresses and networks, separated by commas or spaces.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TryFrom<String> for TrustedProxies {
    type Error = String;

    fn try_from(text: String) -> Result<TrustedProxies, String> {
        let parts = text.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty());
        parts.map(network).collect::<Result<_, _>>().map(TrustedProxies)
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map_err(|_| format!("{text:?} is not an address or a network such as 10.0.0.0/8"))
}

impl TrustedProxies {
    /// Whether this address is a trusted proxy.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The address of the client: the peer itself, or where it is a trusted proxy, the last address
    /// that it and the trusted proxies before it forward and that is not one of them.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        if !self.contains(peer) {
            return client;
        }
        let hops = hops(headers);
        for hop in hops.iter().rev().take(MAX_HOPS) {
            let Some(address) = hop else { break };
            client = *address;
            if !self.contains(client) {
                break;
            }
        }
        client
    }
}

/// The forwarded addresses, the nearest last; `None` for one that is hidden or malformed. `Forwarded`
/// is read where there is no `X-Forwarded-For`.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
    let values = |name: &HeaderName| {
        let lines = headers.get_all(name).map(|value| value.to_str().unwrap_or(""));
        lines.flat_map(|line| line.split(',')).map(str::trim).collect::<Vec<_>>()
    };
    let plain = values(&X_FORWARDED_FOR);
    if plain.is_empty() {
        return values(&FORWARDED).into_iter().map(forwarded_for).collect();
    }
    plain.into_iter().map(address).collect()
}

/// The `for` of one element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let node = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    node.map(|(_, value)| value.trim().trim_matches('"')).next().and_then(address)
}

/// An address, with or without a port or brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    text.parse().ok().or_else(with_port).or_else(bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let trusted = TrustedProxies::try_from("10.0.0.0/8, 192.168.1.1 fd00::/8".to_owned());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            map.append(HeaderName::from_static(name), value);
        }
        trusted.unwrap().client(peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        let spoofed = [("x-forwarded-for", "1.2.3.4")];
        assert_eq!(client("8.8.8.8", &spoofed), "8.8.8.8");
        assert_eq!(client("10.1.1.1", &spoofed), "1.2.3.4");
        assert_eq!(client("::ffff:10.1.1.1", &spoofed), "1.2.3.4");
        assert_eq!(client("10.1.1.1", &[]), "10.1.1.1");
    }

    #[test]
    fn what_stands_before_the_last_untrusted_address_is_the_clients_own_claim() {
        for (value, expected) in [
            ("9.9.9.9, 1.2.3.4", "1.2.3.4"),
            ("9.9.9.9, 1.2.3.4, 192.168.1.1", "1.2.3.4"),
            ("1.2.3.4:5678", "1.2.3.4"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("1.2.3.4, nonsense", "10.1.1.1"),
            ("10.0.0.3, 10.0.0.4", "10.0.0.3"),
        ] {
            assert_eq!(client("10.1.1.1", &[("x-forwarded-for", value)]), expected, "{value}");
        }
        let lines = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "5.6.7.8")];
        assert_eq!(client("10.1.1.1", &lines), "5.6.7.8");
        assert_eq!(client("10.1.1.1", &[("x-forwarded-for", "\u{fe}")]), "10.1.1.1");
    }

    #[test]
    fn forwarded_is_read_where_there_is_no_x_forwarded_for() {
        for (value, expected) in [
            ("for=1.2.3.4;proto=https", "1.2.3.4"),
            ("for=9.9.9.9, proto=http;For=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            ("for=unknown", "10.1.1.1"),
            ("for=_hidden, for=10.0.0.2", "10.0.0.2"),
        ] {
            assert_eq!(client("10.1.1.1", &[("forwarded", value)]), expected, "{value}");
        }
        let both = [("forwarded", "for=9.9.9.9"), ("x-forwarded-for", "1.2.3.4")];
        assert_eq!(client("10.1.1.1", &both), "1.2.3.4");
    }

    #[test]
    fn a_list_is_checked() {
        for bad in ["10.0.0.0/33", "proxy.example", "10.0.0"] {
            assert!(TrustedProxies::try_from(bad.to_owned()).unwrap_err().contains(bad));
        }
    }
}
