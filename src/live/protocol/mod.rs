//! The Centrifuge client protocol: commands, replies and pushes as the hub sees them, and the codecs that carry them.
//!
//! [`json`] is the JSON codec. A second codec is another module with the same three functions and a variant of [`Codec`].

pub mod close;
pub mod json;

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Code, Error, Lang};

/// How a connection's messages are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Text frames, messages joined by newlines.
    Json,
}

/// One command of a client; exactly one of the methods should be there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Command {
    /// The client's number, echoed in the reply; 0 asks for none.
    pub id: u32,
    /// Authenticate.
    pub connect: Option<ConnectRequest>,
    /// Watch a channel.
    pub subscribe: Option<SubscribeRequest>,
    /// Stop watching.
    pub unsubscribe: Option<ChannelRequest>,
    /// Refused here.
    pub publish: Option<serde::de::IgnoredAny>,
    /// Not offered yet.
    pub presence: Option<ChannelRequest>,
    /// Not offered yet.
    pub presence_stats: Option<ChannelRequest>,
    /// Not offered yet.
    pub history: Option<serde::de::IgnoredAny>,
    /// A command of the product.
    pub rpc: Option<RpcRequest>,
    /// A message without reply; ignored.
    pub send: Option<serde::de::IgnoredAny>,
    /// A new token.
    pub refresh: Option<RefreshRequest>,
    /// Not offered: subscriptions have no tokens.
    pub sub_refresh: Option<ChannelRequest>,
}

impl Command {
    /// The answer to a ping: an empty command.
    #[must_use]
    pub fn is_pong(&self) -> bool {
        self.id == 0
            && self.connect.is_none()
            && self.subscribe.is_none()
            && self.unsubscribe.is_none()
            && self.publish.is_none()
            && self.presence.is_none()
            && self.presence_stats.is_none()
            && self.history.is_none()
            && self.rpc.is_none()
            && self.send.is_none()
            && self.refresh.is_none()
            && self.sub_refresh.is_none()
    }
}

/// See [`Command::connect`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConnectRequest {
    /// Access token.
    pub token: String,
    /// Name of the SDK.
    pub name: String,
    /// Version of the SDK.
    pub version: String,
    /// Positions of server-side subscriptions, by channel.
    pub subs: HashMap<String, SubscribeRequest>,
}

/// See [`Command::subscribe`]; also a position in [`ConnectRequest::subs`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SubscribeRequest {
    /// Channel name.
    pub channel: String,
    /// Whether to recover from the position.
    pub recover: bool,
    /// Epoch of the position; empty matches any.
    pub epoch: String,
    /// Offset of the position.
    pub offset: u64,
    /// Bit 2: refuse with 112 rather than start anew where the position cannot be recovered.
    pub flag: i64,
}

/// A request that only names a channel.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ChannelRequest {
    /// Channel name.
    pub channel: String,
}

/// See [`Command::rpc`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RpcRequest {
    /// Name of the command.
    pub method: String,
    /// Its arguments.
    pub data: Option<Box<RawValue>>,
}

/// See [`Command::refresh`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RefreshRequest {
    /// The new access token.
    pub token: String,
}

/// Result of `connect` and `refresh`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConnectResult {
    /// Id of this connection.
    pub client: String,
    /// Version of the server.
    pub version: &'static str,
    /// Whether the client must refresh.
    #[serde(skip_serializing_if = "is_default")]
    pub expires: bool,
    /// Seconds until it must.
    #[serde(skip_serializing_if = "is_default")]
    pub ttl: u32,
    /// Server-side subscriptions.
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    pub subs: HashMap<String, SubscribeResult>,
    /// Seconds between pings.
    #[serde(skip_serializing_if = "is_default")]
    pub ping: u32,
    /// Whether pings are to be answered.
    #[serde(skip_serializing_if = "is_default")]
    pub pong: bool,
    /// The signed-in device.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// This node.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Unix time in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub time: i64,
}

