//! The client's address: the peer's, or the one that a trusted proxy forwards in a header.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;

use crate::config::{Config, ProxyHeader};

/// The client's address. Each proxy appends to the right of the configured header, so this reads it from the right, as
/// long as the hops are trusted proxies; entries further left may be forged.
#[must_use]
pub fn address(request: &HttpRequest, config: &Config) -> Option<IpAddr> {
    let trusted = |address: IpAddr| config.trusted_proxies.iter().any(|network| network.contains(&address));
    let mut address = request.peer_addr()?.ip().to_canonical();
    if !trusted(address) {
        return Some(address);
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
}
