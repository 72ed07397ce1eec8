//! The boundary between the hub and the product: the trait [`Backend`]. The hub gets the backend as a parameter of each
//! call and never owns it, so that the product can own the hub; the hub's own tasks hold it weakly.
//!
//! All data that crosses the boundary is owned. No transaction crosses it: a [`read`](Backend::read) is one database
//! snapshot inside the backend.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, LocalBoxFuture};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::ids::{LogId, UserId};
use crate::log::change::{Bounds, Committed, Head, Missed};
use crate::protocol::ErrorReply;

/// Everything that the hub asks of the product. Calls about logs and presence may run on any thread; the others stay on
/// the connection's own.
pub trait Backend: Send + Sync + 'static {
    /// Verifies a token and returns whose it is. Returns `None` if the token is empty and one is required.
    fn authenticate<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<Option<Identity>, Failure>>;

    /// Returns the log and the offers of a channel, or `None` if the name is not a channel's.
    fn locate(&self, session: &Session, channel: &str) -> Option<Location>;

    /// Reads from one snapshot of a log: the session's standing (if a session is given), then the head, then for each
    /// ask the session's right and the wanted data. Without a session no right is checked: reads that many subscribers
    /// share are made this way, after each subscriber's own right was checked.
    fn read<'a>(
        &'a self,
        log: LogId,
        who: Option<&'a Session>,
        asks: &'a [Ask],
        online: &'a dyn WhoIsOnline,
    ) -> LocalBoxFuture<'a, Result<Answers, Failure>>;

    /// Returns the heads of logs; logs that do not exist are left out.
    fn heads<'a>(&'a self, logs: &'a [LogId]) -> BoxFuture<'a, Result<HashMap<LogId, Head>, Failure>>;

    /// Returns a log's changes after a number, at most `limit`, in order, with the head in the same snapshot. Numbers
    /// are gapless, so if the first change is not number `after + 1`, retention has deleted the changes before it.
    fn since(&self, log: LogId, after: u64, limit: u64) -> BoxFuture<'_, Result<(Vec<Committed>, Head), Failure>>;

    /// Records when users were last seen, and returns the notices to publish for those who came or went.
    fn seen<'a>(
        &'a self,
        log: LogId,
        seen: &'a [(UserId, DateTime<Utc>)],
        changes: &'a [PresenceChange],
    ) -> BoxFuture<'a, Result<Vec<Notice>, Failure>>;

    /// Admits a command of a session, before the hub does anything for it; a `connect` counts once its token is known to
    /// be valid. Returns `None` if the command is admitted, or else the decision, for which the hub waits. A command that
    /// is not admitted is answered with the failure.
    fn admit<'a>(&'a self, session: &'a Session) -> Option<LocalBoxFuture<'a, Result<(), Failure>>> {
        let _ = session;
        None
    }

    /// Runs a command and returns its answer as JSON. Returns `None` if the backend has no commands.
    fn call<'a>(
        &'a self,
        session: &'a Session,
        method: &'a str,
        data: Value,
    ) -> Option<LocalBoxFuture<'a, Result<String, Failure>>>;

    /// True if clients may publish.
    fn takes_publications(&self) -> bool {
        false
    }

    /// Publishes a client's payload, which is valid JSON. Called only if clients may publish.
    fn publish<'a>(&'a self, log: LogId, channel: &'a str, payload: Bytes) -> LocalBoxFuture<'a, Result<(), Failure>> {
        let _ = (log, channel, payload);
        Box::pin(std::future::ready(Err(self.failure(Kind::Denied))))
    }

    /// Checks a token that grants a channel, and returns how long it is valid (`None` if it does not expire). The outer
    /// `None` means that the backend has no such tokens.
    fn subscription_token(
        &self,
        session: &Session,
        channel: &str,
        token: &str,
    ) -> Option<Result<Option<Duration>, Failure>> {
        let _ = (session, channel, token);
        None
    }

    /// Creates the backend's failure for a condition that the hub itself detected.
    fn failure(&self, kind: Kind) -> Failure;
}

/// Presence, which the hub knows: passed to each read, for channels whose state includes it.
pub trait WhoIsOnline {
    /// The users of a log that are online, as its subscribers were last sent.
    fn online(&self, log: LogId) -> HashSet<UserId>;
}

/// The language of error sentences, as a tag such as `es`. The hub only passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language(pub &'static str);

/// The result of authenticating a token.
pub struct Identity {
    /// The session that the token belongs to.
    pub session: Session,
    /// Channels of the server-side subscriptions. Their events are in the session's own log.
    pub channels: Vec<Arc<str>>,
}

/// A connection's session, known after `connect`.
#[derive(Clone)]
pub struct Session {
    /// The session's own log.
    pub log: LogId,
    /// The session's user.
    pub user: UserId,
    /// The user's name in presence and in join pushes, chosen by the backend.
    pub name: Arc<str>,
    /// The session's id, sent to the client.
    pub id: Uuid,
    /// When the token expires; `None` if it does not.
    pub expires_at: Option<Instant>,
    /// The backend's own data about the session.
    pub claims: Arc<dyn Any + Send + Sync>,
}

/// Where a channel's events are stored, and what else it offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The log that holds the channel's events.
    pub log: LogId,
    /// What the channel offers besides its events.
    pub offers: Offers,
}