/// Result of `subscribe`.
#[expect(clippy::struct_excessive_bools, reason = "the protocol's own")]
#[derive(Clone, Debug, Default, Serialize)]
pub struct SubscribeResult {
    /// Whether the position can be recovered from.
    #[serde(skip_serializing_if = "is_default")]
    pub recoverable: bool,
    /// Whether the hub watches the position.
    #[serde(skip_serializing_if = "is_default")]
    pub positioned: bool,
    /// Epoch of the position.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub epoch: std::sync::Arc<str>,
    /// Offset of the position; where recovered, the one that the client sent.
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
    /// What was missed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publications: Vec<Publication>,
    /// Whether all that was missed is in `publications`.
    #[serde(skip_serializing_if = "is_default")]
    pub recovered: bool,
    /// Whether the client asked to recover.
    #[serde(skip_serializing_if = "is_default")]
    pub was_recovering: bool,
    /// The snapshot, where the client has to start anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
}

/// An event in a channel.
#[derive(Clone, Debug, Serialize)]
pub struct Publication {
    /// The event.
    pub data: Payload,
    /// Its number in the gym's log; 0 for one that is not stored.
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
}

/// Compact JSON, carried as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(pub Bytes);

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = std::str::from_utf8(&self.0).map_err(serde::ser::Error::custom)?;
        let raw: &RawValue = serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl From<String> for Payload {
    fn from(json: String) -> Self {
        Self(json.into())
    }
}

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorReply {
    /// Number; those of the protocol are under 400, the rest is [`Code::number`].
    pub code: u32,
    /// `name: sentence`.
    pub message: String,
    /// Whether trying again may help.
    #[serde(skip_serializing_if = "is_default")]
    pub temporary: bool,
}

/// Errors of the protocol itself, which REST has no code for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// There is no such channel.
    UnknownChannel,
    /// Already subscribed.
    AlreadySubscribed,
    /// Too many channels.
    LimitExceeded,
    /// The command cannot be understood.
    BadRequest,
    /// Not offered.
    NotAvailable,
    /// The position cannot be recovered.
    Unrecoverable,
}

impl From<ProtocolError> for ErrorReply {
    fn from(error: ProtocolError) -> Self {
        let (code, message) = match error {
            ProtocolError::UnknownChannel => (102, "unknown_channel: There is no such channel."),
            ProtocolError::AlreadySubscribed => (105, "already_subscribed: This connection watches that channel."),
            ProtocolError::LimitExceeded => (106, "limit_exceeded: This connection watches too many channels."),
            ProtocolError::BadRequest => (107, "bad_request: The command cannot be understood."),
            ProtocolError::NotAvailable => (108, "not_available: This server does not offer that."),
            ProtocolError::Unrecoverable => (112, "unrecoverable_position: Too old to recover; subscribe anew."),
        };
        Self {
            code,
            message: message.to_owned(),
            temporary: false,
        }
    }
}

impl ErrorReply {
    /// An error of the product, in the connection's language.
    #[must_use]
    pub fn of(error: &Error, lang: Lang) -> Self {
        let message = format!("{}: {}", error.code.name(), error.detail(lang));
        Self {
            code: error.code.number(),
            message,
            temporary: error.temporary(),
        }
    }

    /// 103.
    #[must_use]
    pub fn denied(lang: Lang) -> Self {
        Self::of(&Error::new(Code::Forbidden), lang)
    }
}

/// What a reply carries.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The command failed.
    Error(ErrorReply),
    /// Result of `connect`.
    Connect(ConnectResult),
    /// Result of `subscribe`.
    Subscribe(SubscribeResult),
    /// Result of `unsubscribe`.
    Unsubscribe(Empty),
    /// Result of `rpc`.
    Rpc(RpcResult),
    /// Result of `refresh`.
    Refresh(ConnectResult),
}

/// A result without fields.
#[derive(Debug, Default, Serialize)]
pub struct Empty {}

/// Result of `rpc`.
#[derive(Debug, Serialize)]
pub struct RpcResult {
    /// What the command answered.
    pub data: Payload,
}

/// A reply to the command of that id.
#[derive(Debug, Serialize)]
pub struct Reply {
    /// The command's id.
    pub id: u32,
    /// What it carries.
    #[serde(flatten)]
    pub answer: Answer,
}

/// A message that no command asked for.
#[derive(Debug)]
pub enum Push<'a> {
    /// An event in a channel.
    Publication {
        /// Channel name.
        channel: &'a str,
        /// The event.
        data: &'a [u8],
        /// 0: not stored.
        offset: u64,
    },
    /// The server ended a subscription.
    Unsubscribe {
        /// Channel name.
        channel: &'a str,
        /// See [`close::Unsubscribe`].
        code: u32,
        /// In plain words.
        reason: &'a str,
    },
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
