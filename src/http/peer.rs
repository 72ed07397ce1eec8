//! The client's address: the peer's, or the one that a trusted proxy forwards in a header. A proxy that nobody
//! configured is recognised by its headers, so that its clients do not share the bounds of one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use prometheus_client::metrics::counter::Counter;

use crate::config::{Config, ProxyHeader};

/// The headers in which proxies name what is before them.
const FORWARDING: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "via",
];
/// How long a forgotten proxy is known after its last request.
const KNOWN_FOR: Duration = Duration::from_mins(10);
/// Forgotten proxies that are known at a time.
const KNOWN: usize = 64;
/// Interval between warnings about forgotten proxies.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// The client's address. Each proxy appends to the right of the configured header, so this reads it from the right, as
/// long as the hops are trusted proxies; entries further left may be forged. `None` if the peer is a forgotten proxy:
/// whose request it is cannot be known.
#[must_use]
pub fn address(request: &HttpRequest, config: &Config) -> Option<IpAddr> {
    let trusted = |address: IpAddr| config.trusted_proxies.iter().any(|network| network.contains(&address));
    let mut address = request.peer_addr()?.ip().to_canonical();
    if !trusted(address) {
        return (!is_forgotten_proxy(address, request.headers(), config)).then_some(address);
    }
    let name = match config.proxy_header {
        ProxyHeader::XForwardedFor => "x-forwarded-for",
        ProxyHeader::Forwarded => "forwarded",
    };
    // The values of repeated headers form one list.
    let lines = request.headers().get_all(name).filter_map(|line| line.to_str().ok());
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
    for hop in hops.into_iter().rev() {
        let named = match config.proxy_header {
            ProxyHeader::XForwardedFor => parse(hop),
            ProxyHeader::Forwarded => hop.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("for").then(|| parse(value))?
            }),
        };
        let Some(hop) = named else { break };
        address = hop;
        if !trusted(address) {
            break;
        }
    }
    Some(address)
}

/// The host behind an address: an IPv4 address, or the /64 prefix of an IPv6 address, since a host usually owns a whole
/// /64.
#[must_use]
pub fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// Whether a trusted proxy says that it got the request by TLS. Any proxy on the way may have said so: a client that
/// forges it only makes its own browser use TLS.
#[must_use]
pub fn came_by_tls(request: &HttpRequest, config: &Config) -> bool {
    let Some(peer) = request.peer_addr().map(|peer| peer.ip().to_canonical()) else {
        return false;
    };
    if !config.trusted_proxies.iter().any(|network| network.contains(&peer)) {
        return false;
    }
    let lines = |name| request.headers().get_all(name).filter_map(|line| line.to_str().ok());
    let is_https = |proto: &str| proto.trim().trim_matches('"').eq_ignore_ascii_case("https");
    match config.proxy_header {
        ProxyHeader::XForwardedFor => lines("x-forwarded-proto")
            .flat_map(|line| line.split(','))
            .any(is_https),
        ProxyHeader::Forwarded => lines("forwarded").flat_map(|line| line.split([',', ';'])).any(|pair| {
            let named = pair.split_once('=');
            named.is_some_and(|(name, proto)| name.trim().eq_ignore_ascii_case("proto") && is_https(proto))
        }),
    }
}

/// Whether a peer is a proxy that somebody forgot to configure: it is on this machine or in a private network, it sends
/// forwarding headers, and no proxy is configured.
fn is_forgotten_proxy(peer: IpAddr, headers: &HeaderMap, config: &Config) -> bool {
    config.trusted_proxies.is_empty() && is_near(peer) && FORWARDING.iter().any(|name| headers.contains_key(*name))
}

