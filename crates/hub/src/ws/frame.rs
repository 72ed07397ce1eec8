//! WebSocket frames (RFC 6455 §5.2) from server to client. A frame is built once and shared by its receivers.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::protocol::Codec;
use crate::protocol::close::Close;

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PONG: u8 = 0xA;

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    out.put_u8(FIN | opcode);
    match payload.len() {
        // The casts cannot truncate: each arm checks the length.
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

/// Builds a text message.
#[must_use]
pub fn text(payload: &[u8]) -> Bytes {
    frame(TEXT, payload)
}

/// Builds a binary message.
#[must_use]
pub fn binary(payload: &[u8]) -> Bytes {
    frame(BINARY, payload)
}

/// Builds a message in the codec's kind of frame.
#[must_use]
pub fn message(codec: Codec, payload: &[u8]) -> Bytes {
    match codec {
        Codec::Json => text(payload),
        Codec::Protobuf => binary(payload),
    }
}

/// Builds a pong that echoes a ping's payload.
#[must_use]
pub fn pong(payload: &[u8]) -> Bytes {
    frame(PONG, payload)
}

/// Builds a close frame with code and reason.
#[must_use]
pub fn close(close: Close) -> Bytes {
    let mut payload = Vec::with_capacity(2 + close.reason().len());
    payload.extend_from_slice(&close.code().to_be_bytes());
    payload.extend_from_slice(close.reason().as_bytes());
    frame(CLOSE, &payload)
}

/// Builds the answer to a client's close, with the client's own code.
#[must_use]
pub fn close_answer(code: Option<u16>) -> Bytes {
    frame(CLOSE, code.map(u16::to_be_bytes).as_ref().map_or(&[], |code| &code[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_lengths_are_written_in_their_shortest_form() {
        for (n, header) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            assert_eq!(text(&vec![b'x'; n]).len(), n + header, "{n}");
        }
    }
}
