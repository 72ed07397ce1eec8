//! WebSocket messages from a client's byte stream (RFC 6455 §5). A frame is refused by its header, before its payload is
//! buffered, so that a client which declares a big one costs nothing.

mod header;

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};

use crate::protocol::close::Close;
use crate::ws::pace::Pace;
use header::{Header, Kind, Opcode, closing, header, unmask};

/// Payload bytes of a control frame (§5.5).
const CONTROL_BYTES: u64 = 125;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A whole text message; it is UTF-8.
    Text(Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// To be answered with a pong of the same bytes.
    Ping(Bytes),
    /// An answer to a ping of ours; we send none.
    Pong,
    /// The client closes, with a code where it gave one.
    Close(Option<u16>),
}

/// What a reader comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A message.
    Message(Message),
    /// The client broke the protocol or sends too fast; what else it sends is thrown away.
    Failed(Close),
    /// There is nothing more.
    Ended,
}

/// Reads messages from a stream of bytes.
pub struct Reader<S> {
    stream: S,
    decoder: Decoder,
    pace: Option<Pace>,
}

impl<S: Stream<Item = io::Result<Bytes>> + Unpin> Reader<S> {
    /// A reader of messages of at most `limit` bytes.
    pub fn new(stream: S, limit: usize) -> Self {
        Self {
            stream,
            decoder: Decoder::new(limit),
            pace: None,
        }
    }

    /// The same, of a client that may not send bytes faster than this.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self {
            pace: Some(pace),
            ..self
        }
    }

    /// The stream, of which nothing more is read here.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// The next message. It may be dropped while it waits and called again.
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

/// A message of which more frames are to come.
struct Fragments {
    kind: Kind,
    bytes: BytesMut,
    /// Of a text, how many bytes are known to be UTF-8.
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
    /// A decoder of messages of at most `limit` bytes.
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
            // Without a copy where nobody else holds them.
            self.buffer = BytesMut::from(bytes);
        } else {
            self.buffer.extend_from_slice(&bytes);
        }
    }

    /// The next message, once its bytes are there.
    ///
    /// # Errors
    /// How to close on a client that broke the protocol; after it, everything is thrown away.
    pub fn message(&mut self) -> Result<Option<Message>, Close> {
        if self.failed {
            return Ok(None);
        }
        let next = self.decode();
        if next.is_err() {
            self.fail();
        } else if self.buffer.is_empty() {
            // An empty buffer would keep the memory that it was cut from.
            self.buffer = BytesMut::new();
        }
        next
    }

    /// Nothing more is listened to.
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

    /// The length of a frame's payload, where the frame may come here and is not too long.
    fn acceptable(&self, header: &Header) -> Result<usize, Close> {
        let so_far = match (header.opcode, &self.fragments) {
            (Opcode::Continuation, Some(fragments)) => fragments.bytes.len(),
            (Opcode::First(_), None) => 0,
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if header.last && header.payload <= CONTROL_BYTES => 0,
            // A continuation of nothing, a beginning in the middle, a control frame that is long or in fragments.
            _ => return Err(Close::Protocol),
        };
        let length = usize::try_from(header.payload).map_err(|_| Close::TooBig)?;
        if length > self.limit.saturating_sub(so_far) {
            return Err(Close::TooBig);
        }
        Ok(length)
    }

    /// Takes a frame; a message where it completes one.
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
    /// Checks that what has come is UTF-8. A character may be cut between frames, but not at the end.
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
