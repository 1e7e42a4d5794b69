//! Where webhooks may go: the guard against requests to the inside of a network.
//!
//! URLs belong to the owners of apps, who may not be the operator. What counts
//! is the address that is connected to, so names are resolved here, and exactly
//! an address that passed is connected to: a name that answers differently the
//! next time gains nothing.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

/// Connects to hosts that webhooks may go to.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    pub(super) deny_private: bool,
    /// Time to find the host and to reach it.
    pub(super) timeout: Duration,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the URL has no host")]
    NoHost,
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("{host} cannot be found: {source}")]
    Unknown { host: String, source: io::Error },
    /// The request was never sent, and never will be.
    #[error("webhooks may not go to {address}")]
    Refused { address: IpAddr },
    #[error("{address} cannot be reached: {source}")]
    Unreachable {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("no connection within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            tokio::time::timeout(connector.timeout, connector.connect(&url))
                .await
                .unwrap_or(Err(ConnectError::TimedOut(connector.timeout)))
                .map(TokioIo::new)
        })
    }
}

impl Connector {
    async fn connect(&self, url: &Uri) -> Result<TcpStream, ConnectError> {
        let host = url.host().ok_or(ConnectError::NoHost)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_tls = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let addresses = tokio::net::lookup_host((host, port))
            .await
            .map_err(|source| ConnectError::Unknown {
                host: host.to_owned(),
                source,
            })?;
        let mut failure = ConnectError::NoAddress {
            host: host.to_owned(),
        };
        for address in addresses {
            if !is_allowed(address.ip(), self.deny_private) {
                failure = ConnectError::Refused {
                    address: address.ip(),
                };
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Requests are small; a socket that refuses is gone already.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(source) => failure = ConnectError::Unreachable { address, source },
            }
        }
        Err(failure)
    }
}

/// Whether webhooks may go to `address`.
pub(super) fn is_allowed(address: IpAddr, deny_private: bool) -> bool {
    match reach(address) {
        Reach::Public => true,
        Reach::Private => !deny_private,
        Reach::Never => false,
    }
}

/// From where an address is reached, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Public,
    /// This machine and the networks behind it.
    Private,
    /// Cloud metadata, neighbours on the link, and what is no single host.
    Never,
}

fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            // The looser of two readings must not win.
            Some(inside) => match reach_v4(inside) {
                Reach::Public => reach_v6(address),
                reach => reach,
            },
            None => reach_v6(address),
        },
    }
}

/// Metadata services that have addresses of their own: Azure, Alibaba, Oracle.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// The same over IPv6: Amazon, Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254),
];

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [first, second, third, _] = address.octets();
    if first == 0
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || METADATA_V4.contains(&address)
    {
        return Reach::Never;
    }
    let is_shared = first == 100 && (64..128).contains(&second);
    let is_protocol = (first, second, third) == (192, 0, 0);
    let is_benchmark = first == 198 && (18..20).contains(&second);
    if address.is_loopback()
        || address.is_private()
        || address.is_documentation()
        || is_shared
        || is_protocol
        || is_benchmark
        || first >= 240
    {
        return Reach::Private;
    }
    Reach::Public
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let first = address.segments()[0];
    let is_link_local = first & 0xffc0 == 0xfe80;
    if address.is_unspecified()
        || address.is_multicast()
        || is_link_local
        || METADATA_V6.contains(&address)
    {
        return Reach::Never;
    }
    let is_unique_local = first & 0xfe00 == 0xfc00;
    let is_site_local = first & 0xffc0 == 0xfec0;
    let start = (first, address.segments()[1], address.segments()[2]);
    let is_documentation = matches!(start, (0x2001, 0x0db8, _));
    let is_local_nat64 = start == (0x64, 0xff9b, 1);
    if address.is_loopback()
        || is_unique_local
        || is_site_local
        || is_documentation
        || is_local_nat64
    {
        return Reach::Private;
    }
    Reach::Public
}

/// The IPv4 address that an IPv6 address leads to: mapped, compatible, NAT64 and
/// 6to4 ones.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        // `::` and `::1` are none of these.
        [0, 0, 0, 0, 0, 0, 0, _] => None,
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => Some(of(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_and_the_link_are_never_reached() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!is_allowed(address.parse().unwrap(), false), "{address}");
        }
    }

    #[test]
    fn private_addresses_are_for_servers_with_one_owner() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "240.0.0.1",
            "::1",
            "fd12:3456::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:c0a8:0101::1",
        ] {
            let address = address.parse().unwrap();
            assert!(is_allowed(address, false), "{address}");
            assert!(!is_allowed(address, true), "{address}");
        }
    }

    #[test]
    fn everybody_else_is_reached() {
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(is_allowed(address.parse().unwrap(), true), "{address}");
        }
    }
}
