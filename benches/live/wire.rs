//! A socket that speaks the client protocol in JSON.

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
    /// Connects. For a member, the server subscribes to the member's own channel.
    pub async fn connect(address: &str, person: &Person) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self::over(stream, address, person).await
    }

    /// Connects with a small receive buffer, so that unread data soon blocks the sender.
    pub async fn narrow(address: &str, person: &Person) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let stream = socket.connect(address.parse().expect("an address")).await;
        Self::over(stream.expect("a connection"), address, person).await
    }

    async fn over(stream: TcpStream, address: &str, person: &Person) -> Self {
        stream.set_nodelay(true).expect("no delay");
        let url = format!("ws://{address}/connection/websocket");
        let (stream, _) = tokio_tungstenite::client_async(url, MaybeTlsStream::Plain(stream))
            .await
            .expect("an upgrade");
        let mut socket = Self { stream };
        socket.send(&json!({"id": 1, "connect": {"token": person.token}})).await;
        let reply = socket.next().await.remove(0);
        assert!(reply["connect"].is_object(), "{reply}");
        socket
    }

    pub async fn send(&mut self, message: &Value) {
        self.stream
            .send(Message::text(message.to_string()))
            .await
            .expect("sent");
    }

    /// The messages of the next frame; answers pings.
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
