//! Opens sockets: WebSocket handshake, `connect` with a token, `subscribe`. The [`super::swarm`] reads them from then
//! on, including bytes that arrived early.

use std::time::Duration;

use anyhow::{Context as _, bail};
use prost::Message as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::answers::{self, Answer};
use super::stream::{self, Frame, Garbled, Message};
use crate::wire::{Codec, Command, ConnectRequest, SubscribeRequest};

/// Timeout of the handshake and its replies.
const WITHIN: Duration = Duration::from_secs(15);
/// How long to retry while the server is busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// The error code with which the server asks the client to retry later.
const BUSY: u64 = 111;

/// The address to open sockets at, and their codec.
#[derive(Clone, Debug)]
pub struct Door {
    /// Host and port.
    pub address: String,
    /// The codec.
    pub codec: Codec,
}

/// A position in a channel's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The channel's name.
    pub channel: String,
    /// The epoch of the log; empty for any.
    pub epoch: String,
    /// The offset of the last publication.
    pub offset: u64,
}

/// The result of a subscription.
#[derive(Clone, Debug, Default)]
pub struct Joined {
    /// The position at which it starts; replayed publications come after it.
    pub position: Position,
    /// Whether the server replayed everything after the requested position.
    pub recovered: bool,
    /// The offsets of the replayed publications.
    pub replayed: Vec<u64>,
}

/// A connected and subscribed socket.
pub struct Opened {
    pub(super) stream: std::net::TcpStream,
    pub(super) codec: Codec,
    /// Bytes that have arrived and are not parsed yet.
    pub(super) rest: Vec<u8>,
    /// Its subscriptions.
    pub joined: Vec<Joined>,
}

/// Why a socket was not opened.
#[derive(Debug)]
enum Refusal {
    /// The server asks the client to retry later.
    Busy,
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Door {
    /// Opens a socket with these subscriptions; a position with an offset asks for recovery from there. While the
    /// server is busy, it retries for a minute, after random pauses.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn open(&self, token: &str, channels: &[Position]) -> anyhow::Result<Opened> {
        let until = Instant::now() + PATIENCE;
        loop {
            let attempt = tokio::time::timeout(WITHIN, self.attempt(token, channels)).await;
            match attempt.context("the server did not complete the handshake in time")? {
                Ok(opened) => return Ok(opened),
                Err(Refusal::Failed(error)) => return Err(error),
                Err(Refusal::Busy) if Instant::now() >= until => {
                    bail!("the server is busy and accepts no more sockets")
                }
                Err(Refusal::Busy) => {
                    tokio::time::sleep(Duration::from_millis(rand::random_range(200..1000))).await;
                }
            }
        }
    }

    async fn attempt(&self, token: &str, channels: &[Position]) -> Result<Opened, Refusal> {
        let mut stream = TcpStream::connect(&self.address)
            .await
            .with_context(|| format!("cannot reach {}", self.address))?;
        stream.set_nodelay(true)?;
        let mut bytes = handshake(&mut stream, &self.address, "/connection/websocket", Some(self.codec)).await?;
        stream.write_all(&self.first_frame(token, channels)).await?;
        let mut rest = Vec::new();
        let mut joined = Vec::new();
        let mut answered = 0;
        while answered <= channels.len() {
            let Some((frame, length)) = stream::frame(&bytes).map_err(garbled)? else {
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Err(anyhow::anyhow!("the server closed the connection").into());
                }
                continue;
            };
            match frame {
                Frame::Data(payload) => {
                    answered += self.answers(payload, channels, &mut joined)?;
                    if holds_more(self.codec, payload)? {
                        rest.extend_from_slice(&bytes[..length]);
                    }
                }
                Frame::Close(code) => {
                    return Err(
                        anyhow::anyhow!("the server closed the socket with {}", code.unwrap_or_default()).into(),
                    );
                }
                Frame::Other => {}
            }
            bytes.drain(..length);
        }
        rest.append(&mut bytes);
        Ok(Opened {
            stream: stream.into_std()?,
            codec: self.codec,
            rest,
            joined,
        })
    }

    /// The frame with `connect` and every `subscribe`, as the JavaScript SDK sends it.
    fn first_frame(&self, token: &str, channels: &[Position]) -> Vec<u8> {
        let payload = match self.codec {
            Codec::Json => json_commands(token, channels),
            Codec::Protobuf => binary_commands(token, channels),
        };
        stream::masked(self.codec, &payload)
    }

    /// Parses the replies in a frame and returns how many there are.
    fn answers(&self, payload: &[u8], asked: &[Position], joined: &mut Vec<Joined>) -> Result<usize, Refusal> {
        let answers = answers::of(self.codec, payload)?;
        let count = answers.len();
        for (id, answer) in answers {
            match answer {
                Answer::Connect(subs) => joined.extend(subs.into_iter().map(|(channel, s)| s.joined(channel))),
                Answer::Subscribe(subscribed) => {
                    let channel = usize::try_from(id).ok().and_then(|id| asked.get(id.checked_sub(2)?));
                    let channel = channel.context("a reply to an unknown command")?.channel.clone();
                    joined.push(subscribed.joined(channel));
                }
                Answer::Refused { code: BUSY, .. } => return Err(Refusal::Busy),
                Answer::Refused { code, message } => {
                    return Err(anyhow::anyhow!("the server refused with {code}: {message}").into());
                }
            }
        }
        Ok(count)
    }
}

