//! A socket's TCP stream after the handshake. The HTTP server has handed it over and freed its own buffers. Input is
//! read here; output is written by the outbox, which owns the stream.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use crate::ws::outbox::Outbox;

/// Bytes per read.
const READ: usize = 16 * 1024;

thread_local! {
    /// One read buffer per worker thread, shared by its sockets, so that an idle socket holds no buffer.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// The bytes that a client sends.
pub struct Incoming {
    /// Bytes that were read together with the handshake.
    first: Bytes,
    outbox: Arc<Outbox>,
}

impl Incoming {
    /// Creates the input of an outbox's stream; `first` are bytes that were already read from it.
    #[must_use]
    pub const fn new(outbox: Arc<Outbox>, first: Bytes) -> Self {
        Self { first, outbox }
    }

    /// Reads and discards everything until the end of the stream.
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
