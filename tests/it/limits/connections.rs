//! The number of plain connections per address and node, and how long a connection may be without a request.

use std::time::{Duration, Instant};

use diesel_async::SimpleAsyncConnection as _;
use liveplan::auth::Role;
use liveplan::config::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{RawHttp, Socket, TestApp};

const HEALTH: &str = "GET /healthz";

/// Bounds the connections. The metrics have a listener of their own, without these bounds.
fn at_most(connections: usize, per_address: usize) -> impl FnOnce(&mut Config) {
    move |config| {
        (config.http.connections, config.http.connections_per_address) = (connections, per_address);
        config.http.head_within = Duration::from_mins(1);
    }
}

/// Opens a connection that the server admits, as its answer shows.
async fn admitted(app: &TestApp) -> RawHttp {
    let mut client = RawHttp::open(app.address).await;
    client.send(HEALTH, &[], "").await;
    assert_eq!(client.answer().await.status, 200);
    client
}

async fn is_full(app: &TestApp) {
    let mut refused = RawHttp::open(app.address).await;
    assert!(refused.ends().await, "the connection was not closed");
}

#[tokio::test]
async fn a_trusted_proxy_has_only_the_nodes_bound() {
    let app = TestApp::start_with(|config| {
        at_most(4, 1)(config);
        config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    let mut inside = Vec::new();
    for _ in 0..4 {
        inside.push(admitted(&app).await);
    }
    is_full(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn a_socket_frees_its_connections_place_and_plain_clients_keep_theirs() {
    let app = TestApp::start_with(at_most(2, 2)).await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    let mut sockets = Vec::new();
    for _ in 0..8 {
        let mut socket = Socket::open(app.address).await;
        socket.connect(member.token.as_deref().expect("signed in")).await;
        sockets.push(socket);
    }
    let mut client = admitted(&app).await;
    for _ in 0..20 {
        client.send(HEALTH, &[], "").await;
        assert_eq!(client.answer().await.status, 200);
    }
    for socket in &mut sockets {
        assert_eq!(socket.subscribe("plan:none").await["error"]["code"], 102);
    }
    app.stop().await;
}

/// Allows 1 s for a request's head, and so 2 s between checks. Actix's timer has a resolution of 0.5 s.
fn hasty(config: &mut Config) {
    config.http.head_within = Duration::from_secs(1);
}

#[tokio::test]
async fn a_head_that_stalls_or_drips_closes_its_connection_also_after_a_request() {
    let app = TestApp::start_with(hasty).await;
    let one = async |has_asked: bool, drips: bool| {
        let mut client = if has_asked {
            admitted(&app).await
        } else {
            RawHttp::open(app.address).await
        };
        let began = Instant::now();
        client.0.write_all(b"GET /healthz HTTP/1.1\r\n").await.expect("sent");
        while drips && began.elapsed() < Duration::from_secs(5) {
            if client.0.write_all(b"a: b\r\n").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(client.ends().await, "asked: {has_asked}, drips: {drips}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    };
    tokio::join!(one(false, false), one(false, true), one(true, false), one(true, true));
    app.stop().await;
}

#[tokio::test]
async fn a_slow_request_is_answered() {
    let app = TestApp::start_with(hasty).await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    let mut lock = app.owner().await;
    lock.batch_execute("BEGIN; LOCK TABLE memberships IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locked");
    let waiting = tokio::spawn(async move { member.get("/auth/me").await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!waiting.is_finished());
    lock.batch_execute("COMMIT").await.expect("unlocked");
    waiting.await.expect("joined").ok();
    app.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_the_answer_to_a_handshake_too_slowly_is_closed() {
    let app = TestApp::start_with(|config| {
        config.live.write_within = Duration::from_secs(1);
        config.live.send_buffer_bytes = 4096;
    })
    .await;
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2048).expect("a small buffer");
    let mut client = RawHttp(socket.connect(app.address).await.expect("a connection"));
    let lines = ["Connection: Upgrade", "Upgrade: websocket"];
    client.send("GET /api/openapi.json", &lines, "").await;
    // Bytes keep moving, so that the kernel has no reason to close the connection.
    let (began, mut part, mut bytes) = (Instant::now(), [0; 256], 0);
    while let Ok(read @ 1..) = client.0.read(&mut part).await {
        bytes += read;
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "the client still receives after {bytes} bytes"
        );
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(bytes < 100_000, "{bytes} bytes");
    app.stop().await;
}