fn json_commands(token: &str, channels: &[Position]) -> Vec<u8> {
    let mut lines = vec![json!({"id": 1, "connect": {"token": token, "name": "load"}}).to_string()];
    lines.extend(channels.iter().enumerate().map(|(at, position)| {
        let mut subscribe = json!({"channel": position.channel});
        if position.offset > 0 {
            subscribe["recover"] = true.into();
            subscribe["epoch"] = position.epoch.as_str().into();
            subscribe["offset"] = position.offset.into();
        }
        json!({"id": at + 2, "subscribe": subscribe}).to_string()
    }));
    lines.join("\n").into_bytes()
}

fn binary_commands(token: &str, channels: &[Position]) -> Vec<u8> {
    let connect = ConnectRequest {
        token: token.to_owned(),
        name: "load".into(),
        ..ConnectRequest::default()
    };
    let connect = Command {
        id: 1,
        connect: Some(connect),
        ..Command::default()
    };
    let mut bytes = connect.encode_length_delimited_to_vec();
    for (id, position) in (2..).zip(channels) {
        let subscribe = SubscribeRequest {
            channel: position.channel.clone(),
            recover: position.offset > 0,
            epoch: position.epoch.clone(),
            offset: position.offset,
            ..SubscribeRequest::default()
        };
        let command = Command {
            id,
            subscribe: Some(subscribe),
            ..Command::default()
        };
        bytes.extend(command.encode_length_delimited_to_vec());
    }
    bytes
}

/// Whether a frame contains anything besides replies.
fn holds_more(codec: Codec, payload: &[u8]) -> Result<bool, Refusal> {
    let mut more = false;
    stream::messages(codec, payload, |message| {
        more |= !matches!(message, Message::Reply { .. });
    })
    .map_err(garbled)?;
    Ok(more)
}

fn garbled(_: Garbled) -> Refusal {
    Refusal::Failed(anyhow::anyhow!("the server violated the protocol"))
}

/// Performs the WebSocket handshake and returns the bytes that follow the response head.
async fn handshake(stream: &mut TcpStream, host: &str, path: &str, codec: Option<Codec>) -> Result<Vec<u8>, Refusal> {
    let protocol = codec.map_or_else(String::new, |c| {
        format!("Sec-WebSocket-Protocol: {}\r\n", c.subprotocol())
    });
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: bG9hZCBpcyBub3QgYSBrZQ==\r\n{protocol}\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::with_capacity(1024);
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(anyhow::anyhow!("the server closed the connection during the handshake").into());
        }
    };
    let status = bytes.get(9..12).unwrap_or_default();
    match status {
        b"101" => Ok(bytes.split_off(head)),
        b"503" | b"429" => Err(Refusal::Busy),
        other => Err(anyhow::anyhow!("the handshake was refused with {}", String::from_utf8_lossy(other)).into()),
    }
}

/// Opens a WebSocket of another protocol: performs the handshake only.
///
/// # Errors
/// The server cannot be reached or refuses.
pub async fn bare(address: &str, path: &str) -> anyhow::Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    match handshake(&mut stream, address, path, None).await {
        Ok(rest) => Ok((stream, rest)),
        Err(Refusal::Failed(error)) => Err(error),
        Err(Refusal::Busy) => bail!("the server is busy"),
    }
}
