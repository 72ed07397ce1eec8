//! Where a request comes from: the peer, or what a trusted proxy says of it.

use std::net::IpAddr;

use actix_web::HttpRequest;

/// The client's address. `X-Forwarded-For` is believed from the right, as far as the proxies in it are trusted.
#[must_use]
pub fn address(request: &HttpRequest, trusted_proxies: &[IpAddr]) -> Option<IpAddr> {
    let mut address = request.peer_addr()?.ip();
    let header = request
        .headers()
        .get("x-forwarded-for")
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    for hop in header.rsplit(',') {
        if !trusted_proxies.contains(&address) {
            break;
        }
        let Ok(hop) = hop.trim().parse() else { break };
        address = hop;
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let from = |peer: &str, forwarded: &str| {
            let request = TestRequest::default()
                .peer_addr(format!("{peer}:1").parse().expect("an address"))
                .insert_header(("x-forwarded-for", forwarded))
                .to_http_request();
            address(&request, &["10.0.0.1".parse().expect("an address")])
                .expect("a peer")
                .to_string()
        };
        assert_eq!(from("10.0.0.1", "1.1.1.1, 2.2.2.2"), "2.2.2.2");
        assert_eq!(from("9.9.9.9", "1.1.1.1"), "9.9.9.9");
        assert_eq!(from("10.0.0.1", "1.1.1.1, 10.0.0.1"), "1.1.1.1");
    }
}
