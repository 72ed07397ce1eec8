//! A socket that speaks the client protocol in Protobuf, with length-delimited messages.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use liveplan_hub::protocol::{
    Answer, Command, ConnectRequest, ConnectResult, Event, Publication, Push, Reply, SubscribeRequest,
};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::socket::WITHIN;

pub struct BinarySocket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    waiting: VecDeque<Reply>,
    next_id: u32,
    /// The subprotocol that the server chose.
    pub subprotocol: Option<String>,
}

impl BinarySocket {
    /// Opens a socket that offers a subprotocol.
    pub async fn open(address: SocketAddr, query: &str, subprotocol: Option<&'static str>) -> Self {
        let url = format!("ws://{address}/connection/websocket{query}");
        let mut request = url.into_client_request().expect("a request");
        if let Some(offer) = subprotocol {
            let offer = offer.parse().expect("a header");
            request.headers_mut().insert("Sec-WebSocket-Protocol", offer);
        }
        let (stream, response) = tokio_tungstenite::connect_async(request).await.expect("an upgrade");
        let agreed = response.headers().get("Sec-WebSocket-Protocol");
        Self {
            stream,
            waiting: VecDeque::new(),
            next_id: 1,
            subprotocol: agreed.map(|s| s.to_str().expect("text").to_owned()),
        }
    }

    /// Opens a socket and connects with a token.
    pub async fn connected(address: SocketAddr, token: &str) -> Self {
        let mut socket = Self::open(address, "", Some("centrifuge-protobuf")).await;
        socket.connect(token).await;
        socket
    }

    /// Connects with a token.
    pub async fn connect(&mut self, token: &str) -> ConnectResult {
        let connect = ConnectRequest {
            token: token.to_owned(),
            ..ConnectRequest::default()
        };
        let command = Command {
            connect: Some(connect),
            ..Command::default()
        };
        match self.call(command).await {
            Answer::Connect(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.stream.send(Message::binary(bytes)).await.expect("sent");
    }

    /// Sends a command and waits for its answer; pushes that arrive meanwhile are kept.
    pub async fn call(&mut self, mut command: Command) -> Answer {
        command.id = self.next_id;
        self.next_id += 1;
        self.send_bytes(command.encode_length_delimited_to_vec()).await;
        let mut kept = VecDeque::new();
        loop {
            let reply = self.next().await.expect("a reply");
            if reply.id == command.id {
                kept.append(&mut self.waiting);
                self.waiting = kept;
                return reply.answer.expect("an answer");
            }
            kept.push_back(reply);
        }
    }

    pub async fn subscribe(&mut self, channel: &str) -> Answer {
        let subscribe = SubscribeRequest {
            channel: channel.to_owned(),
            ..SubscribeRequest::default()
        };
        self.call(Command {
            subscribe: Some(subscribe),
            ..Command::default()
        })
        .await
    }

    /// The next message, or the close code as `Err`. Pings are answered.
    pub async fn next(&mut self) -> Result<Reply, u16> {
        loop {
            if let Some(reply) = self.waiting.pop_front() {
                return Ok(reply);
            }
            let frame = tokio::time::timeout(WITHIN, self.stream.next())
                .await
                .expect("a frame in time");
            match frame {
                Some(Ok(Message::Binary(mut bytes))) => {
                    while !bytes.is_empty() {
                        let reply = Reply::decode_length_delimited(&mut bytes).expect("a reply");
                        if reply == Reply::default() {
                            self.send_bytes(vec![0]).await;
                        } else {
                            self.waiting.push_back(reply);
                        }
                    }
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.expect("a close with a code").code.into()),
                Some(Ok(Message::Text(text))) => panic!("a text frame: {text}"),
                Some(Ok(_)) => {}
                other => panic!("the socket ended without a close frame: {other:?}"),
            }
        }
    }

    /// The next push of a channel.
    pub async fn push(&mut self, channel: &str) -> Event {
        loop {
            let reply = self.next().await.expect("a push");
            if let Some(Answer::Push(Push { channel: of, event })) = reply.answer
                && of == channel
            {
                return event.expect("an event");
            }
        }
    }

    /// The next publication of a channel: offset and payload.
    pub async fn publication(&mut self, channel: &str) -> (u64, Bytes) {
        loop {
            if let Event::Publication(Publication { data, offset }) = self.push(channel).await {
                return (offset, data);
            }
        }
    }
}
