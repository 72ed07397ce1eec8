//! A WebSocket of raw bytes, for input that a client library would never send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::socket::WITHIN;

pub struct RawSocket(pub TcpStream);

/// Encodes a masked client frame. The first byte holds FIN, the reserved bits and the opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 77, 177, 201];
    let mut out = vec![first];
    match payload.len() {
        n @ 0..126 => out.push(0x80 | u8::try_from(n).expect("short")),
        n @ 126..65536 => {
            out.push(0xFE);
            out.extend_from_slice(&u16::try_from(n).expect("medium").to_be_bytes());
        }
        n => {
            out.push(0xFF);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    out
}

impl RawSocket {
    pub async fn open(address: SocketAddr, path: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a response"));
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(
            head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
            "{head}"
        );
        Self(stream)
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("sent");
    }

    /// The next frame: its first byte and its payload; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let first = self.0.read_u8().await.ok()?;
            let length = match self.0.read_u8().await.ok()? {
                126 => u64::from(self.0.read_u16().await.ok()?),
                127 => self.0.read_u64().await.ok()?,
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).expect("it fits")];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((first, payload))
        };
        tokio::time::timeout(WITHIN, read).await.expect("a frame in time")
    }

    /// Reads a close frame and returns its code.
    pub async fn closed(&mut self) -> u16 {
        let (first, payload) = self.next().await.expect("a close frame");
        assert_eq!(first, 0x88, "{payload:?}");
        assert!(
            payload.len() > 2 && std::str::from_utf8(&payload[2..]).is_ok(),
            "the close frame has no reason"
        );
        u16::from_be_bytes([payload[0], payload[1]])
    }
}

/// A raw HTTP connection.
pub struct RawHttp(pub TcpStream);

/// An HTTP response as it arrived.
pub struct RawAnswer {
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    pub body: String,
}

impl RawAnswer {
    /// Asserts that the answer is a problem with this status and code.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        assert_eq!(
            (self.status, problem["code"].as_str().unwrap_or_default()),
            (status, code),
            "{}{}",
            self.head,
            self.body
        );
    }
}

impl RawHttp {
    pub async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("a connection"))
    }

    /// Sends a request line, these header lines, and `body` after the head.
    pub async fn send(&mut self, request: &str, lines: &[&str], body: &str) {
        let mut text = format!("{request} HTTP/1.1\r\nHost: test\r\n");
        for line in lines {
            text.push_str(line);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        text.push_str(body);
        self.0.write_all(text.as_bytes()).await.expect("sent");
    }

    /// Reads the next answer; its head must have the length of its body.
    pub async fn answer(&mut self) -> RawAnswer {
        let read = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.0.read_u8().await.expect("an answer"));
            }
            let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
            let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().expect("a length"));
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await.expect("a body");
            let body = String::from_utf8(body).expect("text");
            RawAnswer { status, head, body }
        };
        tokio::time::timeout(WITHIN, read).await.expect("an answer in time")
    }

    /// Whether the server closes the connection within `WITHIN`; bytes that it still sends are ignored.
    pub async fn ends(&mut self) -> bool {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(WITHIN, self.0.read_to_end(&mut rest)).await;
        end.is_ok()
    }
}
