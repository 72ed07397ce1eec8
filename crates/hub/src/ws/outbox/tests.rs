use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::limits::LiveLimits;
use crate::ws::admission::Door;

fn frame_of(n: usize) -> Bytes {
    Bytes::from(vec![0; n])
}

#[test]
fn a_slow_connection_loses_a_whole_channel_and_keeps_the_others() {
    let outbox = Outbox::new(100, None);
    assert_eq!(outbox.push(1, &frame_of(40)), Pushed::Queued);
    assert_eq!(outbox.push(2, &frame_of(40)), Pushed::Queued);
    assert_eq!(outbox.push(1, &frame_of(40)), Pushed::Overflow);
    assert_eq!(outbox.waiting_bytes(), 40);
    assert_eq!(outbox.push(2, &frame_of(40)), Pushed::Queued);
}

#[test]
fn a_full_queue_accepts_replies_and_a_closed_queue_nothing() {
    let outbox = Outbox::new(10, None);
    assert_eq!(outbox.push(1, &frame_of(10)), Pushed::Queued);
    outbox.push_control(&frame_of(50));
    assert_eq!(outbox.waiting_bytes(), 60);
    outbox.close(Close::Shutdown);
    outbox.close(Close::Slow);
    assert_eq!(outbox.closed(), Some(Close::Shutdown));
    assert_eq!(outbox.push(1, &frame_of(1)), Pushed::Closed);
}

/// Returns an outbox whose socket has small kernel buffers, and the client's end.
async fn with_socket(bound: usize) -> (Arc<Outbox>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    let there = socket
        .connect(listener.local_addr().expect("bound"))
        .await
        .expect("connected");
    let (here, _) = listener.accept().await.expect("accepted");
    socket2::SockRef::from(&here).set_send_buffer_size(4096).expect("set");
    (Outbox::new(bound, Some(here)), there)
}

#[tokio::test]
async fn there_is_room_again_once_the_queue_is_empty_or_the_client_has_gone() {
    let (outbox, mut there) = with_socket(10).await;
    let many = frame_of(1 << 19);
    outbox.push_control(&many);
    assert!(outbox.stuck_since().is_some(), "more bytes than the kernel accepts");
    let room = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.room().await }
    });
    tokio::task::yield_now().await;
    assert!(!room.is_finished(), "no command may start");
    let writer = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.write().await }
    });
    let mut read = vec![0; many.len()];
    there.read_exact(&mut read).await.expect("all of it");
    room.await.expect("room");
    assert!(outbox.stuck_since().is_none());
    outbox.push_control(&many);
    outbox.give_up(Close::Slow);
    assert_eq!(outbox.closed(), Some(Close::Slow));
    drop(there);
    // When the client has gone, the writer ends and the waiting frames are dropped.
    writer.await.expect("ended");
    outbox.room().await;
    assert_eq!(outbox.waiting_bytes(), 0);
}

#[tokio::test]
async fn a_frame_is_written_at_once_unless_others_wait_before_it() {
    let (outbox, mut there) = with_socket(1 << 20).await;
    outbox.push_control(&Bytes::from_static(b"at once"));
    assert_eq!(outbox.waiting_bytes(), 0);
    let mut read = [0; 7];
    there.read_exact(&mut read).await.expect("bytes");
    assert_eq!(&read, b"at once");
    // More bytes than the kernel accepts, so that later frames must wait.
    let frames: Vec<_> = (0..50_u8).map(|n| Bytes::from(vec![n; 20_000])).collect();
    for frame in &frames {
        outbox.push_control(frame);
    }
    assert!(outbox.waiting_bytes() > 0);
    let mut read = vec![0; 50 * 20_000];
    tokio::select! {
        () = outbox.write() => panic!("the client has not gone"),
        read = there.read_exact(&mut read) => assert!(read.is_ok()),
    }
    assert!(read == frames.concat(), "in order and whole");
    assert_eq!(outbox.traffic().1, 7 + 50 * 20_000);
}

