//! Opening a socket: the handshake, `connect` with a token, `subscribe`. From then on it is read by the
//! [`super::swarm`], which gets what came too early.

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

/// How long a handshake and its answers may take.
const WITHIN: Duration = Duration::from_secs(15);
/// How long a server that is busy is asked again.
const PATIENCE: Duration = Duration::from_mins(1);

/// The error that asks to come back: the server has no room to read now.
const BUSY: u64 = 111;

/// Where sockets are opened, and how they speak.
#[derive(Clone, Debug)]
pub struct Door {
    /// Host and port.
    pub address: String,
    /// The codec.
    pub codec: Codec,
}

/// A place in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Its name.
    pub channel: String,
    /// Of which log; empty for any.
    pub epoch: String,
    /// The number of the last publication.
    pub offset: u64,
}

/// What the server said to a subscription.
#[derive(Clone, Debug, Default)]
pub struct Joined {
    /// Where it begins: what is replayed comes after it.
    pub position: Position,
    /// Whether what was asked for was replayed.
    pub recovered: bool,
    /// The offsets that were replayed.
    pub replayed: Vec<u64>,
}

/// A socket that is connected and subscribed.
pub struct Opened {
    pub(super) stream: std::net::TcpStream,
    pub(super) codec: Codec,
    /// Bytes that came and are still to be looked at.
    pub(super) rest: Vec<u8>,
    /// Its subscriptions.
    pub joined: Vec<Joined>,
}

/// Why a socket was not opened.
#[derive(Debug)]
enum Refusal {
    /// The server asks to come back.
    Busy,
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Door {
    /// Opens a socket with these channels; where a position has an offset, what came after it is asked for. A server that
    /// is busy is asked again for a minute, with pauses that differ.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn open(&self, token: &str, channels: &[Position]) -> anyhow::Result<Opened> {
        let until = Instant::now() + PATIENCE;
        loop {
            let attempt = tokio::time::timeout(WITHIN, self.attempt(token, channels)).await;
            match attempt.context("the server does not answer a socket in time")? {
                Ok(opened) => return Ok(opened),
                Err(Refusal::Failed(error)) => return Err(error),
                Err(Refusal::Busy) if Instant::now() >= until => {
                    bail!("the server is busy and lets no more sockets in")
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
                    return Err(anyhow::anyhow!("the server ended the socket").into());
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

    /// `connect` and every `subscribe`, as the JavaScript SDK sends them.
    fn first_frame(&self, token: &str, channels: &[Position]) -> Vec<u8> {
        let payload = match self.codec {
            Codec::Json => json_commands(token, channels),
            Codec::Protobuf => binary_commands(token, channels),
        };
        stream::masked(self.codec, &payload)
    }

    /// Reads the answers of a frame; how many there are.
    fn answers(&self, payload: &[u8], asked: &[Position], joined: &mut Vec<Joined>) -> Result<usize, Refusal> {
        let answers = answers::of(self.codec, payload)?;
        let count = answers.len();
        for (id, answer) in answers {
            match answer {
                Answer::Connect(subs) => joined.extend(subs.into_iter().map(|(channel, s)| s.joined(channel))),
                Answer::Subscribe(subscribed) => {
                    let channel = usize::try_from(id).ok().and_then(|id| asked.get(id.checked_sub(2)?));
                    let channel = channel.context("an answer to nothing that was asked")?.channel.clone();
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

/// Whether a frame holds what is not an answer.
fn holds_more(codec: Codec, payload: &[u8]) -> Result<bool, Refusal> {
    let mut more = false;
    stream::messages(codec, payload, |message| {
        more |= !matches!(message, Message::Reply { .. });
    })
    .map_err(garbled)?;
    Ok(more)
}

fn garbled(_: Garbled) -> Refusal {
    Refusal::Failed(anyhow::anyhow!("the server sent what is not the protocol"))
}

/// Asks for a WebSocket and returns what came after the answer's head.
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
            return Err(anyhow::anyhow!("the server ended the handshake").into());
        }
    };
    let status = bytes.get(9..12).unwrap_or_default();
    match status {
        b"101" => Ok(bytes.split_off(head)),
        b"503" | b"429" => Err(Refusal::Busy),
        other => Err(anyhow::anyhow!("the handshake was refused with {}", String::from_utf8_lossy(other)).into()),
    }
}

/// Opens a WebSocket of another protocol: only the handshake.
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
