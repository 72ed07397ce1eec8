//! The Protobuf codec: each message is preceded by its length as an unsigned varint. Payloads are bytes that the codec
//! does not inspect.

use bytes::{Buf as _, Bytes};
use prost::Message as _;

use super::{Command, Reply, Undecodable};

/// The server's ping: a message of length zero.
pub const PING: &[u8] = &[0];

/// Decodes the commands of a frame, in order. Payloads share the frame's memory.
pub fn decode(frame: &Bytes) -> Result<Vec<Command>, Undecodable> {
    let mut rest = frame.clone();
    let mut commands = Vec::new();
    while rest.has_remaining() {
        let length = prost::decode_length_delimiter(&mut rest).map_err(|_| Undecodable)?;
        if length > rest.len() {
            return Err(Undecodable);
        }
        commands.push(Command::decode(rest.split_to(length)).map_err(|_| Undecodable)?);
    }
    Ok(commands)
}

/// Encodes a reply or a push.
#[must_use]
pub fn encode(reply: &Reply) -> Vec<u8> {
    reply.encode_length_delimited_to_vec()
}
