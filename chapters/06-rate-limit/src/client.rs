//! Who asks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName};
use sidecar_kit::Setting;

/// Who asks, as a limiter tells clients apart.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Client<'a> {
    /// A machine, or all that share its address.
    Ipv4(Ipv4Addr),
    /// A network of IPv6: the first 64 bits of an address. Whoever has one address has all that
    /// begin so ([RFC 4291, section 2.5.1](https://www.rfc-editor.org/rfc/rfc4291#section-2.5.1)),
    /// and could come from another one with each request.
    Ipv6(u64),
    /// A name that is not an address.
    Named(&'a [u8]),
}

impl From<IpAddr> for Client<'_> {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::Ipv4(ip),
            IpAddr::V6(ip) => Self::Ipv6((ip.to_bits() >> 64) as u64),
        }
    }
}

/// The header field in which a proxy before this pod says who asks, such as `X-Forwarded-For`.
///
/// Anybody can write such a field. It may be believed only where every request passes a proxy
/// that adds to it: clients could otherwise be a new one with each request, and never be limited.
#[derive(Clone, Debug)]
pub struct ClientHeader(HeaderName);

impl Setting for ClientHeader {
    const EXAMPLE: &'static str = "X-Forwarded-For";

    fn parse(value: &str) -> Result<Self, String> {
        value
            .parse()
            .map(Self)
            .map_err(|error: http::header::InvalidHeaderName| error.to_string())
    }
}

impl<'a> Client<'a> {
    // ANCHOR: client
    /// Finds out who asks: `peer`, who opened the connection, unless a `header` is believed.
    ///
    /// Each proxy on the way adds to the end of the field, so the last name in it is the one that
    /// the proxy next to this pod has written. All before it is what somebody claims.
    pub fn of(peer: IpAddr, headers: &'a HeaderMap, header: Option<&ClientHeader>) -> Self {
        let line = header.and_then(|ClientHeader(name)| headers.get_all(name).iter().next_back());
        let name = line
            .and_then(|line| line.as_bytes().rsplit(|byte| *byte == b',').next())
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty());
        let Some(name) = name else {
            return peer.into();
        };
        match address(name) {
            Some(ip) => ip.into(),
            None => Self::Named(name),
        }
    }
    // ANCHOR_END: client
}

/// An address, with a port or without.
fn address(name: &[u8]) -> Option<IpAddr> {
    let name = std::str::from_utf8(name).ok()?;
    let with_port = || name.parse().ok().map(|address: SocketAddr| address.ip());
    name.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn headers(lines: &[&str]) -> HeaderMap {
        lines
            .iter()
            .map(|line| (HeaderName::from_static("x-forwarded-for"), *line))
            .map(|(name, line)| (name, HeaderValue::from_str(line).unwrap()))
            .collect()
    }

    fn named(lines: &[&str]) -> String {
        let header = ClientHeader::parse("X-Forwarded-For").unwrap();
        format!("{:?}", Client::of(PEER, &headers(lines), Some(&header)))
    }

    fn client(ip: &str) -> Client<'static> {
        ip.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn it_is_who_opened_the_connection() {
        let headers = headers(&["192.0.2.1"]);
        assert_eq!(Client::of(PEER, &headers, None), PEER.into());
    }

    #[test]
    fn the_last_name_is_believed() {
        let last = format!("{:?}", client("192.0.2.9"));
        assert_eq!(named(&["192.0.2.9"]), last);
        assert_eq!(named(&["192.0.2.1, 192.0.2.2 ,192.0.2.9 "]), last);
        assert_eq!(named(&["192.0.2.1", "192.0.2.2", "192.0.2.9"]), last);
        assert_eq!(named(&["192.0.2.9:4711"]), last);
        assert_eq!(named(&["::ffff:192.0.2.9"]), last);
    }

    #[test]
    fn who_is_not_named_is_the_peer() {
        let peer = format!("{:?}", Client::from(PEER));
        assert_eq!(named(&[]), peer);
        assert_eq!(named(&[""]), peer);
        assert_eq!(named(&["192.0.2.1, "]), peer);
    }

    #[test]
    fn a_name_need_not_be_an_address() {
        assert_eq!(
            named(&["192.0.2.1, alice"]),
            format!("{:?}", Client::Named(b"alice"))
        );
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff::2"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        let last = format!("{:?}", client("2001:db8:1:2::"));
        assert_eq!(named(&["[2001:db8:1:2::5]:4711"]), last);
    }

    #[test]
    fn a_header_has_a_name() {
        assert!(ClientHeader::parse("X-Forwarded-For").is_ok());
        assert!(ClientHeader::parse("X Forwarded").is_err());
    }
}
