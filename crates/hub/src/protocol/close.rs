//! Why a connection is closed or a subscription ended. Every close has a reason in plain words: with an empty one, or one
//! that parses as JSON, SDKs reconnect for ever or lose it.

/// Closes a connection. Below 3500 the client reconnects, from 3500 on it does not; the others are RFC 6455's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// RFC 6455: the client closed; this answers it.
    Normal,
    /// RFC 6455: protocol violated.
    Protocol,
    /// RFC 6455: text that is not UTF-8.
    NotUtf8,
    /// RFC 6455: message too big.
    TooBig,
    /// The node shuts down.
    Shutdown,
    /// An error of ours.
    ServerError,
    /// The token ran out and was not refreshed.
    Expired,
    /// The client reads too slowly.
    Slow,
    /// The hub cannot tell what this client missed.
    InsufficientState,
    /// A ping was not answered.
    NoPong,
    /// Too many or too fast: commands, bytes, or sockets of a log.
    TooManyRequests,
    /// The user's roles have changed.
    StateInvalidated,
    /// The token is not one of ours, or another user's.
    InvalidToken,
    /// The client does not speak the protocol.
    BadRequest,
    /// No `connect` came in time.
    Stale,
    /// The session ended or the membership is not active.
    ForceDisconnect,
    /// The user has opened more sockets since than it may have.
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
    /// Access was lost; the client does not subscribe again.
    Server,
    /// The client missed something and subscribes again at once.
    InsufficientState,
    /// The subscription's token ran out and was not refreshed; the client gets a new one and subscribes again.
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
