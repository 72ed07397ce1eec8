//! Parts of a frame: its header and mask (RFC 6455 §5.2), and the payload of a close frame.

use super::Message;
use crate::protocol::close::Close;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    First(Kind),
    Close,
    Ping,
    Pong,
}

/// A frame's header (§5.2).
pub struct Header {
    pub last: bool,
    pub opcode: Opcode,
    pub mask: [u8; 4],
    /// Length of the header itself, in bytes.
    pub bytes: usize,
    pub payload: u64,
}

/// Reads a frame's header if all of its bytes are there. Errors are returned as early as the bytes show them.
pub fn header(bytes: &[u8]) -> Result<Option<Header>, Close> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    let opcode = match first & 0x0F {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::First(Kind::Text),
        0x2 => Opcode::First(Kind::Binary),
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xA => Opcode::Pong,
        _ => return Err(Close::Protocol),
    };
    // The reserved bits need an extension, and none was negotiated; clients must mask.
    if first & 0x70 != 0 || second & 0x80 == 0 {
        return Err(Close::Protocol);
    }
    let (extended, payload) = match second & 0x7F {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (2, u64::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (8, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        short => (0, u64::from(short)),
    };
    // The length must have its shortest form, and its highest bit must be zero.
    let shortest = match extended {
        0 => true,
        2 => payload > 125,
        _ => payload > u64::from(u16::MAX) && payload >> 63 == 0,
    };
    if !shortest {
        return Err(Close::Protocol);
    }
    Ok(rest[extended..].first_chunk::<4>().map(|mask| Header {
        last: first & 0x80 != 0,
        opcode,
        mask: *mask,
        bytes: 2 + extended + 4,
        payload,
    }))
}

pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(word) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// Reads the payload of a close frame (§5.5.1, §7.4).
pub fn closing(payload: &[u8]) -> Result<Message, Close> {
    match payload {
        [] => Ok(Message::Close(None)),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Close::Protocol);
            }
            std::str::from_utf8(reason).map_err(|_| Close::NotUtf8)?;
            Ok(Message::Close(Some(code)))
        }
        [_] => Err(Close::Protocol),
    }
}
