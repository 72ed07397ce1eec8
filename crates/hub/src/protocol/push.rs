//! What clients are told unasked.

use bytes::Bytes;
use serde::Serialize;

use super::is_default;

/// A message about a channel that no command asked for.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub struct Push {
    /// Channel name.
    #[prost(string, tag = "2")]
    pub channel: String,
    /// What happened; always there.
    #[serde(flatten)]
    #[prost(oneof = "Event", tags = "4, 5, 6, 7")]
    pub event: Option<Event>,
}

/// What happened in a channel.
#[derive(Clone, PartialEq, prost::Oneof, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An event of the channel.
    #[serde(rename = "pub")]
    #[prost(message, tag = "4")]
    Publication(Publication),
    /// Somebody began to watch.
    #[prost(message, tag = "5")]
    Join(Watcher),
    /// Somebody watches no more.
    #[prost(message, tag = "6")]
    Leave(Watcher),
    /// The server ended the subscription.
    #[prost(message, tag = "7")]
    Unsubscribe(Unsubscribed),
}

/// An event in a channel.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct Publication {
    /// The event.
    #[serde(with = "super::raw")]
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
    /// Its number in the log's log; 0 for one that is not stored.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint64, tag = "6")]
    pub offset: u64,
}

/// Who joined or left.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct Watcher {
    /// The connection; always there.
    #[prost(message, optional, tag = "1")]
    pub info: Option<ClientInfo>,
}

/// A connection, as others see it.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct ClientInfo {
    /// Whose it is; written when nobody's too, since the JavaScript SDK hands it on as it is.
    #[prost(string, tag = "1")]
    pub user: String,
    /// The connection's id.
    #[prost(string, tag = "2")]
    pub client: String,
}

/// Why a subscription was ended.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct Unsubscribed {
    /// See [`super::close::Unsubscribe`].
    #[prost(uint32, tag = "2")]
    pub code: u32,
    /// In plain words.
    #[prost(string, tag = "3")]
    pub reason: String,
}
