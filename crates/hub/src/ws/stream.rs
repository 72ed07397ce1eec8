//! A socket's own stream, after the handshake: its bytes come in here, and go out through the outbox, which holds it. The HTTP
//! server has let go of it, with its buffers.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use crate::ws::outbox::Outbox;

/// Bytes that are read at once.
const READ: usize = 16 * 1024;

thread_local! {
    /// Shared by all sockets of a worker, so that one which says nothing holds no buffer.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// The bytes that a client sends.
pub struct Incoming {
    /// What came together with the handshake.
    first: Bytes,
    outbox: Arc<Outbox>,
}

impl Incoming {
    /// What comes on an outbox's stream, of which the first bytes may already have been read.
    #[must_use]
    pub const fn new(outbox: Arc<Outbox>, first: Bytes) -> Self {
        Self { first, outbox }
    }

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
            Poll::Ready(match ready!(self.outbox.poll_read(cx, buffer)) {
                Ok(0) => None,
                Ok(read) => Some(Ok(Bytes::copy_from_slice(&buffer[..read]))),
                Err(error) => Some(Err(error)),
            })
        })
    }
}
