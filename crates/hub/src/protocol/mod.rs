//! The Centrifuge client protocol: what clients send and are sent, and the two codecs that carry it.
//!
//! - [`commands`]: what clients ask. [`replies`]: what they are answered. [`push`]: what comes unasked. [`errors`], [`close`]: codes.
//! - [`json`] and [`protobuf`]: bytes. A message is one type with the names of the one and the field numbers of the other,
//!   so that the two cannot drift apart.
//!
//! Payloads are JSON text in both codecs and are carried to the byte; [`payload`] says what may be one.

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

/// How a connection's messages are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Text frames, messages joined by newlines.
    Json,
    /// Binary frames, each message after its length.
    Protobuf,
}

/// A frame that holds something else than commands.
#[derive(Debug, PartialEq, Eq)]
pub struct Undecodable;

/// A reply that cannot be written: a payload that is not JSON, which would be a defect of ours.
#[derive(Debug)]
pub struct Unencodable;

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 2] = [Self::Json, Self::Protobuf];

    /// Its name, for logs and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        }
    }

    /// The subprotocol that chooses it.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "centrifuge-json",
            Self::Protobuf => "centrifuge-protobuf",
        }
    }

    /// Reads the commands of a frame, in order. The whole frame is refused where one is damaged.
    pub fn decode(self, frame: &Bytes) -> Result<Vec<Command>, Undecodable> {
        match self {
            Self::Json => json::decode(frame),
            Self::Protobuf => protobuf::decode(frame),
        }
    }

    /// Writes a reply or a push.
    pub fn encode(self, reply: &Reply) -> Result<Vec<u8>, Unencodable> {
        match self {
            Self::Json => json::encode(reply),
            Self::Protobuf => Ok(protobuf::encode(reply)),
        }
    }

    /// The server's ping.
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
