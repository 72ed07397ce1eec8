//! The product's socket with clients that violate RFC 6455.

use std::time::{Duration, Instant};

use crate::harness::raw::frame;
use crate::harness::{RawSocket, TestApp};

const PATH: &str = "/connection/websocket";

#[tokio::test]
async fn every_violation_of_rfc_6455_closes_with_its_code() {
    let app = TestApp::start().await;
    let mut unmasked = frame(0x81, b"");
    unmasked[1] &= 0x7F;
    let declared = |bytes: u64| [&[0x81, 0xFF][..], &bytes.to_be_bytes(), &[0; 4]].concat();
    let half = vec![b' '; 40 * 1024];
    for (bytes, code) in [
        (frame(0x91, b"{}"), 1002),
        (frame(0xC1, b"{}"), 1002),
        (frame(0x83, b""), 1002),
        (frame(0x8B, b""), 1002),
        (unmasked, 1002),
        (frame(0x89, &[0; 126]), 1002),
        (frame(0x09, b""), 1002),
        (frame(0x80, b"{}"), 1002),
        ([frame(0x01, b"{"), frame(0x81, b"}")].concat(), 1002),
        (declared(1 << 63), 1002),
        (declared(5), 1002),
        (frame(0x88, &[3]), 1002),
        (frame(0x88, &[0, 0]), 1002),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x01, b"\xc0"), 1007),
        (frame(0x88, &[3, 232, 0xFF]), 1007),
        (declared(64 * 1024 + 1), 1009),
        (declared(300 << 20), 1009),
        ([frame(0x01, &half), frame(0x80, &half)].concat(), 1009),
        // This frame is valid in RFC 6455; the JSON protocol accepts text frames only.
        (frame(0x82, b"{}"), 3501),
    ] {
        let mut socket = RawSocket::open(app.address, PATH).await;
        socket.send(&bytes).await;
        assert_eq!(socket.closed().await, code, "{:x?}", &bytes[..bytes.len().min(30)]);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_fragmented_command_with_a_ping_between_its_fragments_is_answered() {
    let app = TestApp::start().await;
    let mut socket = RawSocket::open(app.address, PATH).await;
    let parts = [
        frame(0x01, b"{\"id\":1,\"conn"),
        frame(0x89, b"p"),
        frame(0x80, b"ect\":{\"token\":\"\"}}"),
    ];
    socket.send(&parts[..2].concat()).await;
    assert_eq!(socket.next().await, Some((0x8A, b"p".to_vec())));
    socket.send(&parts[2]).await;
    let (first, payload) = socket.next().await.expect("a close frame");
    assert_eq!((first, &payload[..2]), (0x88, &[13, 173][..]), "no credentials: 3501");
    // The server ends the stream only after the client's close frame; otherwise the client might never read the reason.
    socket.send(&frame(0x88, &payload)).await;
    assert_eq!(socket.next().await, None);

    let mut socket = RawSocket::open(app.address, PATH).await;
    socket.send(&frame(0x88, &[15, 160])).await;
    assert_eq!(socket.next().await, Some((0x88, vec![15, 160])));
    assert_eq!(socket.next().await, None);
    app.stop().await;
}

#[tokio::test]
async fn an_answered_close_ends_the_connection_at_once() {
    let app = TestApp::start().await;
    let mut took = Vec::new();
    // Closed by the client, then by the server after a violation. SDKs report the close to the app only when the stream
    // ends.
    for (bytes, answers) in [(frame(0x88, &[3, 232]), false), (frame(0x82, b"{}"), true)] {
        for _ in 0..5 {
            let mut socket = RawSocket::open(app.address, PATH).await;
            socket.send(&bytes).await;
            let (first, payload) = socket.next().await.expect("a close frame");
            assert_eq!(first, 0x88);
            let closed = Instant::now();
            if answers {
                socket.send(&frame(0x88, &payload)).await;
            }
            assert_eq!(socket.next().await, None);
            took.push(closed.elapsed());
        }
    }
    took.sort();
    // If the server waited for a timeout, every run would take a second. The median allows for a busy machine.
    assert!(took[took.len() / 2] < Duration::from_millis(500), "{took:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_client_that_is_still_sending_receives_the_close_code() {
    let app = TestApp::start().await;
    let mut socket = RawSocket::open(app.address, PATH).await;
    let flood = [&[0x82, 0xFF][..], &(8_u64 << 20).to_be_bytes(), &vec![0; 8 << 20]].concat();
    socket.send(&flood).await;
    assert_eq!(socket.closed().await, 1009);
    assert_eq!(
        socket.next().await,
        None,
        "the stream did not end after the close frame"
    );
    app.stop().await;
}
