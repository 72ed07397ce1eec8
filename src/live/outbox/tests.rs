use super::*;

fn frame_of(n: usize) -> Bytes {
    Bytes::from(vec![0; n])
}

#[test]
fn a_slow_connection_loses_a_whole_channel_and_keeps_the_others() {
    let outbox = Outbox::new(100);
    assert_eq!(outbox.push(1, &frame_of(40)), Pushed::Queued);
    assert_eq!(outbox.push(2, &frame_of(40)), Pushed::Queued);
    assert_eq!(outbox.push(1, &frame_of(40)), Pushed::Overflow);
    assert_eq!(outbox.waiting_bytes(), 40);
    assert_eq!(outbox.push(2, &frame_of(40)), Pushed::Queued);
}

#[test]
fn replies_are_accepted_by_a_full_queue_and_nothing_after_a_close() {
    let outbox = Outbox::new(10);
    assert_eq!(outbox.push(1, &frame_of(10)), Pushed::Queued);
    outbox.push_control(frame_of(50));
    assert_eq!(outbox.waiting_bytes(), 60);
    outbox.close(Close::Shutdown);
    outbox.close(Close::Slow);
    assert_eq!(outbox.closed(), Some(Close::Shutdown));
    assert_eq!(outbox.push(1, &frame_of(1)), Pushed::Closed);
}

#[tokio::test]
async fn there_is_room_again_when_all_was_taken_or_nobody_reads_any_more() {
    let outbox = Outbox::new(10);
    let mut body = Box::pin(Body::new(outbox.clone(), None));
    outbox.push_control(frame_of(50));
    assert!(outbox.stuck_since().is_some());
    let room = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.room().await }
    });
    tokio::task::yield_now().await;
    assert!(!room.is_finished(), "no command is begun");
    let waker = futures_util::task::noop_waker();
    let mut cx = Context::from_waker(&waker);
    assert!(body.as_mut().poll_next(&mut cx).is_ready());
    assert!(body.as_mut().poll_next(&mut cx).is_pending());
    room.await.expect("room");
    assert!(outbox.stuck_since().is_none());
    outbox.push_control(frame_of(50));
    outbox.give_up(Close::Slow);
    outbox.room().await;
    assert_eq!(outbox.closed(), Some(Close::Slow));
    assert_eq!(outbox.waiting_bytes(), frame::close(Close::Slow).len());
    drop(body);
    outbox.gone().await;
    assert_eq!(outbox.waiting_bytes(), 0);
}

/// A queue whose short way leads to a socket with little room, and the other end.
async fn with_socket() -> (Arc<Outbox>, Body, tokio::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    let there = socket
        .connect(listener.local_addr().expect("bound"))
        .await
        .expect("connected");
    let (here, _) = listener.accept().await.expect("accepted");
    socket2::SockRef::from(&here).set_send_buffer_size(4096).expect("set");
    let mut data = actix_web::dev::Extensions::new();
    Direct::note(&here, &mut data);
    let outbox = Outbox::new(1 << 20);
    outbox.open_direct(data.get::<Arc<Direct>>().expect("a handle").clone());
    (outbox.clone(), Body::new(outbox, None), there)
}

fn poll(body: &mut Body) -> Poll<Option<Bytes>> {
    body.outbox
        .poll_frame(&mut Context::from_waker(&futures_util::task::noop_waker()))
}

#[tokio::test]
async fn the_short_way_is_taken_once_the_long_way_is_known_to_be_empty() {
    use tokio::io::AsyncReadExt as _;
    let (outbox, mut body, mut there) = with_socket().await;
    // The server may still be writing the head of its answer.
    outbox.push_control(Bytes::from_static(b"long"));
    assert_eq!(outbox.waiting_bytes(), 4);
    assert_eq!(poll(&mut body), Poll::Ready(Some(Bytes::from_static(b"long"))));
    outbox.push_control(Bytes::from_static(b"behind"));
    assert_eq!(
        outbox.waiting_bytes(),
        6,
        "the server may still be writing what it took"
    );
    assert!(poll(&mut body).is_ready() && poll(&mut body).is_pending());
    outbox.push_control(Bytes::from_static(b"short"));
    assert_eq!(outbox.waiting_bytes(), 0);
    let mut read = [0; 5];
    there.read_exact(&mut read).await.expect("bytes");
    assert_eq!(&read, b"short");
    assert_eq!(outbox.traffic().1, 15);
}

#[tokio::test]
async fn nothing_comes_between_the_parts_of_a_frame_even_when_all_else_is_given_up() {
    let (outbox, mut body, _there) = with_socket().await;
    assert!(poll(&mut body).is_pending());
    // More than the kernel takes.
    assert_eq!(outbox.push(1, &frame_of(1 << 19)), Pushed::Queued);
    let left = outbox.waiting_bytes();
    assert!(left > 0 && left < 1 << 19, "{left}");
    outbox.push_control(Bytes::from_static(b"reply"));
    assert_eq!(outbox.push(1, &frame_of(1 << 20)), Pushed::Overflow);
    assert_eq!(outbox.waiting_bytes(), left + 5, "a part is dropped with no channel");
    outbox.give_up(Close::Slow);
    assert_eq!(poll(&mut body), Poll::Ready(Some(frame_of(left))));
    assert_eq!(poll(&mut body), Poll::Ready(Some(frame::close(Close::Slow))));
}

#[test]
fn an_empty_queue_accepts_a_frame_over_its_bound() {
    assert_eq!(Outbox::new(10).push(1, &frame_of(50)), Pushed::Queued);
}
