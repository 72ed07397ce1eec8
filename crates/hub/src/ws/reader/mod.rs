//! Decodes WebSocket messages from a client's byte stream (RFC 6455 §5). A frame is checked by its header before its
//! payload is buffered, so that a client cannot cost memory by declaring a large frame.

mod header;

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};

use crate::protocol::close::Close;
use crate::ws::pace::Pace;
use header::{Header, Kind, Opcode, closing, header, unmask};

/// Largest payload of a control frame (§5.5), in bytes.
const CONTROL_BYTES: u64 = 125;

/// A message from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A complete text message, valid UTF-8.
    Text(Bytes),
    /// A complete binary message.
    Binary(Bytes),
    /// A ping, to be answered with a pong of the same payload.
    Ping(Bytes),
    /// A pong; the server sends no WebSocket pings, so it answers nothing.
    Pong,
    /// A close, with its code if the client gave one.
    Close(Option<u16>),
}

/// What the reader returns next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A message.
    Message(Message),
    /// The client violated the protocol or sends too fast; its further input is discarded.
    Failed(Close),
    /// The end of the stream.
    Ended,
}

/// Reads messages from a stream of bytes.
pub struct Reader<S> {
    stream: S,
    decoder: Decoder,
    pace: Option<Pace>,
}

impl<S: Stream<Item = io::Result<Bytes>> + Unpin> Reader<S> {
    /// Creates a reader of messages of at most `limit` bytes.
    pub fn new(stream: S, limit: usize) -> Self {
        Self {
            stream,
            decoder: Decoder::new(limit),
            pace: None,
        }
    }

    /// Limits the rate of the client's bytes.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self {
            pace: Some(pace),
            ..self
        }
    }

    /// Returns the stream; bytes that the decoder has buffered are lost.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// Returns the next message. Cancel-safe: the future may be dropped and the call repeated.
    pub async fn next(&mut self) -> Next {
        loop {
            match self.decoder.message() {
                Ok(Some(message)) => return Next::Message(message),
                Ok(None) => {}
                Err(close) => return Next::Failed(close),
            }
            match self.stream.next().await {
                Some(Ok(bytes)) => {
                    let listens = !self.decoder.failed;
                    if listens && self.pace.as_mut().is_some_and(|pace| !pace.take(bytes.len())) {
                        self.decoder.fail();
                        return Next::Failed(Close::TooManyRequests);
                    }
                    self.decoder.feed(bytes);
                }
                Some(Err(_)) | None => return Next::Ended,
            }
        }
    }
}

/// A message whose last frame has not arrived yet.
struct Fragments {
    kind: Kind,
    bytes: BytesMut,
    /// For text, the number of bytes known to be valid UTF-8.
    checked: usize,
}

/// Turns bytes into messages.
pub struct Decoder {
    buffer: BytesMut,
    limit: usize,
    fragments: Option<Fragments>,
    failed: bool,
}

impl Decoder {
    /// Creates a decoder of messages of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            limit,
            fragments: None,
            failed: false,
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: Bytes) {
        if self.failed {
            return;
        }
        if self.buffer.is_empty() {
            // No copy if the bytes are not shared.
            self.buffer = BytesMut::from(bytes);
        } else {
            self.buffer.extend_from_slice(&bytes);
        }
    }

    /// Returns the next message once all of its bytes have arrived.
    ///
    /// # Errors
    /// The close code for a client that violated the protocol; further input is discarded.
    pub fn message(&mut self) -> Result<Option<Message>, Close> {
        if self.failed {
            return Ok(None);
        }
        let next = self.decode();
        if next.is_err() {
            self.fail();
        } else if self.buffer.is_empty() {
            // An empty `BytesMut` would keep the allocation that it was split from.
            self.buffer = BytesMut::new();
        }
        next
    }

    /// Discards all input from now on.
    fn fail(&mut self) {
        self.failed = true;
        self.fragments = None;
        self.buffer = BytesMut::new();
    }

    fn decode(&mut self) -> Result<Option<Message>, Close> {
        while let Some(header) = header(&self.buffer)? {
            let length = self.acceptable(&header)?;
            if self.buffer.len() < header.bytes + length {
                self.buffer.reserve(header.bytes + length - self.buffer.len());
                return Ok(None);
            }
            self.buffer.advance(header.bytes);
            let mut payload = self.buffer.split_to(length);
            unmask(&mut payload, header.mask);
            if let Some(message) = self.frame(&header, payload)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Returns the length of a frame's payload, if the frame may come at this place and is not too long.
    fn acceptable(&self, header: &Header) -> Result<usize, Close> {
        let so_far = match (header.opcode, &self.fragments) {
            (Opcode::Continuation, Some(fragments)) => fragments.bytes.len(),
            (Opcode::First(_), None) => 0,
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if header.last && header.payload <= CONTROL_BYTES => 0,
            // A continuation without a start, a start within a message, or a control frame that is too long or
            // fragmented.
            _ => return Err(Close::Protocol),
        };
        let length = usize::try_from(header.payload).map_err(|_| Close::TooBig)?;
        if length > self.limit.saturating_sub(so_far) {
            return Err(Close::TooBig);
        }
        Ok(length)
    }

    /// Takes a frame; returns a message if the frame completes one.
    fn frame(&mut self, header: &Header, payload: BytesMut) -> Result<Option<Message>, Close> {
        match header.opcode {
            Opcode::Ping => Ok(Some(Message::Ping(payload.freeze()))),
            Opcode::Pong => Ok(Some(Message::Pong)),
            Opcode::Close => closing(&payload).map(Some),
            Opcode::First(kind) => self.take(
                Fragments {
                    kind,
                    bytes: payload,
                    checked: 0,
                },
                header.last,
            ),
            Opcode::Continuation => match self.fragments.take() {
                Some(mut fragments) => {
                    fragments.bytes.unsplit(payload);
                    self.take(fragments, header.last)
                }
                None => Err(Close::Protocol),
            },
        }
    }

    fn take(&mut self, mut fragments: Fragments, last: bool) -> Result<Option<Message>, Close> {
        if fragments.kind == Kind::Text {
            fragments.check(last)?;
        }
        if !last {
            self.fragments = Some(fragments);
            return Ok(None);
        }
        let bytes = fragments.bytes.freeze();
        Ok(Some(match fragments.kind {
            Kind::Text => Message::Text(bytes),
            Kind::Binary => Message::Binary(bytes),
        }))
    }
}

impl Fragments {
    /// Checks that the text so far is UTF-8. A character may be split between frames, but not at the end of the
    /// message.
    fn check(&mut self, last: bool) -> Result<(), Close> {
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() && !last => self.checked += error.valid_up_to(),
            Err(_) => return Err(Close::NotUtf8),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
