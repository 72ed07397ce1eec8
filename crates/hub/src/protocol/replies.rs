//! What clients are answered.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::is_default;
use super::{ClientInfo, ErrorReply, Publication, Push};

/// A reply to the command of that id, or a push.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub struct Reply {
    /// The command's id; 0 for a push.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// What it carries; always there.
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

/// What a reply carries.
#[derive(Clone, PartialEq, prost::Oneof, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The command failed.
    #[prost(message, tag = "2")]
    Error(ErrorReply),
    /// No reply: something happened.
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

/// Result of `connect`; `refresh` answers with its first four fields.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct ConnectResult {
    /// Id of this connection.
    #[prost(string, tag = "1")]
    pub client: String,
    /// Version of the server.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Whether the client must refresh.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "3")]
    pub expires: bool,
    /// Seconds until it must.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint32, tag = "4")]
    pub ttl: u32,
    /// Server-side subscriptions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[prost(btree_map = "string, message", tag = "6")]
    pub subs: BTreeMap<String, SubscribeResult>,
    /// Seconds between pings.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint32, tag = "7")]
    pub ping: u32,
    /// Whether pings are to be answered.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "8")]
    pub pong: bool,
    /// The signed-in device.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(string, tag = "9")]
    pub session: String,
    /// This node.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(string, tag = "10")]
    pub node: String,
    /// Unix time in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(int64, tag = "11")]
    pub time: i64,
}

/// Result of `subscribe`.
#[expect(clippy::struct_excessive_bools, reason = "the protocol's own")]
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct SubscribeResult {
    /// Whether the client must refresh the subscription's token.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "1")]
    pub expires: bool,
    /// Seconds until it must.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint32, tag = "2")]
    pub ttl: u32,
    /// Whether the position can be recovered from.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "3")]
    pub recoverable: bool,
    /// Epoch of the position.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(string, tag = "6")]
    pub epoch: String,
    /// What was missed.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(message, repeated, tag = "7")]
    pub publications: Vec<Publication>,
    /// Whether all that was missed is in `publications`.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "8")]
    pub recovered: bool,
    /// Offset of the position; where recovered, the one that the client sent.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint64, tag = "9")]
    pub offset: u64,
    /// Whether the hub watches the position.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "10")]
    pub positioned: bool,
    /// The snapshot, where the client has to start anew.
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
    /// Who watches, by connection. Written when empty too: the JavaScript SDK hands it on as it is.
    #[prost(btree_map = "string, message", tag = "1")]
    pub presence: BTreeMap<String, ClientInfo>,
}

/// Result of `presence_stats`. Both are written when 0 too: the JavaScript SDK hands them on as they are.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct PresenceStatsResult {
    /// Connections that watch.
    #[prost(uint32, tag = "1")]
    pub num_clients: u32,
    /// Whose they are, each counted once.
    #[prost(uint32, tag = "2")]
    pub num_users: u32,
}

/// Result of `history`.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct HistoryResult {
    /// In the order that was asked for.
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
    /// What the command answered.
    #[serde(with = "super::raw")]
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
}

/// Result of `sub_refresh`.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct SubRefreshResult {
    /// Whether the new token runs out too.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "1")]
    pub expires: bool,
    /// Seconds until it does.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint32, tag = "2")]
    pub ttl: u32,
}
