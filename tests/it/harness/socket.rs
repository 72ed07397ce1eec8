//! A socket that speaks the client protocol directly, to show what an SDK would hide: frame order, codes, half-open
//! states.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// The longest wait for a frame.
pub const WITHIN: Duration = Duration::from_secs(10);

pub struct Socket {
    pub stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    waiting: VecDeque<Value>,
    next_id: u32,
    /// The connect reply.
    pub connected: Value,
}

impl Socket {
    pub async fn open(address: SocketAddr) -> Self {
        Self::try_open(address).await.expect("an upgrade")
    }

    /// Opens a socket, or returns the HTTP status and the `Retry-After` seconds of the refusal.
    pub async fn try_open(address: SocketAddr) -> Result<Self, (u16, u64)> {
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self::over(stream, address).await
    }

    /// Opens a socket with a small receive buffer.
    pub async fn narrow(address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(2048).expect("a small buffer");
        let stream = socket.connect(address).await.expect("a connection");
        Self::over(stream, address).await.expect("an upgrade")
    }

    async fn over(stream: TcpStream, address: SocketAddr) -> Result<Self, (u16, u64)> {
        match Self::upgraded(stream, address).await {
            Ok(socket) => Ok(socket),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                let wait = answer
                    .headers()
                    .get("retry-after")
                    .and_then(|v| v.to_str().ok()?.parse().ok());
                Err((answer.status().as_u16(), wait.unwrap_or_default()))
            }
            Err(error) => panic!("no upgrade: {error}"),
        }
    }

    /// Performs the WebSocket handshake over a connection.
    pub async fn upgraded(
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let url = format!("ws://{address}/connection/websocket");
        let (stream, _) = tokio_tungstenite::client_async(url, MaybeTlsStream::Plain(stream)).await?;
        Ok(Self {
            stream,
            waiting: VecDeque::new(),
            next_id: 1,
            connected: Value::Null,
        })
    }

    /// Takes the next command's id.
    pub fn take_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Sends a command and returns its id.
    pub async fn send(&mut self, method: &str, body: Value) -> u32 {
        let id = self.take_id();
        self.send_text(&json!({"id": id, method: body}).to_string()).await;
        id
    }

    pub async fn send_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.expect("sent");
    }

    /// Sends a command and waits for its reply; pushes that arrive meanwhile are kept.
    pub async fn call(&mut self, method: &str, body: Value) -> Value {
        let id = self.send(method, body).await;
        let mut kept = VecDeque::new();
        loop {
            let message = self.next().await.expect("a reply");
            if message["id"] == id {
                kept.append(&mut self.waiting);
                self.waiting = kept;
                return message;
            }
            kept.push_back(message);
        }
    }

    pub async fn connect(&mut self, token: &str) -> Value {
        self.connected = self.call("connect", json!({"token": token})).await;
        self.connected.clone()
    }

    pub async fn subscribe(&mut self, channel: &str) -> Value {
        self.call("subscribe", json!({"channel": channel})).await
    }

    /// The next reply or push, or the close code as `Err`.
    pub async fn next(&mut self) -> Result<Value, u16> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Ok(message);
            }
            let frame = tokio::time::timeout(WITHIN, self.stream.next())
                .await
                .expect("a frame in time");
            match frame {
                Some(Ok(Message::Text(text))) => {
                    for line in text.split('\n') {
                        let message: Value = serde_json::from_str(line).expect("JSON");
                        if message == json!({}) {
                            self.stream.send(Message::text("{}")).await.expect("pong");
                        } else {
                            self.waiting.push_back(message);
                        }
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.expect("a close with code and reason");
                    assert!(!frame.reason.is_empty(), "the close frame has no reason");
                    return Err(frame.code.into());
                }
                Some(Ok(_)) => {}
                other => panic!("the socket ended without a close frame: {other:?}"),
            }
        }
    }

    /// The next frame other than a ping, as text.
    pub async fn next_line(&mut self) -> String {
        assert!(self.waiting.is_empty(), "an earlier message was not read");
        loop {
            let frame = tokio::time::timeout(WITHIN, self.stream.next())
                .await
                .expect("a frame in time");
            let Some(Ok(Message::Text(text))) = frame else { continue };
            if text.as_str() != "{}" {
                return text.to_string();
            }
        }
    }

    /// The next publication of a channel: offset and event.
    pub async fn publication(&mut self, channel: &str) -> (u64, Value) {
        loop {
            let message = self.next().await.expect("a publication");
            let push = &message["push"];
            if push["channel"] == channel && push.get("pub").is_some() {
                return (push["pub"]["offset"].as_u64().unwrap_or(0), push["pub"]["data"].clone());
            }
        }
    }

    /// The code of the next unsubscribe push of a channel.
    pub async fn unsubscribed(&mut self, channel: &str) -> u64 {
        loop {
            let message = self.next().await.expect("an unsubscribe push");
            let push = &message["push"];
            if push["channel"] == channel && push.get("unsubscribe").is_some() {
                return push["unsubscribe"]["code"].as_u64().expect("a code");
            }
        }
    }

    /// Waits for the close and returns its code.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }
}
