//! Error replies: the protocol's own codes; the backend has codes of its own.

use serde::Serialize;

use super::is_default;

/// An error reply.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub struct ErrorReply {
    /// Number; those of the protocol are under 400, the rest are the backend's.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// `name: sentence`.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Whether trying again may help.
    #[serde(skip_serializing_if = "is_default")]
    #[prost(bool, tag = "3")]
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
    /// The node has too much to do at the moment.
    TooManyRequests,
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
            ProtocolError::TooManyRequests => (111, "too_many_requests: Too much at once here; try again."),
            ProtocolError::Unrecoverable => (112, "unrecoverable_position: Too old to recover; subscribe anew."),
        };
        Self {
            code,
            message: message.to_owned(),
            temporary: code == 111,
        }
    }
}
