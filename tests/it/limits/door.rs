//! The number of sockets per account, gym, address and node.

use std::time::{Duration, Instant};

use diesel_async::SimpleAsyncConnection as _;
use liveplan::auth::Role;
use liveplan::config::Config;
use reqwest::StatusCode;
use serde_json::json;

use super::nothing_is_left;
use crate::harness::{Socket, TestApp, until};

#[tokio::test]
async fn an_account_beyond_its_bound_loses_its_oldest_socket_permanently() {
    let app = TestApp::start_with(|config| config.live.sockets_per_user = 3).await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    let mut others = app.person(gym, &[Role::Member]).await.socket().await;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(member.socket().await);
    }
    for socket in &mut sockets[..2] {
        assert_eq!(socket.closed().await, 3504);
    }
    for socket in sockets[2..].iter_mut().chain([&mut others]) {
        assert_eq!(socket.subscribe("plan:none").await["error"]["code"], 102);
    }
    drop((sockets, others));
    nothing_is_left(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn a_full_gym_refuses_temporarily_and_other_gyms_are_not_affected() {
    let app = TestApp::start_with(|config| config.live.sockets_per_log = 2).await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    let one = member.socket().await;
    let _two = member.socket().await;
    let refused = async || {
        let mut third = Socket::open(app.address).await;
        third.send("connect", json!({"token": member.token})).await;
        third.next().await
    };
    assert_eq!(refused().await, Err(3013));
    let elsewhere = app.gym().await;
    let mut other = app.person(elsewhere, &[Role::Member]).await.socket().await;
    assert_eq!(other.subscribe("plan:none").await["error"]["code"], 102);
    drop(one);
    until("the gym has room", async || app.app.hub.counts().0 == 2).await;
    assert!(refused().await.expect("a reply")["connect"].is_object());
    app.stop().await;
}

fn of_node(sockets: usize, per_address: usize, connecting: usize) -> impl FnOnce(&mut Config) {
    move |config| {
        config.live.sockets = sockets;
        config.live.sockets_per_address = per_address;
        config.live.connecting = connecting;
    }
}

#[tokio::test]
async fn a_full_node_refuses_before_the_upgrade_and_admits_later() {
    for bounds in [(3, 100, 100), (100, 3, 100)] {
        let app = TestApp::start_with(of_node(bounds.0, bounds.1, bounds.2)).await;
        let mut inside = Vec::new();
        for _ in 0..3 {
            inside.push(Socket::open(app.address).await);
        }
        let (status, wait) = Socket::try_open(app.address).await.err().expect("refused");
        assert_eq!(status, 503, "{bounds:?}");
        assert!((1..=5).contains(&wait), "{wait} s");
        // Plain requests do not count as sockets.
        let ready = app.nobody().send(reqwest::Method::GET, "/readyz", None, &[]).await;
        assert_eq!(ready.status, StatusCode::OK);
        drop(inside.pop());
        until("the node has room", async || app.app.hub.door().counts().0 == 2).await;
        inside.push(Socket::open(app.address).await);
        drop(inside);
        nothing_is_left(&app).await;
        app.stop().await;
    }
}

#[tokio::test]
async fn a_connected_socket_frees_its_place_among_unfinished_connects() {
    let app = TestApp::start_with(of_node(100, 100, 4)).await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    let mut inside = Vec::new();
    for _ in 0..8 {
        inside.push(member.socket().await);
    }
    assert_eq!(app.app.hub.door().counts(), (8, 0, 1));
    drop(inside);
    nothing_is_left(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn addresses_are_taken_from_a_trusted_proxy() {
    let app = TestApp::start_with(|config| {
        config.live.sockets_per_address = 1;
        config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    let upgrade = async |from: &str| {
        let mut request = tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(format!(
            "ws://{}/connection/websocket",
            app.address
        ))
        .expect("a request");
        request
            .headers_mut()
            .insert("x-forwarded-for", from.parse().expect("a header"));
        tokio_tungstenite::connect_async(request).await
    };
    let _one = upgrade("192.0.2.1").await.expect("let in");
    assert!(upgrade("192.0.2.1").await.is_err());
    assert!(
        upgrade("192.0.2.1, 192.0.2.2").await.is_ok(),
        "the address that the client itself sent must not count"
    );
    app.stop().await;
}

#[tokio::test]
async fn sign_ins_are_limited_by_the_address_that_a_trusted_proxy_reports() {
    for (proxy, other_code) in [
        ("127.0.0.1/32", "bad_credentials"),
        ("192.0.2.0/24", "too_many_requests"),
    ] {
        let app = TestApp::start_with(|config| config.trusted_proxies = vec![proxy.parse().expect("a network")]).await;
        let nobody = app.nobody();
        // A malformed address, so that no password is hashed; the attempt counts for the IP address all the same.
        let body = json!({"email": "nobody", "password": "none"});
        let sign_in = async |from: &str| {
            let headers = [("X-Forwarded-For", from)];
            nobody
                .send(reqwest::Method::POST, "/api/v1/auth/login", Some(&body), &headers)
                .await
        };
        for _ in 0..300 {
            sign_in("192.0.2.1").await.refused(401, "bad_credentials");
        }
        let refused = sign_in("192.0.2.1").await;
        refused.refused(429, "too_many_requests");
        assert!(refused.headers.contains_key("retry-after"));
        assert_eq!(sign_in("192.0.2.2").await.body["code"], other_code);
        app.stop().await;
    }
}

#[tokio::test]
async fn a_connect_that_waits_too_long_for_the_database_is_told_to_retry() {
    let app = TestApp::start_with(|config| config.live.reads_at_once = 1).await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    // The gym's sequencer runs already, so nothing else reads the heads.
    let first = member.socket().await;
    let mut lock = app.owner().await;
    lock.batch_execute("BEGIN; LOCK TABLE memberships IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locked");
    let mut reads = Socket::open(app.address).await;
    let due = reads.send("connect", json!({"token": member.token})).await;
    until("the first connect reads from the database", async || {
        app.app.hub.counts().0 == 2
    })
    .await;
    let mut waits = Socket::open(app.address).await;
    let began = Instant::now();
    let told = waits.call("connect", json!({"token": member.token})).await;
    assert_eq!(
        (&told["error"]["code"], &told["error"]["temporary"]),
        (&json!(111), &json!(true)),
        "{told}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "SDKs give up after 5 s: {:?}",
        began.elapsed()
    );
    lock.batch_execute("COMMIT").await.expect("unlocked");
    let answer = reads.next().await.expect("an answer");
    assert!(answer["id"] == due && answer["connect"].is_object(), "{answer}");
    let again = waits.call("connect", json!({"token": member.token})).await;
    assert!(again["connect"].is_object(), "{again}");
    drop((first, reads, waits));
    nothing_is_left(&app).await;
    app.stop().await;
}
