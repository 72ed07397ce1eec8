//! Requests of clients. Fields that the hub does not use are left out, and both codecs skip unknown fields.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

/// One command of a client. Exactly one method field should be set.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct Command {
    /// The client's number for the command, echoed in the reply; 0 asks for no reply.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Authenticates the connection.
    #[prost(message, optional, tag = "4")]
    pub connect: Option<ConnectRequest>,
    /// Subscribes to a channel.
    #[prost(message, optional, tag = "5")]
    pub subscribe: Option<SubscribeRequest>,
    /// Ends a subscription.
    #[prost(message, optional, tag = "6")]
    pub unsubscribe: Option<ChannelRequest>,
    /// Publishes to a channel.
    #[prost(message, optional, tag = "7")]
    pub publish: Option<PublishRequest>,
    /// Lists a channel's subscribers.
    #[prost(message, optional, tag = "8")]
    pub presence: Option<ChannelRequest>,
    /// Counts a channel's subscribers.
    #[prost(message, optional, tag = "9")]
    pub presence_stats: Option<ChannelRequest>,
    /// Reads a channel's stored publications.
    #[prost(message, optional, tag = "10")]
    pub history: Option<HistoryRequest>,
    /// A message without a reply; ignored.
    #[prost(message, optional, tag = "12")]
    pub send: Option<SendRequest>,
    /// Runs a command of the product.
    #[prost(message, optional, tag = "13")]
    pub rpc: Option<RpcRequest>,
    /// Replaces the connection's token.
    #[prost(message, optional, tag = "14")]
    pub refresh: Option<RefreshRequest>,
    /// Replaces a subscription's token.
    #[prost(message, optional, tag = "15")]
    pub sub_refresh: Option<SubRefreshRequest>,
}

impl Command {
    /// True for an empty command, which answers the server's ping.
    #[must_use]
    pub fn is_pong(&self) -> bool {
        *self == Self::default()
    }
}

/// See [`Command::connect`].
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct ConnectRequest {
    /// Access token.
    #[prost(string, tag = "1")]
    pub token: String,
    /// Positions of server-side subscriptions, by channel.
    #[prost(btree_map = "string, message", tag = "3")]
    pub subs: BTreeMap<String, SubscribeRequest>,
    /// Name of the SDK.
    #[prost(string, tag = "4")]
    pub name: String,
    /// Version of the SDK.
    #[prost(string, tag = "5")]
    pub version: String,
}

/// See [`Command::subscribe`]; also a position in [`ConnectRequest::subs`].
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct SubscribeRequest {
    /// Channel name.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// A token that grants the channel, if the backend has such tokens.
    #[prost(string, tag = "2")]
    pub token: String,
    /// Whether to recover from the client's position.
    #[prost(bool, tag = "3")]
    pub recover: bool,
    /// Epoch of the position; an empty one matches any.
    #[prost(string, tag = "6")]
    pub epoch: String,
    /// Offset of the position.
    #[prost(uint64, tag = "7")]
    pub offset: u64,
    /// Bit 1 (value 2): if the position cannot be recovered, refuse with error 112 instead of sending a snapshot.
    #[prost(int64, tag = "14")]
    pub flag: i64,
}

impl SubscribeRequest {
    /// True if the client prefers error 112 over a snapshot.
    #[must_use]
    pub fn rejects_unrecovered(&self) -> bool {
        self.flag & 2 != 0
    }
}

/// A request with a channel name only.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct ChannelRequest {
    /// Channel name.
    #[prost(string, tag = "1")]
    pub channel: String,
}

/// See [`Command::publish`].
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct PublishRequest {
    /// Channel name.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The payload to publish.
    #[serde(with = "super::raw")]
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
}

/// See [`Command::history`].
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct HistoryRequest {
    /// Channel name.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// At most this many publications; 0 asks for the position only, a negative number for all.
    #[prost(int32, tag = "7")]
    pub limit: i32,
    /// Returns only publications after this position (with `reverse`, before it).
    #[prost(message, optional, tag = "8")]
    pub since: Option<StreamPosition>,
    /// Returns the newest publications first.
    #[prost(bool, tag = "9")]
    pub reverse: bool,
}

/// A position in a channel.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct StreamPosition {
    /// Offset of a publication.
    #[prost(uint64, tag = "1")]
    pub offset: u64,
    /// Epoch of the offset; an empty one matches any.
    #[prost(string, tag = "2")]
    pub epoch: String,
}

/// See [`Command::rpc`].
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct RpcRequest {
    /// The command's arguments.
    #[serde(with = "super::raw")]
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
    /// The command's name.
    #[prost(string, tag = "2")]
    pub method: String,
}

/// See [`Command::send`].
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct SendRequest {}

/// See [`Command::refresh`].
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct RefreshRequest {
    /// The new access token.
    #[prost(string, tag = "1")]
    pub token: String,
}

/// See [`Command::sub_refresh`].
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct SubRefreshRequest {
    /// Channel name.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The new token.
    #[prost(string, tag = "2")]
    pub token: String,
}