/// What a channel offers besides its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    /// True if subscribers may query who else is subscribed, and get join and leave pushes.
    pub presence: bool,
    /// How many of the latest publications can be read and recovered. 0 means that history cannot be read, and that
    /// only the hub's own bound limits recovery.
    pub history: i64,
}

impl Offers {
    /// Neither presence nor history.
    pub const NOTHING: Self = Self {
        presence: false,
        history: 0,
    };
}

/// A question about one channel.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The channel.
    pub channel: Arc<str>,
    /// The data wanted besides the right.
    pub want: Want,
}

/// The data wanted of a channel.
#[derive(Clone, Debug)]
pub enum Want {
    /// The right only.
    Right,
    /// The channel's state.
    State,
    /// The channel's publications after a position; with `or_state`, its state if it cannot be recovered from there.
    Since {
        /// The position's epoch; an empty one matches the log's current epoch.
        epoch: String,
        /// The position's offset.
        after: u64,
        /// Bounds of the recovery.
        bounds: Bounds,
        /// Whether to return the state if the recovery is impossible.
        or_state: bool,
    },
    /// The channel's latest publications, at most this many.
    Tail(i64),
}

/// The result of one read.
#[derive(Debug)]
pub struct Answers {
    /// The session's standing. Unless it is good, the other fields are empty.
    pub standing: Standing,
    /// The log's head; `None` if every ask is for the right only.
    pub head: Option<Head>,
    /// One answer per ask, in the same order.
    pub answers: Vec<Answer>,
}

/// The answer about one channel.
#[derive(Debug)]
pub enum Answer {
    /// The session has no right to the channel.
    Refused,
    /// The session has the right.
    Granted {
        /// How long the right lasts; `None` if it does not expire.
        lasts: Option<Duration>,
        /// The wanted data.
        found: Found,
    },
}

/// The wanted data; each variant answers one of [`Want`].
#[derive(Debug)]
pub enum Found {
    /// Answers [`Want::Right`].
    Nothing,
    /// The channel's state as JSON; empty if the channel has events only.
    State(Bytes),
    /// The channel's publications after the position.
    Since {
        /// Offsets and payloads, or why the position cannot be recovered.
        missed: Result<Vec<(u64, Bytes)>, Unrecoverable>,
        /// The channel's state, if it was wanted instead.
        state: Option<Bytes>,
    },
    /// The channel's latest publications, oldest first.
    Tail(Vec<(u64, Bytes)>),
}

/// Why a channel cannot be recovered from a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecoverable {
    /// The position is of another epoch.
    Epoch,
    /// The position is above the head.
    Ahead,
    /// More publications were missed than the bound.
    Events,
    /// More bytes were missed than the bound.
    Bytes,
    /// Retention has deleted changes after the position.
    Retention,
}

impl Missed {
    /// Returns all missed publications.
    ///
    /// # Errors
    /// Why the position cannot be recovered.
    pub fn complete(self) -> Result<Vec<(u64, Bytes)>, Unrecoverable> {
        match self {
            Self::All(events) => Ok(events),
            Self::TooMany => Err(Unrecoverable::Events),
            Self::TooLarge => Err(Unrecoverable::Bytes),
            Self::OutOfReach => Err(Unrecoverable::Retention),
        }
    }
}

/// The standing of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Session, user and roles are as the token says.
    Good,
    /// The user's roles have changed; a new token will be accepted.
    RolesChanged,
    /// The session has ended or expired.
    SessionEnded,
    /// The user's membership is not active.
    NotActive,
}

/// A user came online or went offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// The user.
    pub user: UserId,
    /// Since when the user is offline; `None` if the user came online.
    pub away_since: Option<DateTime<Utc>>,
}

/// A publication that is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The channel to publish it to.
    pub channel: Arc<str>,
    /// Compact JSON.
    pub payload: Bytes,
}

/// The kinds of failure that the hub treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The token is invalid.
    Unauthenticated,
    /// The token has expired.
    TokenExpired,
    /// The session has ended.
    SessionEnded,
    /// The client has no right to do that.
    Denied,
    /// The log does not exist.
    NotFound,
    /// The backend cannot be reached.
    Unavailable,
    /// Any other failure.
    Other,
}

/// A failed call to the backend. Cloning is cheap, because subscribers that share a read also share its failure.
#[derive(Clone)]
pub struct Failure {
    /// The kind of failure.
    pub kind: Kind,
    fault: Arc<dyn Fault>,
}

/// A backend's own error.
pub trait Fault: fmt::Debug + Send + Sync {
    /// Returns the error reply for the client.
    fn reply(&self, language: Language) -> ErrorReply;

    /// Logs the error if an operator should see it. Called once, where the error is handled.
    fn log(&self);
}

impl Failure {
    /// Wraps a backend's error.
    #[must_use]
    pub fn new(kind: Kind, fault: impl Fault + 'static) -> Self {
        let fault = Arc::new(fault);
        Self { kind, fault }
    }

    /// Returns the error reply for the client.
    #[must_use]
    pub fn reply(&self, language: Language) -> ErrorReply {
        self.fault.reply(language)
    }

    /// Logs the error and returns the error reply for the client.
    #[must_use]
    pub fn logged(&self, language: Language) -> ErrorReply {
        self.fault.log();
        self.reply(language)
    }

    /// Logs the error.
    pub fn log(&self) {
        self.fault.log();
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}
