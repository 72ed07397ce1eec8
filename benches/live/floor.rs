//! The floor: a bare epoll loop that only writes. It completes any handshake, implements no protocol, and writes the
//! same bytes to every socket, a burst in one system call. `serve` runs in its own process, which is the benchmark
//! program started with other arguments.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};

use liveplan_hub::ws::frame;
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX - 1);
const INPUT: Token = Token(usize::MAX - 2);
const SHAKEN: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Serves on a port until standard input ends. A line `COUNT NUMBER` writes that many frames with text `NUMBER` of the
/// file.
pub fn serve(port: &str, texts: &str) {
    let texts = std::fs::read(texts).expect("the texts");
    let texts: Vec<String> = serde_json::from_slice(&texts).expect("a list of texts");
    let frames: Vec<_> = texts.iter().map(|text| frame::text(text.as_bytes())).collect();
    let mut poll = Poll::new().expect("epoll");
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    let mut listener = TcpListener::bind(address).expect("the port");
    let registry = poll.registry().try_clone().expect("a registry");
    let readable = Interest::READABLE;
    registry
        .register(&mut listener, LISTENER, readable)
        .expect("registered");
    registry
        .register(&mut SourceFd(&0), INPUT, readable)
        .expect("registered");
    println!("ready");
    let mut sockets: HashMap<usize, TcpStream> = HashMap::new();
    let (mut next, mut events, mut buffer) = (0, Events::with_capacity(1024), vec![0; 65_536]);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.expect("events"),
        }
        for event in &events {
            match event.token() {
                LISTENER => {
                    while let Ok((mut socket, _)) = listener.accept() {
                        let _ = socket.set_nodelay(true);
                        registry
                            .register(&mut socket, Token(next), readable)
                            .expect("registered");
                        sockets.insert(next, socket);
                        next += 1;
                    }
                }
                INPUT => {
                    let length = std::io::stdin().read(&mut buffer).expect("the input");
                    if length == 0 {
                        return;
                    }
                    for line in String::from_utf8_lossy(&buffer[..length]).lines() {
                        let (count, number) = line.split_once(' ').expect("a command");
                        let number: usize = number.parse().expect("a number");
                        let burst = frames[number].repeat(count.parse().expect("a count"));
                        for socket in sockets.values_mut() {
                            // The benchmark requests a burst only after every reader has the previous one, so the
                            // socket has room.
                            assert_eq!(socket.write(&burst).expect("written"), burst.len());
                        }
                    }
                }
                Token(key) => {
                    let Some(socket) = sockets.get_mut(&key) else { continue };
                    match socket.read(&mut buffer) {
                        Ok(0) => drop(sockets.remove(&key)),
                        Ok(length) if buffer[..length].starts_with(b"GET ") => {
                            assert_eq!(socket.write(SHAKEN).expect("written"), SHAKEN.len());
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}
