//! Frames written directly and frames written through the outbox form one stream: whatever a client does during bursts
//! of publications, it reads whole frames, each publication once and in order, and a pong for each of its pings.

use std::net::SocketAddr;
use std::time::Duration;

use liveplan_hub::protocol::{Answer, Codec, Command, ConnectRequest, Event, Reply, SubscribeRequest};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::conformance::{Conformance, token};
use crate::harness::raw::frame;

const RUNS: u64 = 10;
const WATCHERS: usize = 12;
const BURSTS: u64 = 6;
const PUBLICATIONS: u64 = BURSTS * 10;

/// A client that watches and strains the protocol without breaking it.
struct Watcher {
    stream: TcpStream,
    codec: Codec,
    rng: rand::rngs::StdRng,
    unread: Vec<u8>,
    pings: u64,
    pongs: u64,
    seen: u64,
}

/// The receive buffer in bytes, small enough that a pause in reading fills it.
const SMALL: u32 = 4 * 1024;

impl Watcher {
    async fn open(address: SocketAddr, codec: Codec, channel: &str, seed: u64) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // A pause in reading then fills the socket, and the server can write only part of a frame.
        socket.set_recv_buffer_size(SMALL).expect("set");
        let mut stream = socket.connect(address).await.expect("a connection");
        let request = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {}\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            codec.subprotocol()
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a response"));
        }
        let mut watcher = Self {
            stream,
            codec,
            rng: rand::rngs::StdRng::seed_from_u64(seed),
            unread: Vec::new(),
            pings: 0,
            pongs: 0,
            seen: 0,
        };
        watcher.begin(channel).await;
        watcher
    }

    /// Connects and subscribes in one frame.
    async fn begin(&mut self, channel: &str) {
        let token = token(&json!({"sub": uuid::Uuid::new_v4()}));
        let (first, bytes) = match self.codec {
            Codec::Json => {
                let connect = json!({"id": 1, "connect": {"token": token}});
                let subscribe = json!({"id": 2, "subscribe": {"channel": channel}});
                (0x81, format!("{connect}\n{subscribe}").into_bytes())
            }
            Codec::Protobuf => (0x82, begin_in_protobuf(token, channel)),
        };
        self.stream.write_all(&frame(first, &bytes)).await.expect("sent");
        let mut subscribed = false;
        while !subscribed {
            let (_, payload) = self.next().await;
            subscribed = self.messages(&payload).iter().any(|m| matches!(m, Message::Reply(2)));
        }
    }

    /// Reads the next whole frame.
    async fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Some(found) = cut(&mut self.unread) {
                return found;
            }
            let mut part = [0; 3000];
            let most = self.rng.random_range(1..part.len());
            let read = tokio::time::timeout(Duration::from_secs(20), self.stream.read(&mut part[..most]));
            let n = read.await.expect("bytes in time").expect("a stream");
            assert!(n > 0, "the server closed after {} publications", self.seen);
            self.unread.extend_from_slice(&part[..n]);
        }
    }

    fn messages(&self, payload: &[u8]) -> Vec<Message> {
        match self.codec {
            Codec::Json => payload
                .split(|b| *b == b'\n')
                .map(|line| Message::of_json(&serde_json::from_slice(line).expect("a whole message")))
                .collect(),
            Codec::Protobuf => {
                use prost::Message as _;
                let (mut rest, mut messages) = (payload, Vec::new());
                while !rest.is_empty() {
                    let reply = Reply::decode_length_delimited(&mut rest).expect("a whole message");
                    messages.push(Message::of_protobuf(reply));
                }
                messages
            }
        }
    }

    /// Reads all publications, with pings and pauses in between.
    async fn watch(mut self) {
        while self.seen < PUBLICATIONS || self.pongs < self.pings {
            match self.rng.random_range(0..20) {
                0..4 if self.seen < PUBLICATIONS => {
                    let payload = self.pings.to_be_bytes();
                    self.pings += 1;
                    self.stream.write_all(&frame(0x89, &payload)).await.expect("sent");
                }
                // Long enough for the next bursts to fill the receive buffer.
                4 => tokio::time::sleep(Duration::from_millis(self.rng.random_range(1..60))).await,
                _ => {}
            }
            let (first, payload) = self.next().await;
            match first {
                0x8A => {
                    assert_eq!(payload, self.pongs.to_be_bytes(), "pongs are out of order");
                    self.pongs += 1;
                }
                0x81 | 0x82 => self.take(&payload).await,
                other => panic!(
                    "a frame that begins with {other:#x} after {} publications: {:?}",
                    self.seen,
                    String::from_utf8_lossy(&payload)
                ),
            }
        }
    }

    async fn take(&mut self, payload: &[u8]) {
        for message in self.messages(payload) {
            match message {
                Message::Ping => {
                    let pong = match self.codec {
                        Codec::Json => frame(0x81, b"{}"),
                        Codec::Protobuf => frame(0x82, &[0]),
                    };
                    self.stream.write_all(&pong).await.expect("sent");
                }
                Message::Publication(offset, data) => {
                    self.seen += 1;
                    assert_eq!(offset, self.seen, "a publication is missing, repeated or out of order");
                    let expected: Value = serde_json::from_str(&body(offset)).expect("JSON");
                    assert_eq!(data, expected);
                }
                Message::Reply(_) | Message::Other => {}
            }
        }
    }
}

