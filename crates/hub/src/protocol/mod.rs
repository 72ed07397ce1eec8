//! The Centrifuge client protocol: its messages in both directions, and the two codecs that carry them.
//!
//! - [`commands`]: requests of clients. [`replies`]: their answers. [`push`]: messages that no command asked for.
//!   [`errors`], [`close`]: codes.
//! - [`json`] and [`protobuf`]: encoding and decoding. One type per message has both the JSON names and the Protobuf
//!   field numbers, so that the two codecs cannot drift apart.
//!
//! Payloads are JSON text in both codecs and are passed on byte for byte; [`payload`] defines which are valid.

pub mod close;
pub mod commands;
pub mod errors;
pub mod json;
pub mod payload;
pub mod protobuf;
pub mod push;
mod raw;
pub mod replies;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use commands::{
    ChannelRequest, Command, ConnectRequest, HistoryRequest, PublishRequest, RefreshRequest, RpcRequest,
    SubRefreshRequest, SubscribeRequest,
};
pub use errors::{ErrorReply, ProtocolError};
pub use push::{ClientInfo, Event, Publication, Push, Unsubscribed, Watcher};
pub use replies::{
    Answer, ConnectResult, Empty, HistoryResult, PresenceResult, PresenceStatsResult, Reply, RpcResult,
    SubRefreshResult, SubscribeResult,
};

/// The encoding of a connection's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Text frames; messages are separated by newlines.
    Json,
    /// Binary frames; each message is preceded by its length.
    Protobuf,
}

/// Returned for a frame that does not decode as commands.
#[derive(Debug, PartialEq, Eq)]
pub struct Undecodable;

/// Returned for a reply whose payload is not JSON, which would be a bug of the server.
#[derive(Debug)]
pub struct Unencodable;

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 2] = [Self::Json, Self::Protobuf];

    /// The codec's name, for logs and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        }
    }

    /// The WebSocket subprotocol that selects the codec.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "centrifuge-json",
            Self::Protobuf => "centrifuge-protobuf",
        }
    }

    /// Decodes the commands of a frame, in order. One malformed command refuses the whole frame.
    pub fn decode(self, frame: &Bytes) -> Result<Vec<Command>, Undecodable> {
        match self {
            Self::Json => json::decode(frame),
            Self::Protobuf => protobuf::decode(frame),
        }
    }

    /// Encodes a reply or a push.
    pub fn encode(self, reply: &Reply) -> Result<Vec<u8>, Unencodable> {
        match self {
            Self::Json => json::encode(reply),
            Self::Protobuf => Ok(protobuf::encode(reply)),
        }
    }

    /// The server's ping message.
    #[must_use]
    pub const fn ping(self) -> &'static [u8] {
        match self {
            Self::Json => json::PING,
            Self::Protobuf => protobuf::PING,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
