//! WebSocket frames (RFC 6455 §5.2) from server to client, built once and shared, and the guard on what comes in.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::error::PayloadError;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::Stream;

use super::protocol::Codec;
use super::protocol::close::Close;

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PONG: u8 = 0xA;

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    out.put_u8(FIN | opcode);
    match payload.len() {
        // The casts cannot cut: the arms check the length.
        #[expect(clippy::cast_possible_truncation, reason = "checked by the arm")]
        n @ 0..126 => out.put_u8(n as u8),
        n if u16::try_from(n).is_ok() => {
            out.put_u8(126);
            out.put_u16(u16::try_from(n).unwrap_or(u16::MAX));
        }
        n => {
            out.put_u8(127);
            out.put_u64(n as u64);
        }
    }
    out.extend_from_slice(payload);
    out.freeze()
}

/// A text message.
#[must_use]
pub fn text(payload: &[u8]) -> Bytes {
    frame(TEXT, payload)
}

/// A binary message.
#[must_use]
pub fn binary(payload: &[u8]) -> Bytes {
    frame(BINARY, payload)
}

/// A message of a codec, in the kind of frame that it travels in.
#[must_use]
pub fn message(codec: Codec, payload: &[u8]) -> Bytes {
    match codec {
        Codec::Json => text(payload),
        Codec::Protobuf => binary(payload),
    }
}

/// A pong that echoes a ping.
#[must_use]
pub fn pong(payload: &[u8]) -> Bytes {
    frame(PONG, payload)
}

/// A close with code and reason.
#[must_use]
pub fn close(close: Close) -> Bytes {
    let mut payload = Vec::with_capacity(2 + close.reason().len());
    payload.extend_from_slice(&close.code().to_be_bytes());
    payload.extend_from_slice(close.reason().as_bytes());
    frame(CLOSE, &payload)
}

/// Follows the frame headers of a client's byte stream and says where one declares more than the limit. actix-ws checks a
/// frame's length only once it has buffered the whole frame.
#[derive(Debug, Default)]
pub struct HeaderScan {
    /// Bytes of the current header seen so far; at most 14.
    header: [u8; 14],
    have: usize,
    /// Bytes of the current frame's payload still to come.
    payload: u64,
}

impl HeaderScan {
    /// Takes the next bytes; false where a frame declares a payload over `limit`.
    pub fn within(&mut self, mut bytes: &[u8], limit: u64) -> bool {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skip = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= skip as u64;
                bytes = &bytes[skip..];
                continue;
            }
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if let Some(length) = self.complete() {
                if length > limit {
                    return false;
                }
                self.payload = length;
                self.have = 0;
            }
        }
        true
    }

    /// The declared payload length once the header is whole (RFC 6455 §5.2).
    fn complete(&self) -> Option<u64> {
        if self.have < 2 {
            return None;
        }
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        let (extended, length) = match self.header[1] & 0x7F {
            126 => (2, u64::from(u16::from_be_bytes([self.header[2], self.header[3]]))),
            127 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&self.header[2..10]);
                (8, u64::from_be_bytes(bytes))
            }
            short => (0, u64::from(short)),
        };
        (self.have == 2 + extended + mask).then_some(length)
    }
}

/// A request's byte stream that ends where a frame declares too much, and says so in a flag.
pub struct Guarded<S> {
    inner: S,
    scan: HeaderScan,
    limit: u64,
    too_big: Rc<Cell<bool>>,
}

impl<S> Guarded<S> {
    /// Guards `inner`; the flag becomes true where it was ended.
    pub fn new(inner: S, limit: u64) -> (Self, Rc<Cell<bool>>) {
        let too_big = Rc::new(Cell::new(false));
        (
            Self {
                inner,
                scan: HeaderScan::default(),
                limit,
                too_big: too_big.clone(),
            },
            too_big,
        )
    }
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Stream for Guarded<S> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.too_big.get() {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.inner).poll_next(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            let limit = self.limit;
            if !self.scan.within(bytes, limit) {
                self.too_big.set(true);
                return Poll::Ready(None);
            }
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client_frame(length: u64, sent: usize) -> Vec<u8> {
        let mut out = vec![0x81];
        match length {
            0..126 => out.push(0x80 | u8::try_from(length).expect("short")),
            126..65536 => {
                out.push(0x80 | 0x7E);
                out.extend_from_slice(&u16::try_from(length).expect("medium").to_be_bytes());
            }
            _ => {
                out.push(0x80 | 0x7F);
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        out.extend_from_slice(&[1, 2, 3, 4]);
        out.resize(out.len() + sent, 0xFF);
        out
    }

    #[test]
    fn a_declared_length_is_refused_before_its_bytes_come() {
        let mut scan = HeaderScan::default();
        assert!(!scan.within(&client_frame(300 << 20, 0), 65536));
    }

    #[test]
    fn lengths_are_written_in_their_shortest_form() {
        for (n, header) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            assert_eq!(text(&vec![b'x'; n]).len(), n + header, "{n}");
        }
    }

    proptest! {
        #[test]
        fn frames_within_the_limit_pass_however_they_are_cut(
            lengths in prop::collection::vec(0_u64..70_000, 1..6),
            cuts in prop::collection::vec(1_usize..5000, 1..50),
        ) {
            let stream: Vec<u8> =
                lengths.iter().flat_map(|n| client_frame(*n, usize::try_from(*n).expect("small"))).collect();
            let (mut scan, mut rest, mut turn) = (HeaderScan::default(), stream.as_slice(), 0);
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(cuts[turn % cuts.len()].min(rest.len()));
                prop_assert!(scan.within(head, 70_000));
                (rest, turn) = (tail, turn + 1);
            }
            prop_assert_eq!((scan.have, scan.payload), (0, 0));
            let biggest = *lengths.iter().max().expect("one");
            if biggest > 0 {
                prop_assert!(!HeaderScan::default().within(&stream, biggest - 1));
            }
        }
    }
}
