//! A signed-in device with one socket, which speaks the client protocol in JSON.

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::device::{Device, WITHIN};

/// A device with a socket.
pub struct Session {
    /// For REST requests.
    pub device: Device,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u32,
    /// Publications that arrived while a reply was awaited.
    seen: u64,
}

impl Session {
    /// Signs in and connects. `name` tells the server the kind of client.
    ///
    /// # Errors
    /// No server answers, or it refuses the sign-in or the connection.
    pub async fn open(url: &str, email: &str, password: &str, name: &str) -> anyhow::Result<Self> {
        let base = url.trim_end_matches('/');
        let device = Device::sign_in(base, email, password).await?;
        let socket = format!("{}/connection/websocket", base.replacen("http", "ws", 1));
        let (socket, _) = tokio_tungstenite::connect_async(socket).await?;
        let mut session = Self {
            device,
            socket,
            next_id: 1,
            seen: 0,
        };
        let token = session.device.token().to_owned();
        let reply = session.call("connect", &json!({"token": token, "name": name})).await?;
        if !reply["error"].is_null() {
            bail!("connecting was refused: {}", reply["error"]);
        }
        Ok(session)
    }

    /// Refreshes the token if it expires soon, for requests and for the socket.
    ///
    /// # Errors
    /// The server refuses, or the socket is lost.
    pub async fn keep_fresh(&mut self) -> anyhow::Result<()> {
        if self.device.keep_fresh().await? {
            let token = self.device.token().to_owned();
            self.call("refresh", &json!({"token": token})).await?;
        }
        Ok(())
    }

    /// Sends a command over the socket, and returns whether the server accepted it.
    ///
    /// # Errors
    /// The server does not answer, or the socket is lost.
    pub async fn rpc(&mut self, method: &str, data: &Value) -> anyhow::Result<bool> {
        let reply = self.call("rpc", &json!({"method": method, "data": data})).await?;
        Ok(reply["error"].is_null())
    }

    async fn call(&mut self, method: &str, body: &Value) -> anyhow::Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        self.socket
            .send(Message::text(json!({"id": id, method: body}).to_string()))
            .await?;
        let deadline = Instant::now() + WITHIN;
        loop {
            let frame = tokio::time::timeout_at(deadline, self.socket.next())
                .await
                .context("no reply in time")?;
            let messages = self.messages(frame).await?;
            let mut reply = None;
            for message in messages {
                if message["id"] == id {
                    reply = Some(message);
                } else {
                    self.seen += u64::from(message["push"]["pub"].is_object());
                }
            }
            if let Some(reply) = reply {
                return Ok(reply);
            }
        }
    }

    /// Reads until the given time, and returns how many publications have arrived since the previous call.
    ///
    /// # Errors
    /// The socket is lost.
    pub async fn read_until(&mut self, until: Instant) -> anyhow::Result<u64> {
        while let Ok(frame) = tokio::time::timeout_at(until, self.socket.next()).await {
            let messages = self.messages(frame).await?;
            self.seen += messages
                .iter()
                .map(|m| u64::from(m["push"]["pub"].is_object()))
                .sum::<u64>();
        }
        Ok(std::mem::take(&mut self.seen))
    }

    /// The messages of a frame; answers pings.
    async fn messages(
        &mut self,
        frame: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> anyhow::Result<Vec<Value>> {
        let text = match frame {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(Some(close)))) => bail!("closed: {} {}", u16::from(close.code), close.reason),
            Some(Ok(_)) => return Ok(Vec::new()),
            Some(Err(error)) => return Err(error.into()),
            None => bail!("the socket ended"),
        };
        let mut messages = Vec::new();
        for line in text.split('\n') {
            let message: Value = serde_json::from_str(line)?;
            if message == json!({}) {
                self.socket.send(Message::text("{}")).await?;
            } else {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    /// Closes the socket with a close frame.
    ///
    /// # Errors
    /// The socket was already lost.
    pub async fn close(mut self) -> anyhow::Result<()> {
        Ok(self.socket.close(None).await?)
    }
}
