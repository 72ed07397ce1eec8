//! A proxy in front of Postgres that replaces the text of errors, as a server with another `lc_messages` would.

use std::net::SocketAddr;

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinHandle;

use super::proxy::{socket_of, url_at};

/// Forwards connections to a test's Postgres. Error codes pass unchanged; the text of errors and notices is replaced.
pub struct Foreign {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Foreign {
    pub async fn before_postgres(database: &str) -> Self {
        let socket = socket_of(database);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = UnixStream::connect(&socket).await else {
                    continue;
                };
                tokio::spawn(async move {
                    let (mut from_client, to_client) = client.into_split();
                    let (from_server, mut to_server) = server.into_split();
                    tokio::select! {
                        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                        _ = translate(from_server, to_client) => {}
                    }
                });
            }
        });
        Self { address, task }
    }

    /// The URL of the same database through the proxy.
    pub fn url(&self, database: &str) -> String {
        url_at(self.address, database)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards the server's messages: a type byte, a length that includes itself, and a body.
async fn translate(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let (mut read, mut said) = (BytesMut::new(), BytesMut::new());
    while from.read_buf(&mut read).await? > 0 {
        while read.len() >= 5 {
            let whole = 1 + u32::from_be_bytes([read[1], read[2], read[3], read[4]]) as usize;
            if read.len() < whole {
                break;
            }
            let message = read.split_to(whole);
            match message[0] {
                b'E' | b'N' => said.extend_from_slice(&in_other_words(&message)),
                _ => said.extend_from_slice(&message),
            }
        }
        to.write_all(&said).await?;
        said.clear();
    }
    Ok(())
}

/// The same error or notice with the fields that depend on `lc_messages` replaced: severity, message, detail, hint and
/// context.
fn in_other_words(message: &[u8]) -> BytesMut {
    let mut fields = &message[5..];
    let mut body = BytesMut::new();
    while let [kind, rest @ ..] = fields {
        body.put_u8(*kind);
        if *kind == 0 {
            break;
        }
        let end = rest.iter().position(|byte| *byte == 0).expect("a field ends");
        let text = match kind {
            b'S' => "GRAVE".as_bytes(),
            b'M' | b'D' | b'H' | b'W' => "algo ha ido mal".as_bytes(),
            _ => &rest[..end],
        };
        body.put_slice(text);
        body.put_u8(0);
        fields = rest;
        fields.advance(end + 1);
    }
    let mut said = BytesMut::new();
    said.put_u8(message[0]);
    said.put_u32(u32::try_from(body.len() + 4).expect("a short message"));
    said.put_slice(&body);
    said
}