/// Whether an address is of this machine, of a link, or of a private network, that of a provider (RFC 6598) included.
fn is_near(address: IpAddr) -> bool {
    let shared = |address: Ipv4Addr| matches!(address.octets(), [100, 64..=127, ..]);
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local() || shared(address)
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// The proxies that somebody forgot to configure, by their requests.
#[derive(Default)]
pub struct ForgottenProxies {
    /// Their requests.
    pub requests: Counter,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    hosts: HashMap<IpAddr, Instant>,
    warned_at: Option<Instant>,
}

impl ForgottenProxies {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a request, and remembers its peer if that is a forgotten proxy. Warns at most once a minute.
    pub fn look(&self, request: &HttpRequest, config: &Config) {
        let Some(peer) = request.peer_addr().map(|peer| peer.ip()) else {
            return;
        };
        if is_forgotten_proxy(peer, request.headers(), config) && self.remember(peer, Instant::now()) {
            tracing::warn!(
                proxy.address = %peer,
                requests = self.requests.get(),
                "requests come through a proxy that is not configured: bounds per address do not apply to it, and \
                 devices are shown without an address; set TRUSTED_PROXIES"
            );
        }
    }

    /// Remembers a proxy; returns whether to warn.
    fn remember(&self, peer: IpAddr, now: Instant) -> bool {
        self.requests.inc();
        let mut known = self.lock();
        let host = host(peer);
        if known.hosts.len() >= KNOWN && !known.hosts.contains_key(&host) {
            known
                .hosts
                .retain(|_, seen| now.saturating_duration_since(*seen) < KNOWN_FOR);
        }
        if known.hosts.len() < KNOWN || known.hosts.contains_key(&host) {
            known.hosts.insert(host, now);
        }
        let due = known
            .warned_at
            .is_none_or(|at| now.saturating_duration_since(at) >= WARN_EVERY);
        if due {
            known.warned_at = Some(now);
        }
        due
    }

    /// Whether a host is a forgotten proxy that sent a request in the last ten minutes.
    #[must_use]
    pub fn knows(&self, host: IpAddr) -> bool {
        self.lock()
            .hosts
            .get(&host)
            .is_some_and(|seen| seen.elapsed() < KNOWN_FOR)
    }
}

/// Parses an address with or without port, quotes and brackets.
fn parse(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim().trim_matches('"');
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok().or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    fn from(header: &str, peer: &str, lines: &[(&str, &str)]) -> String {
        let config = Cli::parse_from([
            "liveplan",
            "--trusted-proxies",
            "10.0.0.0/8,fd00::/8",
            "--proxy-header",
            header,
        ])
        .config;
        let mut request = TestRequest::default().peer_addr(peer.parse().expect("an address"));
        for line in lines {
            request = request.append_header(*line);
        }
        let address = address(&request.to_http_request(), &config);
        address.expect("a peer").to_string()
    }

    #[test]
    fn only_headers_of_trusted_proxies_count() {
        let forwarded = |peer, value| from("x-forwarded-for", peer, &[("x-forwarded-for", value)]);
        assert_eq!(forwarded("10.0.0.1:1", "1.1.1.1, 2.2.2.2"), "2.2.2.2");
        assert_eq!(forwarded("9.9.9.9:1", "1.1.1.1"), "9.9.9.9");
        assert_eq!(forwarded("10.0.0.1:1", "1.1.1.1, 10.200.3.4"), "1.1.1.1");
        assert_eq!(forwarded("10.0.0.1:1", "3.3.3.3, 1.1.1.1, 10.200.3.4"), "1.1.1.1");
        assert_eq!(forwarded("[fd00::1]:1", "2001:db8::7"), "2001:db8::7");
        assert_eq!(forwarded("[::ffff:10.0.0.1]:1", "1.1.1.1:4711"), "1.1.1.1");
        assert_eq!(forwarded("10.0.0.1:1", "somebody"), "10.0.0.1");
    }

    #[test]
    fn repeated_headers_form_one_list() {
        // The client sent the first header, the proxy added the second.
        let lines = [("x-forwarded-for", "7.7.7.7"), ("x-forwarded-for", "1.1.1.1")];
        assert_eq!(from("x-forwarded-for", "10.0.0.1:1", &lines), "1.1.1.1");
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let lines = [
            ("x-forwarded-for", "7.7.7.7"),
            (
                "forwarded",
                "for=3.3.3.3, For=\"[2001:db8::7]:4711\";proto=https;by=10.0.0.1",
            ),
        ];
        assert_eq!(from("forwarded", "10.0.0.1:1", &lines), "2001:db8::7");
        assert_eq!(from("x-forwarded-for", "10.0.0.1:1", &lines), "7.7.7.7");
        assert_eq!(from("forwarded", "10.0.0.1:1", &lines[..1]), "10.0.0.1");
    }

    #[test]
    fn an_ipv6_host_is_its_64_bit_prefix() {
        let host = |text: &str| super::host(text.parse().expect("an address")).to_string();
        assert_eq!(host("2001:db8:0:1:ffff::2"), "2001:db8:0:1::");
        assert_eq!(host("::ffff:192.0.2.1"), "192.0.2.1");
    }

    fn config(flags: &[&str]) -> Config {
        Cli::parse_from([&["liveplan"], flags].concat()).config
    }

    fn request(peer: &str, lines: &[(&str, &str)]) -> HttpRequest {
        let request = TestRequest::default().peer_addr(peer.parse().expect("an address"));
        let request = lines.iter().fold(request, |request, line| request.append_header(*line));
        request.to_http_request()
    }

    #[test]
    fn a_near_peer_with_forwarding_headers_is_a_proxy_only_if_none_is_configured() {
        let none = config(&[]);
        for peer in [
            "127.0.0.1:1",
            "10.1.2.3:1",
            "192.168.0.1:1",
            "172.31.0.1:1",
            "100.64.0.1:1",
            "169.254.0.1:1",
            "[::1]:1",
            "[fd00::1]:1",
            "[fe80::1]:1",
            "[::ffff:10.0.0.1]:1",
        ] {
            for name in FORWARDING {
                assert_eq!(address(&request(peer, &[(name, "x")]), &none), None, "{peer} {name}");
            }
            assert!(address(&request(peer, &[("host", "x")]), &none).is_some(), "{peer}");
        }
        for far in ["192.0.2.1:1", "172.32.0.1:1", "100.128.0.1:1", "[2001:db8::1]:1"] {
            assert!(
                address(&request(far, &[("x-forwarded-for", "1.1.1.1")]), &none).is_some(),
                "{far}"
            );
        }
        let other = config(&["--trusted-proxies", "10.0.0.0/8"]);
        let near = request("127.0.0.1:1", &[("x-forwarded-for", "1.1.1.1")]);
        assert_eq!(address(&near, &other).map(|a| a.to_string()), Some("127.0.0.1".into()));
    }

    #[test]
    fn forgotten_proxies_are_bounded_and_warned_about_once_a_minute() {
        let (forgotten, start) = (ForgottenProxies::default(), Instant::now());
        let peer = |n: u8| IpAddr::from([10, 0, 0, n]);
        assert!(forgotten.remember(peer(0), start));
        assert!(!forgotten.remember(peer(1), start + Duration::from_secs(59)));
        assert!(forgotten.remember(peer(1), start + WARN_EVERY));
        for n in 0..=255 {
            forgotten.remember(peer(n), start);
        }
        assert_eq!((forgotten.lock().hosts.len(), forgotten.requests.get()), (KNOWN, 259));
        assert!(forgotten.knows(peer(0)) && !forgotten.knows(peer(255)));
        let later = start + KNOWN_FOR + WARN_EVERY;
        forgotten.remember(peer(255), later);
        assert!(forgotten.knows(peer(255)) && !forgotten.knows(peer(0)));
    }

    #[test]
    fn only_a_trusted_proxy_can_say_that_a_request_came_by_tls() {
        let trusting = |header| config(&["--trusted-proxies", "10.0.0.0/8", "--proxy-header", header]);
        let by_tls = |config: &Config, peer: &str, name: &str, value: &str| {
            came_by_tls(&request(peer, &[(name, value)]), config)
        };
        let usual = trusting("x-forwarded-for");
        assert!(by_tls(&usual, "10.0.0.1:1", "x-forwarded-proto", "https"));
        assert!(by_tls(&usual, "10.0.0.1:1", "x-forwarded-proto", "HTTPS, http"));
        assert!(!by_tls(&usual, "10.0.0.1:1", "x-forwarded-proto", "http"));
        assert!(!by_tls(&usual, "10.0.0.1:1", "forwarded", "proto=https"));
        assert!(!by_tls(&usual, "192.0.2.1:1", "x-forwarded-proto", "https"));
        let standard = trusting("forwarded");
        assert!(by_tls(
            &standard,
            "10.0.0.1:1",
            "forwarded",
            "for=1.1.1.1;proto=\"https\""
        ));
        assert!(!by_tls(&standard, "10.0.0.1:1", "x-forwarded-proto", "https"));
        assert!(!by_tls(&config(&[]), "127.0.0.1:1", "x-forwarded-proto", "https"));
    }
}
