//! A socket's own stream, after the handshake: its bytes come in here, and its handle for writing goes to the outbox. The HTTP
//! server has let go of it, with its buffers.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::rt::net::TcpStream;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes that are read at once.
const READ: usize = 16 * 1024;

thread_local! {
    /// Shared by all sockets of a worker, so that one which says nothing holds no buffer.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Where the outbox writes. The stream says that nothing more comes when the last handle is dropped.
pub type Outgoing = Arc<OwnedWriteHalf>;

/// The bytes that a client sends.
pub struct Incoming {
    /// What came together with the handshake.
    first: Bytes,
    stream: OwnedReadHalf,
}

/// Parts a stream whose first bytes may already have been read.
#[must_use]
pub fn part(stream: TcpStream, first: Bytes) -> (Incoming, Outgoing) {
    let (stream, outgoing) = stream.into_split();
    (Incoming { first, stream }, Arc::new(outgoing))
}

impl Incoming {
    /// Reads to the end, and throws away what comes.
    pub async fn drain(&mut self) {
        while let Some(Ok(_)) = self.next().await {}
    }
}

impl Stream for Incoming {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let first = std::mem::take(&mut self.first);
        if !first.is_empty() {
            return Poll::Ready(Some(Ok(first)));
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            Poll::Ready(match read {
                Ok(()) if buffer.filled().is_empty() => None,
                Ok(()) => Some(Ok(Bytes::copy_from_slice(buffer.filled()))),
                Err(error) => Some(Err(error)),
            })
        })
    }
}
