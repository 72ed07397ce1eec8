//! What clients ask. Fields that we do not use are left out: both codecs skip what they do not know.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

/// One command of a client; exactly one of the methods should be there.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct Command {
    /// The client's number, echoed in the reply; 0 asks for none.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Authenticate.
    #[prost(message, optional, tag = "4")]
    pub connect: Option<ConnectRequest>,
    /// Watch a channel.
    #[prost(message, optional, tag = "5")]
    pub subscribe: Option<SubscribeRequest>,
    /// Stop watching.
    #[prost(message, optional, tag = "6")]
    pub unsubscribe: Option<ChannelRequest>,
    /// Publish into a channel.
    #[prost(message, optional, tag = "7")]
    pub publish: Option<PublishRequest>,
    /// Who watches a channel.
    #[prost(message, optional, tag = "8")]
    pub presence: Option<ChannelRequest>,
    /// How many watch a channel.
    #[prost(message, optional, tag = "9")]
    pub presence_stats: Option<ChannelRequest>,
    /// What was published in a channel.
    #[prost(message, optional, tag = "10")]
    pub history: Option<HistoryRequest>,
    /// A message without reply; ignored.
    #[prost(message, optional, tag = "12")]
    pub send: Option<SendRequest>,
    /// A command of the product.
    #[prost(message, optional, tag = "13")]
    pub rpc: Option<RpcRequest>,
    /// A new token of the connection.
    #[prost(message, optional, tag = "14")]
    pub refresh: Option<RefreshRequest>,
    /// A new token of a subscription.
    #[prost(message, optional, tag = "15")]
    pub sub_refresh: Option<SubRefreshRequest>,
}

impl Command {
    /// The answer to a ping: an empty command.
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
    /// Token that grants the channel, where the table takes such.
    #[prost(string, tag = "2")]
    pub token: String,
    /// Whether to recover from the position.
    #[prost(bool, tag = "3")]
    pub recover: bool,
    /// Epoch of the position; empty matches any.
    #[prost(string, tag = "6")]
    pub epoch: String,
    /// Offset of the position.
    #[prost(uint64, tag = "7")]
    pub offset: u64,
    /// Bit 2: refuse with 112 rather than start anew where the position cannot be recovered.
    #[prost(int64, tag = "14")]
    pub flag: i64,
}

impl SubscribeRequest {
    /// Whether the client would rather have error 112 than start anew.
    #[must_use]
    pub fn rejects_unrecovered(&self) -> bool {
        self.flag & 2 != 0
    }
}

/// A request that only names a channel.
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
    /// What to publish.
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
    /// At most so many publications; 0 asks for the position only, below it for all there are.
    #[prost(int32, tag = "7")]
    pub limit: i32,
    /// Only what comes after (in reverse: before) this position.
    #[prost(message, optional, tag = "8")]
    pub since: Option<StreamPosition>,
    /// The last first.
    #[prost(bool, tag = "9")]
    pub reverse: bool,
}

/// A position in a channel.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct StreamPosition {
    /// Number of a publication.
    #[prost(uint64, tag = "1")]
    pub offset: u64,
    /// Epoch of the number; empty matches any.
    #[prost(string, tag = "2")]
    pub epoch: String,
}

/// See [`Command::rpc`].
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct RpcRequest {
    /// Its arguments.
    #[serde(with = "super::raw")]
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
    /// Name of the command.
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