fn begin_in_protobuf(token: String, channel: &str) -> Vec<u8> {
    use prost::Message as _;
    let connect = Command {
        id: 1,
        connect: Some(ConnectRequest {
            token,
            ..ConnectRequest::default()
        }),
        ..Command::default()
    };
    let subscribe = Command {
        id: 2,
        subscribe: Some(SubscribeRequest {
            channel: channel.into(),
            ..SubscribeRequest::default()
        }),
        ..Command::default()
    };
    [connect, subscribe]
        .map(|command| command.encode_length_delimited_to_vec())
        .concat()
}

/// The kinds of message that a watcher distinguishes.
enum Message {
    Ping,
    Reply(u32),
    Publication(u64, Value),
    Other,
}

impl Message {
    fn of_json(message: &Value) -> Self {
        if *message == json!({}) {
            return Self::Ping;
        }
        if let Some(id) = message["id"].as_u64() {
            return Self::Reply(u32::try_from(id).expect("ours"));
        }
        let publication = &message["push"]["pub"];
        match publication["offset"].as_u64() {
            Some(offset) => Self::Publication(offset, publication["data"].clone()),
            None => Self::Other,
        }
    }

    fn of_protobuf(reply: Reply) -> Self {
        match reply.answer {
            None if reply.id == 0 => Self::Ping,
            Some(Answer::Push(push)) => match push.event {
                Some(Event::Publication(publication)) => {
                    let data = serde_json::from_slice(&publication.data).expect("JSON");
                    Self::Publication(publication.offset, data)
                }
                _ => Self::Other,
            },
            _ => Self::Reply(reply.id),
        }
    }
}

/// The publication at an offset: from a few bytes to about 3,000.
fn body(offset: u64) -> String {
    let long = usize::try_from(offset * offset * 37 % 3000).expect("it fits");
    json!({"n": offset, "filling": "x".repeat(long)}).to_string()
}

/// Takes one whole frame off the front.
fn cut(unread: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (head, length) = match *unread.get(1)? {
        126 => (4, u16::from_be_bytes(unread.get(2..4)?.try_into().ok()?).into()),
        127 => (
            10,
            usize::try_from(u64::from_be_bytes(unread.get(2..10)?.try_into().ok()?)).ok()?,
        ),
        short => (2, usize::from(short)),
    };
    if unread.len() < head + length {
        return None;
    }
    let payload = unread[head..head + length].to_vec();
    let first = unread[0];
    unread.drain(..head + length);
    Some((first, payload))
}

async fn run(server: &Conformance, seed: u64) {
    let channel = format!("room-{seed}");
    let mut watchers = JoinSet::new();
    for n in 0..WATCHERS {
        let codec = [Codec::Json, Codec::Protobuf][n % 2];
        let watcher = Watcher::open(server.address, codec, &channel, seed * 1000 + n as u64).await;
        watchers.spawn(watcher.watch());
    }
    let mut publisher = server.socket("publisher").await;
    for burst in 0..BURSTS {
        for n in 1..=10 {
            let data: Value = serde_json::from_str(&body(burst * 10 + n)).expect("JSON");
            publisher
                .send("publish", json!({"channel": channel, "data": data}))
                .await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while let Some(done) = watchers.join_next().await {
        if let Err(panic) = done {
            panic!("run {seed}: {panic}");
        }
    }
}

#[tokio::test]
async fn every_watcher_reads_each_publication_once_and_in_order() {
    let server = Conformance::start().await;
    for seed in 0..RUNS {
        run(&server, seed).await;
    }
    server.stop().await;
}
