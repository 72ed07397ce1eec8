//! The socket itself: connecting, refusals and closes.

use liveplan::auth::Role;
use serde_json::json;

use crate::harness::TestApp;

#[tokio::test]
async fn a_connecting_member_is_subscribed_to_their_own_channel() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    let socket = member.socket().await;
    let connect = &socket.connected["connect"];
    assert_eq!(connect["ping"], 25);
    assert_eq!(connect["pong"], true);
    assert_eq!(connect["expires"], true);
    assert!(connect["ttl"].as_u64().expect("a ttl") > 800);
    app.stop().await;
}

#[tokio::test]
async fn a_socket_without_a_valid_connect_is_closed_permanently() {
    let app = TestApp::start().await;
    for (connect, code) in [(json!({"token": "garbage"}), 3500), (json!({}), 3501)] {
        let mut socket = app.nobody().raw_socket().await;
        socket.send("connect", connect).await;
        assert_eq!(socket.closed().await, code);
    }
    let mut socket = app.nobody().raw_socket().await;
    socket.send("subscribe", json!({"channel": "plan:x"})).await;
    assert_eq!(socket.closed().await, 3501);
    let mut socket = app.nobody().raw_socket().await;
    socket.send_text("{\"id\":").await;
    assert_eq!(socket.closed().await, 3501);
}
