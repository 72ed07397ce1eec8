//! Clients that take all the places at the doors and ask for nothing. Loopback addresses stand for addresses of the
//! internet: each attacker has its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diesel_async::SimpleAsyncConnection as _;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use liveplan::auth::Role;
use liveplan::config::Config;
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};

use super::nothing_is_left;
use crate::harness::metrics::Scrape;
use crate::harness::{RawHttp, Socket, TestApp, until};

const HEALTH: &str = "GET /healthz";

/// A connection from another loopback address.
async fn from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let here = SocketAddr::new(IpAddr::from([127, 0, 0, last]), 0);
    socket.bind(here).expect("a loopback address");
    socket.connect(to).await.expect("a connection")
}

/// A WebSocket from another loopback address, which sends nothing.
async fn silent(last: u8, to: SocketAddr) -> Result<Socket, tokio_tungstenite::tungstenite::Error> {
    Socket::upgraded(from(last, to).await, to).await
}

#[tokio::test]
async fn two_addresses_with_a_thousand_silent_sockets_do_not_keep_a_member_out() {
    // A loaded machine may take longer than the usual ten seconds to open them.
    let app = TestApp::start_with(|config| config.live.connect_within = Duration::from_mins(1)).await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    let mut attackers = Vec::new();
    for last in [2, 3] {
        // In portions, so that the kernel's queue of new connections does not overflow.
        for _ in 0..10 {
            attackers.extend(join_all((0..50).map(|_| silent(last, app.address))).await);
        }
    }
    let mut attackers: Vec<_> = attackers.into_iter().map(|socket| socket.expect("room")).collect();
    assert_eq!(app.app.hub.door().counts().1, 1000);
    // Ten phones of the gym at once.
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(Socket::open(app.address).await);
    }
    for socket in &mut sockets {
        let connected = socket.connect(member.token.as_deref().expect("signed in")).await;
        assert!(connected["connect"].is_object(), "{connected}");
    }
    assert_eq!(app.app.hub.door().gave_way.get(), 10);
    // The oldest of each attacker in turn was told to come back later.
    for (n, attacker) in attackers.iter_mut().enumerate() {
        if n % 500 < 5 {
            assert_eq!(attacker.closed().await, 3013, "socket {n}");
        }
    }
    until("their files are closed", async || app.app.hub.door().counts().0 == 1000).await;
    let scrape = Scrape::of(app.metrics).await;
    assert!((scrape.value("live_sockets_gave_way_total") - 10.0).abs() < f64::EPSILON);
    drop((attackers, sockets));
    nothing_is_left(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn members_connect_through_a_flood_that_opens_silent_sockets_without_pause() {
    let app = TestApp::start_with(|config| config.live.connecting = 40).await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    let (over, opened) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let flood = (0..60_u8).map(|n| {
        let (over, opened, address) = (over.clone(), opened.clone(), app.address);
        tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let Ok(mut socket) = silent(2 + n % 4, address).await else {
                    continue;
                };
                opened.fetch_add(1, Ordering::SeqCst);
                // Until it has to give way, and then the next.
                let _ = tokio::time::timeout(Duration::from_millis(500), socket.stream.next()).await;
            }
        })
    });
    let flood: Vec<_> = flood.collect();
    until("the door is full", async || app.app.hub.door().gave_way.get() > 40).await;
    let began = Instant::now();
    for _ in 0..10 {
        let socket = member.socket().await;
        assert!(socket.connected["connect"].is_object(), "{}", socket.connected);
    }
    println!(
        "ten connects took {:?}, {} silent sockets",
        began.elapsed(),
        opened.load(Ordering::SeqCst)
    );
    over.store(true, Ordering::SeqCst);
    for attacker in flood {
        attacker.await.expect("no panic");
    }
    nothing_is_left(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn a_connect_with_a_valid_token_does_not_give_way_while_it_waits_for_the_database() {
    let app = TestApp::start_with(|config| config.live.connecting = 4).await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    let first = member.socket().await;
    let mut lock = app.owner().await;
    lock.batch_execute("BEGIN; LOCK TABLE memberships IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locked");
    let mut waits = Socket::open(app.address).await;
    let due = waits.send("connect", json!({"token": member.token})).await;
    until("the connect reads from the database", async || {
        app.app.hub.counts().0 == 2
    })
    .await;
    // Of the same address, and of two others.
    for last in [1, 1, 1, 2, 2, 2, 3, 3, 3] {
        drop(silent(last, app.address).await.expect("room"));
    }
    let kept = join_all([1, 2, 2, 3, 3].map(|last| silent(last, app.address))).await;
    assert!(kept.iter().all(Result::is_ok));
    lock.batch_execute("COMMIT").await.expect("unlocked");
    let answer = waits.next().await.expect("an answer");
    assert!(answer["id"] == due && answer["connect"].is_object(), "{answer}");
    drop((first, waits, kept));
    nothing_is_left(&app).await;
    app.stop().await;
}

/// Bounds the plain connections, and lets idle ones live for minutes.
fn at_most(connections: usize, per_address: usize) -> impl FnOnce(&mut Config) {
    move |config| {
        (config.http.connections, config.http.connections_per_address) = (connections, per_address);
        config.http.head_within = Duration::from_mins(1);
        config.http.body_within = Duration::from_mins(1);
    }
}

/// Ways to hold a plain connection: ask for nothing, send half a head, keep the connection after an answer, or send
/// half a body.
async fn holding(n: usize, last: u8, to: SocketAddr) -> RawHttp {
    let mut client = RawHttp(from(last, to).await);
    let json = "Content-Type: application/json";
    match n % 4 {
        0 => {}
        1 => tokio::io::AsyncWriteExt::write_all(&mut client.0, b"GET / HTTP/1.1\r\n")
            .await
            .expect("sent"),
        2 => {
            client.send(HEALTH, &[], "").await;
            assert_eq!(client.answer().await.status, 200);
        }
        _ => {
            client
                .send("POST /api/v1/auth/login", &[json, "Content-Length: 100"], "{")
                .await;
        }
    }
    client
}

#[tokio::test]
async fn two_addresses_with_connections_that_ask_for_nothing_do_not_keep_others_out() {
    let app = TestApp::start_with(at_most(64, 32)).await;
    let mut attackers = Vec::new();
    for last in [2, 3] {
        for n in 0..32 {
            attackers.push(holding(n, last, app.address).await);
        }
    }
    // The first connection of the next client is admitted after the node has seen the last one of the attackers.
    let mut served = Vec::new();
    for _ in 0..8 {
        let mut client = RawHttp(from(4, app.address).await);
        client.send(HEALTH, &[], "").await;
        assert_eq!(client.answer().await.status, 200);
        served.push(client);
    }
    let scrape = Scrape::of(app.metrics).await;
    assert!((scrape.value("http_connections_gave_way_total") - 8.0).abs() < f64::EPSILON);
    for (n, attacker) in attackers.iter_mut().enumerate() {
        if n % 32 < 4 {
            assert!(attacker.ends().await, "connection {n} is still open");
        }
    }
    // Those who are served stay.
    for client in &mut served {
        client.send(HEALTH, &[], "").await;
        assert_eq!(client.answer().await.status, 200);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_request_that_has_arrived_is_answered_though_the_door_is_full() {
    for (connections, per_address) in [(3, 100), (100, 3)] {
        let app = TestApp::start_with(at_most(connections, per_address)).await;
        let member = app.person(app.gym().await, &[Role::Member]).await;
        let mut lock = app.owner().await;
        lock.batch_execute("BEGIN; LOCK TABLE memberships IN ACCESS EXCLUSIVE MODE")
            .await
            .expect("locked");
        let bearer = format!("Authorization: Bearer {}", member.token.as_deref().expect("signed in"));
        let mut working = Vec::new();
        for _ in 0..3 {
            let mut client = RawHttp::open(app.address).await;
            client.send("GET /api/v1/auth/me", &[&bearer], "").await;
            working.push(client);
        }
        until("three requests wait for the database", async || {
            let pool = app.app.pool.state();
            pool.connections == pool.idle_connections + 3
        })
        .await;
        let mut refused = RawHttp::open(app.address).await;
        assert!(refused.ends().await, "the connection was not closed");
        lock.batch_execute("COMMIT").await.expect("unlocked");
        for client in &mut working {
            assert_eq!(client.answer().await.status, 200);
        }
        // Now they are idle, and the oldest gives way.
        let mut next = RawHttp::open(app.address).await;
        next.send(HEALTH, &[], "").await;
        assert_eq!(next.answer().await.status, 200);
        assert!(working[0].ends().await);
        working[1].send(HEALTH, &[], "").await;
        assert_eq!(working[1].answer().await.status, 200);
        app.stop().await;
    }
}

#[tokio::test]
async fn a_forgotten_proxy_has_the_bounds_of_the_node_and_is_shown_to_operators() {
    let app = TestApp::start_with(|config| {
        at_most(6, 2)(config);
        config.live.sockets_per_address = 1;
    })
    .await;
    let forwarded = ["X-Forwarded-For: 192.0.2.1"];
    let mut inside = Vec::new();
    for _ in 0..5 {
        let mut client = RawHttp::open(app.address).await;
        client.send(HEALTH, &forwarded, "").await;
        assert_eq!(client.answer().await.status, 200);
        inside.push(client);
    }
    let scrape = Scrape::of(app.metrics).await;
    assert!((scrape.value("http_forgotten_proxy_requests_total") - 5.0).abs() < f64::EPSILON);
    assert!((scrape.value("http_connections_gave_way_total")).abs() < f64::EPSILON);
    drop(inside);
    // Its sockets have no address either.
    let upgrade = async |with: Option<&str>| {
        let url = format!("ws://{}/connection/websocket", app.address);
        let mut request =
            tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(url).expect("a URL");
        if let Some(client) = with {
            request
                .headers_mut()
                .insert("x-forwarded-for", client.parse().expect("a header"));
        }
        tokio_tungstenite::connect_async(request).await
    };
    let through = [upgrade(Some("192.0.2.1")).await, upgrade(Some("192.0.2.1")).await];
    assert!(through.iter().all(Result::is_ok));
    // Whoever connects without a proxy has the bounds of an address.
    let straight = upgrade(None).await;
    assert!(straight.is_ok() && upgrade(None).await.is_err());
    // Attempts to sign in are not counted for the proxy's address.
    let nobody = app.nobody();
    let body = json!({"email": "nobody", "password": "none"});
    for _ in 0..310 {
        let headers = [("X-Forwarded-For", "192.0.2.1")];
        let answer = nobody
            .send(reqwest::Method::POST, "/api/v1/auth/login", Some(&body), &headers)
            .await;
        answer.refused(401, "bad_credentials");
    }
    app.stop().await;
}
