//! Replies to clients' commands.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::is_default;
use super::{ClientInfo, ErrorReply, Publication, Push};

/// A reply to a command, or a push.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub struct Reply {
    /// The command's id; 0 for a push.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// The content; always set.
    #[serde(flatten)]
    #[prost(oneof = "Answer", tags = "2, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15")]
    pub answer: Option<Answer>,
}

impl Reply {
    /// The reply to a command.
    #[must_use]
    pub fn to(id: u32, answer: Answer) -> Self {
        Self {
            id,
            answer: Some(answer),
        }
    }

    /// A push.
    #[must_use]
    pub fn push(push: Push) -> Self {
        Self::to(0, Answer::Push(push))
    }
}

/// The content of a reply.
#[derive(Clone, PartialEq, prost::Oneof, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The command failed.
    #[prost(message, tag = "2")]
    Error(ErrorReply),
    /// A push, which no command asked for.
    #[prost(message, tag = "4")]
    Push(Push),
    /// Result of `connect`.
    #[prost(message, tag = "5")]
    Connect(ConnectResult),
    /// Result of `subscribe`.
    #[prost(message, tag = "6")]
    Subscribe(SubscribeResult),
    /// Result of `unsubscribe`.
    #[prost(message, tag = "7")]
    Unsubscribe(Empty),
    /// Result of `publish`.
    #[prost(message, tag = "8")]
    Publish(Empty),
    /// Result of `presence`.
    #[prost(message, tag = "9")]
    Presence(PresenceResult),
    /// Result of `presence_stats`.
    #[prost(message, tag = "10")]
    PresenceStats(PresenceStatsResult),
    /// Result of `history`.
    #[prost(message, tag = "11")]
    History(HistoryResult),
    /// Result of `rpc`.
    #[prost(message, tag = "13")]
    Rpc(RpcResult),
    /// Result of `refresh`.
    #[prost(message, tag = "14")]
    Refresh(ConnectResult),
    /// Result of `sub_refresh`.
    #[prost(message, tag = "15")]
    SubRefresh(SubRefreshResult),
}

/// A result without fields.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct Empty {}

/// Result of `connect`; the result of `refresh` has its first four fields.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct ConnectResult {
    /// The connection's id.
    #[prost(string, tag = "1")]
    pub client: String,
    /// The server's version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Whether the token expires and the client must refresh it.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "3")]
    pub expires: bool,
    /// Seconds until the client must refresh.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint32, tag = "4")]
    pub ttl: u32,
    /// Server-side subscriptions by channel.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[prost(btree_map = "string, message", tag = "6")]
    pub subs: BTreeMap<String, SubscribeResult>,
    /// Seconds between pings.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint32, tag = "7")]
    pub ping: u32,
    /// Whether the client must answer pings.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "8")]
    pub pong: bool,
    /// Id of the session, which stands for one signed-in device.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(string, tag = "9")]
    pub session: String,
    /// Id of this node.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(string, tag = "10")]
    pub node: String,
    /// Server time, as Unix time in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(int64, tag = "11")]
    pub time: i64,
}

/// Result of `subscribe`.
#[expect(clippy::struct_excessive_bools, reason = "the protocol's own")]
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct SubscribeResult {
    /// Whether the subscription's token expires and the client must refresh it.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "1")]
    pub expires: bool,
    /// Seconds until the client must refresh.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint32, tag = "2")]
    pub ttl: u32,
    /// Whether the client can later recover from the position.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "3")]
    pub recoverable: bool,
    /// Epoch of the position.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(string, tag = "6")]
    pub epoch: String,
    /// The missed publications.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(message, repeated, tag = "7")]
    pub publications: Vec<Publication>,
    /// True if `publications` holds everything that was missed.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "8")]
    pub recovered: bool,
    /// Offset of the position; after a recovery, the offset that the client sent.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint64, tag = "9")]
    pub offset: u64,
    /// Whether the hub checks the position for gaps.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "10")]
    pub positioned: bool,
    /// The snapshot, unless the client recovered.
    #[serde(with = "super::raw", skip_serializing_if = "is_default")]
    #[prost(bytes = "bytes", tag = "11")]
    pub data: Bytes,
    /// Whether the client asked to recover.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "12")]
    pub was_recovering: bool,
}

/// Result of `presence`.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct PresenceResult {
    /// Subscribers by connection id. Written even if empty, because the JavaScript SDK passes the field on without a
    /// default.
    #[prost(btree_map = "string, message", tag = "1")]
    pub presence: BTreeMap<String, ClientInfo>,
}

/// Result of `presence_stats`. Both fields are written even if 0, because the JavaScript SDK passes them on without a
/// default.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct PresenceStatsResult {
    /// Subscribed connections.
    #[prost(uint32, tag = "1")]
    pub num_clients: u32,
    /// Distinct users of those connections.
    #[prost(uint32, tag = "2")]
    pub num_users: u32,
}

/// Result of `history`.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct HistoryResult {
    /// Publications in the requested order.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(message, repeated, tag = "1")]
    pub publications: Vec<Publication>,
    /// Epoch of the channel's position.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(string, tag = "2")]
    pub epoch: String,
    /// Offset of the channel's position.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint64, tag = "3")]
    pub offset: u64,
}

/// Result of `rpc`.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct RpcResult {
    /// The command's answer.
    #[serde(with = "super::raw")]
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
}

/// Result of `sub_refresh`.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct SubRefreshResult {
    /// Whether the new token expires.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "1")]
    pub expires: bool,
    /// Seconds until it expires.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint32, tag = "2")]
    pub ttl: u32,
}
