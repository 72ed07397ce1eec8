//! How fast a client may send: beyond the rate its socket is closed with 3013, and it is served when it returns.

use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use liveplan::auth::Role;
use liveplan::config::Config;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::nothing_is_left;
use crate::harness::{Client, Socket, TestApp};

/// Starts a server with these bounds and asserts that a client is closed with 3013 after `does`, and is served when it
/// returns.
async fn too_many(adjust: impl FnOnce(&mut Config), does: impl AsyncFnOnce(&mut Socket)) {
    let app = TestApp::start_with(adjust).await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    let mut neighbour = app.person(gym, &[Role::Member]).await.socket().await;
    let mut socket = member.socket().await;
    does(&mut socket).await;
    assert_eq!(socket.closed().await, 3013);
    drop(socket);
    is_served(&member).await;
    assert_eq!(neighbour.subscribe("plan:none").await["error"]["code"], 102);
    drop(neighbour);
    nothing_is_left(&app).await;
    app.stop().await;
}

async fn is_served(who: &Client) {
    let mut socket = who.socket().await;
    assert_eq!(socket.subscribe("plan:none").await["error"]["code"], 102);
}

fn slowly(config: &mut Config) {
    (config.live.commands_per_second, config.live.commands_at_once) = (1, 20);
}

#[tokio::test]
async fn commands_have_a_rate_one_by_one_and_in_one_frame() {
    too_many(slowly, async |socket| {
        for _ in 0..25 {
            socket.send("subscribe", json!({"channel": "plan:none"})).await;
        }
    })
    .await;
    too_many(slowly, async |socket| {
        let command = |id| json!({"id": id, "subscribe": {"channel": "plan:none"}}).to_string();
        let frame: Vec<String> = (10..35).map(command).collect();
        socket.send_text(&frame.join("\n")).await;
    })
    .await;
}

#[tokio::test]
async fn pings_and_empty_frames_count_as_commands() {
    for message in [Message::Ping("p".into()), Message::text(""), Message::text("{}")] {
        too_many(slowly, async |socket| {
            for _ in 0..25 {
                let _ = socket.stream.send(message.clone()).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn bytes_have_a_rate_even_if_they_form_no_message() {
    let slowly = |config: &mut Config| {
        (config.live.bytes_per_second, config.live.bytes_at_once) = (1000, 100_000);
    };
    too_many(slowly, async |socket| {
        for _ in 0..4 {
            let long = "x".repeat(40_000);
            let _ = socket
                .stream
                .send(Message::text(format!("{{\"send\":{{\"data\":\"{long}\"}}}}")))
                .await;
        }
    })
    .await;
    too_many(slowly, async |socket| {
        use tokio::io::AsyncWriteExt as _;
        // Empty fragments of a message that never ends.
        let mut bytes = crate::harness::raw::frame(0x01, b"");
        for _ in 0..20_000 {
            bytes.extend(crate::harness::raw::frame(0x00, b""));
        }
        let stream = socket.stream.get_mut();
        let _ = stream.write_all(&bytes).await;
    })
    .await;
}

#[tokio::test]
async fn waiting_commands_are_bounded_in_number_and_in_bytes() {
    let few = |config: &mut Config| config.live.pending_commands = 10;
    too_many(few, async |socket| {
        let command = |id| json!({"id": id, "subscribe": {"channel": "plan:none"}}).to_string();
        let frame: Vec<String> = (10..25).map(command).collect();
        socket.send_text(&frame.join("\n")).await;
    })
    .await;
    let small = |config: &mut Config| config.live.pending_bytes = 10_000;
    too_many(small, async |socket| {
        let long = "x".repeat(20_000);
        socket
            .send("rpc", json!({"method": "none", "data": {"long": long}}))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_resubscribes_to_all_its_channels_at_once_is_served() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    let mut socket = Socket::open(app.address).await;
    // As the SDKs do: connect and every subscribe in one frame.
    let mut frame = vec![json!({"id": 1, "connect": {"token": member.token}}).to_string()];
    for id in 2..=129 {
        let channel = format!("plan:{}", uuid::Uuid::new_v4());
        frame.push(json!({"id": id, "subscribe": {"channel": channel}}).to_string());
    }
    socket.send_text(&frame.join("\n")).await;
    for id in 1..=129 {
        let answer = socket.next().await.expect("an answer");
        // No publication of the member's own channel comes between the answers.
        assert_eq!(answer["id"], id, "{answer}");
        assert!(id == 1 || answer["error"]["code"] == 103, "{answer}");
    }
    drop(socket);
    nothing_is_left(&app).await;
    app.stop().await;
}

#[tokio::test]
async fn the_first_pings_of_sockets_that_connected_together_are_spread() {
    let app = TestApp::start_with(|config| config.live_ping_seconds = 2).await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    let mut sockets = Vec::new();
    for _ in 0..16 {
        sockets.push((member.socket().await, Instant::now()));
    }
    let pinged = sockets.into_iter().map(|(mut socket, began)| async move {
        use futures_util::StreamExt as _;
        loop {
            if let Some(Ok(Message::Text(text))) = socket.stream.next().await
                && text.as_str() == "{}"
            {
                return began.elapsed();
            }
        }
    });
    let mut after = futures_util::future::join_all(pinged).await;
    after.sort();
    assert!(after[0] >= Duration::from_millis(990), "{after:?}");
    assert!(after[15] <= Duration::from_millis(2500), "{after:?}");
    // Sixteen random moments in one second practically never fall within a third of it.
    assert!(after[15] > after[0] + Duration::from_millis(330), "{after:?}");
    app.stop().await;
}