#[tokio::test]
async fn a_partly_written_frame_is_completed_even_if_all_others_are_dropped() {
    let (outbox, mut there) = with_socket(1 << 20).await;
    assert_eq!(outbox.push(1, &Bytes::from(vec![7; 1 << 19])), Pushed::Queued);
    let left = outbox.waiting_bytes();
    assert!(left > 0 && left < 1 << 19, "{left}");
    outbox.push_control(&Bytes::from_static(b"reply"));
    assert_eq!(outbox.push(1, &frame_of(1 << 20)), Pushed::Overflow);
    assert_eq!(outbox.waiting_bytes(), left + 5, "partly written frames are kept");
    outbox.give_up(Close::Slow);
    let mut read = Vec::new();
    let (written, all) = tokio::join!(outbox.finish(), there.read_to_end(&mut read));
    let ((), all) = (written, all.expect("the stream ends"));
    let close = frame::close(Close::Slow);
    assert_eq!(all, (1 << 19) + close.len());
    assert!(read[..1 << 19].iter().all(|byte| *byte == 7));
    assert_eq!(read[1 << 19..], close);
}

#[tokio::test]
async fn a_frame_partly_written_by_the_writer_task_is_completed_too() {
    let (outbox, mut there) = with_socket(1 << 20).await;
    for n in 1..=2 {
        assert_eq!(outbox.push(n, &Bytes::from(vec![7; 1 << 19])), Pushed::Queued);
    }
    // Until the second frame is partly written.
    let mut read = vec![0; (1 << 19) + 1];
    tokio::select! {
        () = outbox.write() => panic!("the client has not gone"),
        read = there.read_exact(&mut read) => assert!(read.is_ok()),
    }
    outbox.give_up(Close::Slow);
    let mut rest = Vec::new();
    let ((), all) = tokio::join!(outbox.finish(), there.read_to_end(&mut rest));
    assert_eq!(
        all.expect("the stream ends"),
        (1 << 19) - 1 + frame::close(Close::Slow).len()
    );
}

#[tokio::test]
async fn a_frame_does_not_overtake_waiting_frames_when_the_socket_has_room_again() {
    let (outbox, mut there) = with_socket(1 << 20).await;
    outbox.push_control(&Bytes::from(vec![7; 1 << 19]));
    let left = outbox.waiting_bytes();
    // The client has read all bytes so far, so the socket has room, but no writer runs yet.
    let mut read = vec![0; (1 << 19) - left];
    there.read_exact(&mut read).await.expect("what was sent");
    outbox.push_control(&Bytes::from_static(b"behind"));
    assert_eq!(outbox.waiting_bytes(), left + 6);
    outbox.close(Close::Normal);
    let mut rest = Vec::new();
    let ((), all) = tokio::join!(outbox.finish(), there.read_to_end(&mut rest));
    all.expect("the stream ends");
    assert!(rest[..left].iter().all(|byte| *byte == 7));
    assert!(rest[left..].starts_with(b"behind"));
}

#[test]
fn an_empty_queue_accepts_a_frame_over_its_bound() {
    assert_eq!(Outbox::new(10, None).push(1, &frame_of(50)), Pushed::Queued);
}

#[tokio::test]
async fn the_client_sees_the_end_even_if_the_outbox_is_still_held() {
    let (outbox, mut there) = with_socket(10).await;
    outbox.push_control(&Bytes::from_static(b"last"));
    outbox.finish().await;
    let mut all = Vec::new();
    there.read_to_end(&mut all).await.expect("the end");
    assert_eq!(all, b"last");
    let (left, mut there) = with_socket(10).await;
    left.leave();
    assert_eq!(there.read(&mut [0]).await.expect("the end"), 0);
    // Nothing is sent after the end.
    assert_eq!(left.push(1, &frame_of(1)), Pushed::Queued);
    assert_eq!((outbox.traffic().1, left.traffic().1), (4, 0));
}

#[tokio::test]
async fn a_place_is_given_back_when_the_file_is_closed_and_not_when_the_client_leaves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("bound");
    let (there, here) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (mut there, (here, _)) = (there.expect("connected"), here.expect("accepted"));
    let door = Door::new(&LiveLimits::default(), 1000);
    let place = door.enter(None).expect("room");
    let outbox = Outbox::counted(10, here, Arc::default(), place);
    let held = outbox.clone();
    outbox.leave();
    drop(outbox);
    assert_eq!(there.read(&mut [0]).await.expect("the end"), 0);
    assert_eq!(door.counts().0, 1, "the socket's file is still open");
    drop(held);
    assert_eq!(door.counts().0, 0);
}
