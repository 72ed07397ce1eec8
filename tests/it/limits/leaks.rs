//! Connects and disconnects of every kind, against the binary: afterwards memory and open files are as before. The long
//! form, with 50,000 of them, is `make leaks`.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _, stream};
use liveplan::auth::Role;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::process::Node;
use crate::harness::{Client, Socket, TestApp, free_port, readiness, until};

/// Sockets in each half; the first half warms up.
const HALF: usize = 1500;
const AT_ONCE: usize = 16;

/// Opens one socket and ends it in one of the ways that sockets end.
async fn come_and_go(n: usize, who: Client, node: std::net::SocketAddr) {
    let mut socket = Socket::open(node).await;
    if n % 5 == 4 {
        // It sends nothing at all.
        return;
    }
    socket.connect(who.token.as_deref().expect("signed in")).await;
    match n % 5 {
        0 => {
            socket.stream.send(Message::Close(None)).await.expect("sent");
            while let Some(Ok(_)) = socket.stream.next().await {}
        }
        1 => {
            socket.send_text("garbage").await;
            assert_eq!(socket.closed().await, 3501);
        }
        2 => drop(socket.subscribe("plan:none").await),
        _ => {}
    }
}

#[tokio::test]
async fn sockets_that_come_and_go_leak_neither_memory_nor_files() {
    let maker = TestApp::start().await;
    let gym = maker.gym().await;
    let mut members = Vec::new();
    for _ in 0..20 {
        members.push(maker.person(gym, &[Role::Member]).await);
    }
    let metrics = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let variables = [
        ("LIVE_SOCKETS_PER_ACCOUNT", "1000"),
        ("METRICS_BIND", &metrics.to_string()),
    ];
    let node = Node::with(&maker.database, &variables).await;
    let half = async || {
        stream::iter(0..HALF)
            .map(|n| come_and_go(n, members[n % members.len()].clone(), node.address))
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<()>>()
            .await;
    };
    let quiet = async || loop {
        let (_, details) = readiness(metrics).await;
        if details["sockets"] == 0 && details["subscriptions"] == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    half().await;
    quiet().await;
    let (first, files) = (node.memory().0, node.files());
    half().await;
    quiet().await;
    // Files of sockets that have just ended are closed shortly after.
    until("the files are as before", async || node.files() <= files).await;
    let second = node.memory().0;
    assert!(second * 100 <= first * 105, "{first} bytes, then {second}");
    maker.stop().await;
}
