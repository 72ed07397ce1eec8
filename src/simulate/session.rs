//! A signed-in device: REST with its token, and one socket that speaks the client protocol in JSON.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::Options;

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(15);
/// A token is replaced this long before it runs out.
const FRESH_FOR: u64 = 120;

/// A device.
pub struct Session {
    http: reqwest::Client,
    base: String,
    access: String,
    refresh: String,
    renew_at: Instant,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u32,
    /// Publications that came while an answer was waited for.
    seen: u64,
}

impl Session {
    /// Signs in and connects.
    pub async fn open(options: &Options, email: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(WITHIN).build()?;
        let base = options.url.trim_end_matches('/').to_owned();
        let body = json!({"email": email, "password": options.password});
        let answer = http.post(format!("{base}/api/v1/auth/login")).json(&body).send().await;
        let answer = answer.with_context(|| format!("nothing answers at {base}; does `liveplan demo` run there?"))?;
        let status = answer.status();
        let tokens: Value = answer.json().await?;
        if !status.is_success() {
            bail!(
                "signing in was refused: {}",
                tokens["detail"].as_str().unwrap_or(status.as_str())
            );
        }
        let socket = format!("{}/connection/websocket", base.replacen("http", "ws", 1));
        let (socket, _) = tokio_tungstenite::connect_async(socket).await?;
        let mut session = Self {
            http,
            base,
            access: String::new(),
            refresh: String::new(),
            renew_at: Instant::now(),
            socket,
            next_id: 1,
            seen: 0,
        };
        session.keep(&tokens)?;
        let token = session.access.clone();
        let reply = session
            .call("connect", &json!({"token": token, "name": "simulate"}))
            .await?;
        if !reply["error"].is_null() {
            bail!("connecting was refused: {}", reply["error"]);
        }
        Ok(session)
    }

    fn keep(&mut self, tokens: &Value) -> anyhow::Result<()> {
        let field = |name: &str| tokens[name].as_str().map(str::to_owned).context("no tokens");
        self.access = field("access_token")?;
        self.refresh = field("refresh_token")?;
        let life = tokens["expires_in"].as_u64().context("no expires_in")?;
        self.renew_at = Instant::now() + Duration::from_secs(life.saturating_sub(FRESH_FOR.min(life / 2)));
        Ok(())
    }

    /// Replaces a token that is about to run out, for requests and for the socket.
    pub async fn keep_fresh(&mut self) -> anyhow::Result<()> {
        if Instant::now() < self.renew_at {
            return Ok(());
        }
        let body = json!({"refresh_token": self.refresh});
        let answer = self
            .http
            .post(format!("{}/api/v1/auth/refresh", self.base))
            .json(&body)
            .send()
            .await?;
        self.keep(&answer.error_for_status()?.json().await?)?;
        let token = self.access.clone();
        self.call("refresh", &json!({"token": token})).await?;
        Ok(())
    }

    /// Reads a resource.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self
            .send(Method::GET, path, None)
            .await?
            .error_for_status()?
            .json()
            .await?)
    }

    /// Posts; whether it was accepted.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<bool> {
        Ok(self.send(Method::POST, path, Some(body)).await?.status().is_success())
    }

    /// Deletes; whether it was accepted.
    pub async fn delete(&self, path: &str) -> anyhow::Result<bool> {
        Ok(self.send(Method::DELETE, path, None).await?.status().is_success())
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<reqwest::Response> {
        let mut request = self
            .http
            .request(method, format!("{}/api/v1{path}", self.base))
            .bearer_auth(&self.access);
        if let Some(body) = body {
            request = request.json(body);
        }
        Ok(request.send().await?)
    }

    /// Calls a command over the socket; whether it was accepted.
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
                .context("no answer in time")?;
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

    /// Reads what comes until then; returns how many publications have come since it was asked last.
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

    /// The messages of a frame; pings are answered.
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

    /// Ends the socket in order.
    pub async fn close(mut self) -> anyhow::Result<()> {
        Ok(self.socket.close(None).await?)
    }
}
