//! Abusive clients, against the binary where memory is measured: each gets its close code and leaves nothing behind.

use std::time::Duration;

use liveplan::auth::Role;
use serde_json::json;

use super::nothing_is_left;
use crate::harness::process::Node;
use crate::harness::raw::frame;
use crate::harness::{RawSocket, Socket, TestApp, postgres, until};

const PATH: &str = "/connection/websocket";
const MEBIBYTE: u64 = 1024 * 1024;

#[tokio::test]
async fn a_declared_frame_of_300_mib_costs_less_than_one_mib() {
    let node = Node::with(&postgres::fresh_database().await, &[]).await;
    let header = [&[0x82, 0xFF][..], &(300 * MEBIBYTE).to_be_bytes(), &[0; 4]].concat();
    let declare = async || {
        let mut socket = RawSocket::open(node.address, PATH).await;
        socket.send(&header).await;
        assert_eq!(socket.closed().await, 1009);
        socket
    };
    // The first sockets cause one-time allocations, which are not measured.
    for _ in 0..8 {
        declare().await;
    }
    node.forget_peak();
    let (before, _) = node.memory();
    let mut socket = declare().await;
    // The client sends the declared bytes, or as many as the server accepts.
    let part = vec![0; 1 << 20];
    for _ in 0..300 {
        let sent = tokio::time::timeout(
            Duration::from_secs(5),
            tokio::io::AsyncWriteExt::write_all(&mut socket.0, &part),
        );
        if !sent.await.is_ok_and(|sent| sent.is_ok()) {
            break;
        }
    }
    let (after, peak) = node.memory();
    assert!(
        peak.saturating_sub(before) < MEBIBYTE,
        "{before} before, {peak} at its peak, {after} after"
    );
}

#[tokio::test]
async fn each_abuse_has_its_close_code_and_leaves_nothing() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    let token = member.token.as_deref().expect("signed in");
    let text = |text: &str| frame(0x81, text.as_bytes());
    let connect = text(&json!({"id": 1, "connect": {"token": token}}).to_string());
    let twice = format!("{0}\n{0}", json!({"id": 2, "subscribe": {"channel": "plan:x"}}));
    let garbage: Vec<u8> = (0..4096_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1] | 0x80)
        .collect();
    let long = json!({"id": 2, "rpc": {"method": "x", "data": "x".repeat(64 * 1024)}}).to_string();
    let cases: [(&str, Vec<u8>, u16); 10] = [
        ("garbage", garbage, 1002),
        ("garbage in a frame", text("\u{1}garbage"), 3501),
        (
            "a command before connect",
            text(r#"{"id":1,"subscribe":{"channel":"plan:x"}}"#),
            3501,
        ),
        (
            "an rpc before connect",
            text(r#"{"id":1,"rpc":{"method":"meal.complete","data":{}}}"#),
            3501,
        ),
        ("a command over 64 KiB", [connect.clone(), text(&long)].concat(), 1009),
        ("a reused id", [connect.clone(), text(&twice)].concat(), 3501),
        (
            "a command without an id",
            [connect.clone(), text(r#"{"subscribe":{"channel":"plan:x"}}"#)].concat(),
            3501,
        ),
        ("a second connect", [connect.clone(), connect.clone()].concat(), 3501),
        ("no method", [connect.clone(), text(r#"{"id":2}"#)].concat(), 3501),
        (
            "half a command",
            [connect.clone(), text(r#"{"id":2,"subscr"#)].concat(),
            3501,
        ),
    ];
    for (what, bytes, code) in cases {
        let mut socket = RawSocket::open(app.address, PATH).await;
        socket.send(&bytes).await;
        let closed = loop {
            let (first, payload) = socket.next().await.expect("a close frame");
            if first == 0x88 {
                break u16::from_be_bytes([payload[0], payload[1]]);
            }
        };
        assert_eq!(closed, code, "{what}");
        drop(socket);
        nothing_is_left(&app).await;
    }
    assert!(
        member.socket().await.connected["connect"].is_object(),
        "another client is affected"
    );
    app.stop().await;
}

#[tokio::test]
async fn an_unfinished_frame_is_closed_by_the_connect_timeout() {
    let app = TestApp::start_with(|config| config.live.connect_within = Duration::from_secs(1)).await;
    let whole = frame(0x81, br#"{"id":1,"connect":{"token":"x"}}"#);
    for cut in [1, 2, 5, 20] {
        let mut socket = RawSocket::open(app.address, PATH).await;
        socket.send(&whole[..cut]).await;
        assert_eq!(socket.closed().await, 3502, "{cut} bytes");
    }
    // A client that disconnects in the middle of a frame.
    let mut socket = RawSocket::open(app.address, PATH).await;
    socket.send(&whole[..20]).await;
    drop(socket);
    nothing_is_left(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn ten_thousand_subscribes_on_one_socket_are_refused_at_any_speed() {
    let app = TestApp::start_with(|config| config.live.channels = 16).await;
    let gym = app.gym().await;
    let author = app.person(gym, &[Role::Manager]).await;
    let mut members = Vec::new();
    for _ in 0..20 {
        members.push(app.person(gym, &[Role::Member]).await);
    }
    // One by one: existing channels have their own bound.
    let mut patient = author.socket().await;
    for (n, member) in members.iter().enumerate() {
        let answer = patient.subscribe(&format!("member:{}", member.account)).await;
        if n < 16 {
            assert!(answer["subscribe"].is_object(), "{answer}");
        } else {
            assert_eq!(answer["error"]["code"], 106, "{answer}");
        }
    }
    // All at once.
    let mut hasty = author.socket().await;
    let sending = async {
        use futures_util::SinkExt as _;
        for batch in 0..100 {
            let command = |n| json!({"id": n, "subscribe": {"channel": format!("plan:{n}")}}).to_string();
            let lines: Vec<String> = (0..100).map(|n| command(2 + batch * 100 + n)).collect();
            let message = tokio_tungstenite::tungstenite::Message::text(lines.join("\n"));
            if hasty.stream.send(message).await.is_err() {
                break;
            }
        }
        hasty.closed().await
    };
    assert_eq!(sending.await, 3013);
    drop(hasty);
    until("the closed socket has left the hub", async || {
        app.app.hub.counts() == (1, 16)
    })
    .await;
    drop(patient);
    nothing_is_left(&app).await;
    let mut back = Socket::open(app.address).await;
    assert!(back.connect(author.token.as_deref().expect("signed in")).await["connect"].is_object());
    app.stop().await;
}
