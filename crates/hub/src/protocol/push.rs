//! Pushes: messages that no command asked for.

use bytes::Bytes;
use serde::Serialize;

use super::is_default;

/// A push about one channel.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
pub struct Push {
    /// Channel name.
    #[prost(string, tag = "2")]
    pub channel: String,
    /// The event; always set.
    #[serde(flatten)]
    #[prost(oneof = "Event", tags = "4, 5, 6, 7")]
    pub event: Option<Event>,
}

/// An event of a channel.
#[derive(Clone, PartialEq, prost::Oneof, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A publication.
    #[serde(rename = "pub")]
    #[prost(message, tag = "4")]
    Publication(Publication),
    /// A connection has subscribed.
    #[prost(message, tag = "5")]
    Join(Watcher),
    /// A connection has unsubscribed.
    #[prost(message, tag = "6")]
    Leave(Watcher),
    /// The server ended the subscription.
    #[prost(message, tag = "7")]
    Unsubscribe(Unsubscribed),
}

/// A publication in a channel.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct Publication {
    /// The payload.
    #[serde(with = "super::raw")]
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
    /// The publication's number in the log; 0 if it is not stored.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(uint64, tag = "6")]
    pub offset: u64,
}

/// The connection that joined or left.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct Watcher {
    /// The connection; always set.
    #[prost(message, optional, tag = "1")]
    pub info: Option<ClientInfo>,
}

/// A connection, as other clients see it.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct ClientInfo {
    /// The user's name, chosen by the backend. Written even if empty, because the JavaScript SDK passes the field on
    /// without a default.
    #[prost(string, tag = "1")]
    pub user: String,
    /// The connection's id.
    #[prost(string, tag = "2")]
    pub client: String,
}

/// The end of a subscription.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct Unsubscribed {
    /// See [`super::close::Unsubscribe`].
    #[prost(uint32, tag = "2")]
    pub code: u32,
    /// The reason in plain text.
    #[prost(string, tag = "3")]
    pub reason: String,
}
