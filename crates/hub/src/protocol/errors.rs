//! Error replies with the protocol's own codes; the backend defines codes of its own.

use serde::Serialize;

use super::is_default;

/// An error reply.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct ErrorReply {
    /// Error code: below 400 the protocol's, from 400 on the backend's.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// Name and sentence, as `name: sentence`.
    #[prost(string, tag = "2")]
    pub message: String,
    /// True if a retry may succeed.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "3")]
    pub temporary: bool,
}

/// Errors of the protocol itself, which have no counterpart in REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The channel does not exist.
    UnknownChannel,
    /// The connection is already subscribed to the channel.
    AlreadySubscribed,
    /// The connection has too many subscriptions.
    LimitExceeded,
    /// The command is malformed.
    BadRequest,
    /// The server does not offer this.
    NotAvailable,
    /// The node is overloaded at the moment.
    TooManyRequests,
    /// The position cannot be recovered.
    Unrecoverable,
}

impl From<ProtocolError> for ErrorReply {
    fn from(error: ProtocolError) -> Self {
        let (code, message) = match error {
            ProtocolError::UnknownChannel => (102, "unknown_channel: The channel does not exist."),
            ProtocolError::AlreadySubscribed => (105, "already_subscribed: This connection is already subscribed."),
            ProtocolError::LimitExceeded => (106, "limit_exceeded: This connection has too many channels."),
            ProtocolError::BadRequest => (107, "bad_request: The command is malformed."),
            ProtocolError::NotAvailable => (108, "not_available: This server does not offer that."),
            ProtocolError::TooManyRequests => (111, "too_many_requests: The server is busy; try again."),
            ProtocolError::Unrecoverable => (112, "unrecoverable_position: Cannot recover; subscribe again."),
        };
        Self {
            code,
            message: message.to_owned(),
            temporary: code == 111,
        }
    }
}
