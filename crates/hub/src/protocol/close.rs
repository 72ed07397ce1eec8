//! Codes and reasons for closing a connection or ending a subscription. Every close has a plain-text reason, because
//! SDKs reconnect for ever or lose the reason if it is empty or parses as JSON.

/// Closes a connection. Clients reconnect after codes from 3000 to 3499 and stay away from 3500 on; codes below 3000
/// are those of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// RFC 6455: answers the client's close.
    Normal,
    /// RFC 6455: protocol error.
    Protocol,
    /// RFC 6455: a text message is not UTF-8.
    NotUtf8,
    /// RFC 6455: a message is too big.
    TooBig,
    /// The node shuts down.
    Shutdown,
    /// An internal error.
    ServerError,
    /// The token expired and was not refreshed.
    Expired,
    /// The client reads too slowly.
    Slow,
    /// The hub cannot read the publications that the client missed.
    InsufficientState,
    /// The client did not answer a ping.
    NoPong,
    /// The client sent too many commands or bytes, or its log has too many sockets.
    TooManyRequests,
    /// The user's roles have changed.
    StateInvalidated,
    /// The token is not valid, or belongs to another user.
    InvalidToken,
    /// The client violated the protocol.
    BadRequest,
    /// The client did not send `connect` in time.
    Stale,
    /// The session ended, or the membership is not active.
    ForceDisconnect,
    /// The user opened further sockets, over the bound per user; this was the oldest.
    ConnectionLimit,
}

impl Close {
    /// The code of the close frame.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::TooBig => 1009,
            Self::Shutdown => 3001,
            Self::ServerError => 3004,
            Self::Expired => 3005,
            Self::Slow => 3008,
            Self::InsufficientState => 3010,
            Self::NoPong => 3012,
            Self::TooManyRequests => 3013,
            Self::StateInvalidated => 3014,
            Self::InvalidToken => 3500,
            Self::BadRequest => 3501,
            Self::Stale => 3502,
            Self::ForceDisconnect => 3503,
            Self::ConnectionLimit => 3504,
        }
    }

    /// The reason of the close frame.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "bye",
            Self::Protocol => "protocol error",
            Self::NotUtf8 => "invalid UTF-8",
            Self::TooBig => "message too big",
            Self::Shutdown => "shutdown",
            Self::ServerError => "internal server error",
            Self::Expired => "connection expired",
            Self::Slow => "slow",
            Self::InsufficientState => "insufficient state",
            Self::NoPong => "no pong",
            Self::TooManyRequests => "too many requests",
            Self::StateInvalidated => "state invalidated",
            Self::InvalidToken => "invalid token",
            Self::BadRequest => "bad request",
            Self::Stale => "stale",
            Self::ForceDisconnect => "force disconnect",
            Self::ConnectionLimit => "connection limit",
        }
    }
}

/// Ends a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubscribe {
    /// The right has ended; the client does not subscribe again.
    Server,
    /// The client missed publications and subscribes again at once.
    InsufficientState,
    /// The subscription's token expired and was not refreshed; the client gets a new one and subscribes again.
    Expired,
}

impl Unsubscribe {
    /// The code of the push.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Server => 2000,
            Self::InsufficientState => 2500,
            Self::Expired => 2501,
        }
    }

    /// The reason of the push.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Server => "access ended",
            Self::InsufficientState => "insufficient state",
            Self::Expired => "expired",
        }
    }
}
