//! WebSocket frames (RFC 6455 §5.2) from server to client, built once and shared.

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

/// The answer to a client's close: its own code.
#[must_use]
pub fn close_answer(code: Option<u16>) -> Bytes {
    frame(CLOSE, code.map(u16::to_be_bytes).as_ref().map_or(&[], |code| &code[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_their_shortest_form() {
        for (n, header) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            assert_eq!(text(&vec![b'x'; n]).len(), n + header, "{n}");
        }
    }
}
