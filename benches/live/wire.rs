//! A socket of the client protocol in JSON.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::stage::Person;

pub struct Socket {
    pub stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects; the reply carries the person's own channel with its snapshot.
    pub async fn connect(address: &str, person: &Person) -> Self {
        let (socket, reply) = Self::connected(address, person).await;
        assert!(reply["connect"]["subs"].is_object(), "{reply}");
        socket
    }

    /// Connects somebody who has no channel of their own.
    pub async fn open(address: &str, person: &Person) -> Self {
        let (socket, reply) = Self::connected(address, person).await;
        assert!(reply["connect"].is_object(), "{reply}");
        socket
    }

    async fn connected(address: &str, person: &Person) -> (Self, Value) {
        let (stream, _) = tokio_tungstenite::connect_async(format!("ws://{address}/connection/websocket"))
            .await
            .expect("an upgrade");
        let mut socket = Self { stream };
        socket.send(&json!({"id": 1, "connect": {"token": person.token}})).await;
        let reply = socket.next().await.remove(0);
        (socket, reply)
    }

    pub async fn send(&mut self, message: &Value) {
        self.stream
            .send(Message::text(message.to_string()))
            .await
            .expect("sent");
    }

    /// The messages of the next frame; pings are answered.
    pub async fn next(&mut self) -> Vec<Value> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) if text.as_str() == "{}" => {
                    self.stream.send(Message::text("{}")).await.expect("pong");
                }
                Some(Ok(Message::Text(text))) => {
                    return text
                        .split('\n')
                        .map(|line| serde_json::from_str(line).expect("JSON"))
                        .collect();
                }
                other => panic!("the socket ended: {other:?}"),
            }
        }
    }
}
