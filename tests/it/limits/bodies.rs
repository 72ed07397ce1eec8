//! Request bodies: uncompressed, within a size limit, and received in time.

use std::io::Write as _;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use liveplan::auth::Role;
use liveplan::config::Config;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::harness::process::Node;
use crate::harness::{RawHttp, TestApp, postgres};

const LOGIN: &str = "POST /api/v1/auth/login";
const JSON: &str = "Content-Type: application/json";

/// Configures a body timeout of 300 ms.
fn hasty(config: &mut Config) {
    config.http.body_within = Duration::from_millis(300);
    config.http.body_bytes_per_second = u32::MAX;
}

#[tokio::test]
async fn a_compressed_body_is_refused_by_its_headers_on_every_kind_of_route() {
    let app = TestApp::start().await;
    let length = "Content-Length: 131072";
    let chunked = "Transfer-Encoding: chunked";
    let routes = [
        (LOGIN, length),
        (LOGIN, chunked),
        ("POST /api/v1/auth/logout", length),
        ("POST /api/v1/auth/logout", chunked),
        ("GET /api/v1/plans", length),
        ("DELETE /nowhere", chunked),
        ("GET /app/", length),
        ("POST /healthz", length),
        ("GET /api/v1/auth/me", "Accept: */*"),
    ];
    let codings = ["gzip", "deflate", "identity, br", "x-unknown"];
    let refused = async |request: &str, framing: &str, coding: &str| {
        let mut client = RawHttp::open(app.address).await;
        let coding = format!("Content-Encoding: {coding}");
        client
            .send(request, &[JSON, "Accept-Language: es", &coding, framing], "")
            .await;
        let answer = client.answer().await;
        answer.refused(415, "unsupported_media_type");
        assert!(answer.head.contains("accept-encoding: identity\r\n"), "{}", answer.head);
        assert!(answer.head.contains("content-language: es\r\n"), "{}", answer.head);
        if !framing.starts_with("Accept") {
            assert!(answer.head.contains("connection: close\r\n"), "{}", answer.head);
            assert!(client.ends().await, "{request} {framing}");
        }
    };
    let all = routes
        .iter()
        .flat_map(|(request, framing)| codings.iter().map(|coding| refused(request, framing, coding)));
    join_all(all).await;
    let (body, mut client) = (r#"{"email":"x","password":"y"}"#, RawHttp::open(app.address).await);
    let length = format!("Content-Length: {}", body.len());
    client
        .send(LOGIN, &[JSON, "Content-Encoding: identity", &length], body)
        .await;
    client.answer().await.refused(401, "bad_credentials");
    app.stop().await;
}

#[tokio::test]
async fn compressed_bodies_that_would_expand_to_gigabytes_cost_no_memory() {
    const MEBIBYTE: usize = 1024 * 1024;
    let node = Node::with(&postgres::fresh_database().await, &[]).await;
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..128 {
        bomb.write_all(&vec![b' '; MEBIBYTE]).expect("written");
    }
    let bomb = bomb.finish().expect("compressed");
    let url = format!("http://{}/api/v1/auth/login", node.address);
    let http = reqwest::Client::new();
    let post = async || {
        let request = http
            .post(&url)
            .header("content-type", "application/json")
            .header("content-encoding", "gzip")
            .body(bomb.clone());
        // A client that is refused before it has sent everything may find its connection closed.
        if let Ok(answer) = request.send().await {
            assert_eq!(answer.status(), 415);
        }
    };
    post().await;
    node.forget_peak();
    let (before, _) = node.memory();
    join_all((0..20).map(|_| post())).await;
    let (_, peak) = node.memory();
    assert!(
        peak.saturating_sub(before) < 32 * MEBIBYTE as u64,
        "{before} before, {peak} at its peak"
    );
}

#[tokio::test]
async fn a_body_that_stalls_or_drips_times_out_and_its_connection_is_closed() {
    let app = TestApp::start_with(hasty).await;
    for (framing, begin, drip) in [
        ("Content-Length: 200", r#"{"email":"#, "x"),
        ("Transfer-Encoding: chunked", "9\r\n{\"email\":\r\n", "1\r\nx\r\n"),
    ] {
        for drips in [false, true] {
            let (mut client, began) = (RawHttp::open(app.address).await, Instant::now());
            client.send(LOGIN, &[JSON, "Accept-Language: es", framing], begin).await;
            while drips && began.elapsed() < Duration::from_millis(300) {
                client.0.write_all(drip.as_bytes()).await.expect("sent");
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            let answer = client.answer().await;
            answer.refused(408, "request_timeout");
            assert!(answer.body.contains("La petición ha tardado"), "{}", answer.body);
            assert!(answer.head.contains("connection: close\r\n"), "{}", answer.head);
            assert!(client.ends().await, "{framing}");
            assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn five_hundred_stalled_posts_are_closed_and_others_are_served_meanwhile() {
    let app = TestApp::start_with(hasty).await;
    let mut stalled = Vec::new();
    for n in 0..500 {
        let mut client = RawHttp::open(app.address).await;
        // Half of them go to routes that read no body.
        let (request, lines, begin) = match n % 4 {
            0 => (LOGIN, [JSON, "Content-Length: 100"], "{"),
            1 => (LOGIN, [JSON, "Transfer-Encoding: chunked"], "1\r\n{\r\n"),
            2 => ("POST /api/v1/auth/logout", [JSON, "Content-Length: 100"], "{"),
            _ => ("POST /nowhere", [JSON, "Transfer-Encoding: chunked"], "1\r\n{\r\n"),
        };
        client.send(request, &lines, begin).await;
        stalled.push(client);
    }
    let ready = app.nobody().send(reqwest::Method::GET, "/readyz", None, &[]).await;
    assert_eq!(ready.status, 200);
    let ends = join_all(stalled.iter_mut().map(RawHttp::ends)).await;
    assert_eq!(
        ends.iter().filter(|ended| !**ended).count(),
        0,
        "some stalled connections are still open"
    );
    app.stop().await;
}

#[tokio::test]
async fn each_class_of_route_has_its_body_limit() {
    let app = TestApp::start().await;
    let author = app.person(app.gym().await, &[Role::Nutritionist]).await;
    let of_bytes = |bytes: usize| {
        let empty = json!({"name": ""}).to_string().len();
        json!({"name": "x".repeat(bytes - empty)})
    };
    for (path, limit) in [
        ("/auth/login", 4096),
        ("/auth/refresh", 4096),
        ("/auth/switch", 4096),
        ("/plans", 65536),
    ] {
        let refused = author.post(path, &of_bytes(limit + 1)).await;
        refused.refused(413, "too_large");
        assert_eq!(refused.body["limit"], limit.to_string(), "{path}");
        // At the limit the body is read; it is refused for its content.
        author.post(path, &of_bytes(limit)).await.refused(400, "malformed");
        // A chunked body does not declare its length.
        let mut client = RawHttp::open(app.address).await;
        let bearer = format!("Authorization: Bearer {}", author.token.as_deref().expect("signed in"));
        let chunk = format!("{:x}\r\n{}\r\n", limit + 1, "x".repeat(limit + 1));
        client
            .send(
                &format!("POST /api/v1{path}"),
                &[JSON, &bearer, "Transfer-Encoding: chunked"],
                &chunk,
            )
            .await;
        client.answer().await.refused(413, "too_large");
        assert!(client.ends().await, "{path}");
    }
    app.stop().await;
}
