//! The seam between the hub and the product: [`Backend`] is all that the hub asks. It is handed in for each call and owned
//! by nobody here, so that the product can own the hub; tasks of the hub's own hold it weakly.
//!
//! Whatever crosses is owned data. A transaction never does: a [`read`](Backend::read) is one snapshot inside the backend.

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

/// What the hub asks of the product. Calls about logs and presence may run on any thread, the others stay on the
/// connection's own.
pub trait Backend: Send + Sync + 'static {
    /// Whose a token is; none where there is no token and one is needed.
    fn authenticate<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<Option<Identity>, Failure>>;

    /// Where a channel's events are, and what it offers; none for a name that names no channel.
    fn locate(&self, session: &Session, channel: &str) -> Option<Location>;

    /// Reads in one snapshot of a log: how the session stands, where one is given; then the head; then, for each ask, the
    /// session's right and what it asks for. Without a session nothing is checked: what many may share is read so, after
    /// each one's right.
    fn read<'a>(
        &'a self,
        log: LogId,
        who: Option<&'a Session>,
        asks: &'a [Ask],
        online: &'a dyn WhoIsOnline,
    ) -> LocalBoxFuture<'a, Result<Answers, Failure>>;

    /// The positions of logs; those that do not exist are left out.
    fn heads<'a>(&'a self, logs: &'a [LogId]) -> BoxFuture<'a, Result<HashMap<LogId, Head>, Failure>>;

    /// A log's changes after a number, at most `limit` of them, in order, and its head in the same snapshot. Numbers have no
    /// gaps, so a result that does not begin with the next one has lost its beginning to retention.
    fn since(&self, log: LogId, after: u64, limit: u64) -> BoxFuture<'_, Result<(Vec<Committed>, Head), Failure>>;

    /// Records who was seen when, and returns what is to be published, not stored, about those who came or went.
    fn seen<'a>(
        &'a self,
        log: LogId,
        seen: &'a [(UserId, DateTime<Utc>)],
        changes: &'a [PresenceChange],
    ) -> BoxFuture<'a, Result<Vec<Notice>, Failure>>;

    /// Runs a command; the answer is JSON. None where there are no commands.
    fn call<'a>(
        &'a self,
        session: &'a Session,
        method: &'a str,
        data: Value,
    ) -> Option<LocalBoxFuture<'a, Result<String, Failure>>>;

    /// Whether clients may publish at all.
    fn takes_publications(&self) -> bool {
        false
    }

    /// Publishes what a client sent, which is JSON. Asked only where clients may publish.
    fn publish<'a>(&'a self, log: LogId, channel: &'a str, payload: Bytes) -> LocalBoxFuture<'a, Result<(), Failure>> {
        let _ = (log, channel, payload);
        Box::pin(std::future::ready(Err(self.failure(Kind::Denied))))
    }

    /// Checks a token that grants a channel; returns for how long, where it has an end. None where such tokens are not
    /// looked at.
    fn subscription_token(
        &self,
        session: &Session,
        channel: &str,
        token: &str,
    ) -> Option<Result<Option<Duration>, Failure>> {
        let _ = (session, channel, token);
        None
    }

    /// The failure that stands for what the hub itself found.
    fn failure(&self, kind: Kind) -> Failure;
}

/// Who is online, which the hub knows: handed in to a read, for channels that show it.
pub trait WhoIsOnline {
    /// The users of a log that are online, as its screens were told.
    fn online(&self, log: LogId) -> HashSet<UserId>;
}

/// A language of error sentences, by its tag, such as `es`. The hub only carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language(pub &'static str);

/// What a token says.
pub struct Identity {
    /// Whose it is.
    pub session: Session,
    /// The channels that the server subscribes to at connect. Their events are in the session's own log.
    pub channels: Vec<Arc<str>>,
}

/// What is known of a connection after `connect`.
#[derive(Clone)]
pub struct Session {
    /// Its own log.
    pub log: LogId,
    /// Whose it is.
    pub user: UserId,
    /// Whose it is, in words for others.
    pub name: Arc<str>,
    /// The session's id, as the client is told.
    pub id: Uuid,
    /// When its token runs out, where it does.
    pub expires_at: Option<Instant>,
    /// What else the backend knows of it.
    pub claims: Arc<dyn Any + Send + Sync>,
}

/// Where a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The log that holds its events.
    pub log: LogId,
    /// What it offers besides them.
    pub offers: Offers,
}

/// What a channel offers besides its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    /// Whether those who may watch it may ask who else does, and are told who joins and leaves.
    pub presence: bool,
    /// How many of its last publications can be read and recovered; 0 offers no reading, and recovery has the hub's bound.
    pub history: i64,
}

impl Offers {
    /// Neither.
    pub const NOTHING: Self = Self {
        presence: false,
        history: 0,
    };
}

/// A question about a channel.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The channel.
    pub channel: Arc<str>,
    /// What is asked.
    pub want: Want,
}

/// What is asked of a channel.
#[derive(Clone, Debug)]
pub enum Want {
    /// Whether it may be watched, and no more.
    Right,
    /// What it shows.
    State,
    /// What it got since a position; with `or_state`, what it shows where that cannot be had.
    Since {
        /// The position's epoch; an empty one is that of the log.
        epoch: String,
        /// The position's offset.
        after: u64,
        /// What may be read.
        bounds: Bounds,
        /// Whether what it shows is wanted instead.
        or_state: bool,
    },
    /// Its last publications, so many.
    Tail(i64),
}

/// What one read found.
#[derive(Debug)]
pub struct Answers {
    /// How the session stands. Where it does not, there is nothing else.
    pub standing: Standing,
    /// The log's position, where an ask is for more than the right.
    pub head: Option<Head>,
    /// One for each ask, in order.
    pub answers: Vec<Answer>,
}

/// An answer about a channel.
#[derive(Debug)]
pub enum Answer {
    /// It may not be watched.
    Refused,
    /// It may.
    Granted {
        /// For how long, where the right runs out by itself.
        lasts: Option<Duration>,
        /// What was asked for.
        found: Found,
    },
}

/// What was asked for.
#[derive(Debug)]
pub enum Found {
    /// [`Want::Right`].
    Nothing,
    /// What it shows, as JSON; empty for a channel that shows nothing but its events.
    State(Bytes),
    /// What it got since a position.
    Since {
        /// What that was, or why it cannot be had.
        missed: Result<Vec<(u64, Bytes)>, Unrecoverable>,
        /// What it shows, where it was wanted instead.
        state: Option<Bytes>,
    },
    /// Its last publications, in order.
    Tail(Vec<(u64, Bytes)>),
}

/// Why a channel cannot be recovered from a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecoverable {
    /// The position is of another epoch.
    Epoch,
    /// The position is above the head.
    Ahead,
    /// More publications than the bound.
    Events,
    /// More bytes than the bound.
    Bytes,
    /// Retention no longer reaches back to it.
    Retention,
}

impl Missed {
    /// All of it, or why not.
    ///
    /// # Errors
    /// Why it cannot be recovered.
    pub fn complete(self) -> Result<Vec<(u64, Bytes)>, Unrecoverable> {
        match self {
            Self::All(events) => Ok(events),
            Self::TooMany => Err(Unrecoverable::Events),
            Self::TooLarge => Err(Unrecoverable::Bytes),
            Self::OutOfReach => Err(Unrecoverable::Retention),
        }
    }
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What its token says holds.
    Good,
    /// It holds no more, and a new token will: roles have changed.
    RolesChanged,
    /// The session has ended or its time is over.
    SessionEnded,
    /// The user may not be here.
    NotActive,
}

/// Somebody came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// Who.
    pub user: UserId,
    /// None: they are online. Else since when they are not.
    pub away_since: Option<DateTime<Utc>>,
}

/// What is told to a channel and not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The channel.
    pub channel: Arc<str>,
    /// Compact JSON.
    pub payload: Bytes,
}

/// What kind of failure it is, as far as the hub goes on differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The token is not good.
    Unauthenticated,
    /// The token's time is over.
    TokenExpired,
    /// The session no longer holds.
    SessionEnded,
    /// The client may not do that.
    Denied,
    /// There is no such log.
    NotFound,
    /// The backend cannot be reached.
    Unavailable,
    /// Anything else.
    Other,
}

/// Why the backend could not do what it was asked. Cloning it is cheap: those who share a read share its failure.
#[derive(Clone)]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    fault: Arc<dyn Fault>,
}

/// A backend's own error.
pub trait Fault: fmt::Debug + Send + Sync {
    /// What a client is told.
    fn reply(&self, language: Language) -> ErrorReply;

    /// Logs it, where it is one to be mended. Called once, where it is handled.
    fn log(&self);
}

impl Failure {
    /// A backend's error.
    #[must_use]
    pub fn new(kind: Kind, fault: impl Fault + 'static) -> Self {
        let fault = Arc::new(fault);
        Self { kind, fault }
    }

    /// What a client is told.
    #[must_use]
    pub fn reply(&self, language: Language) -> ErrorReply {
        self.fault.reply(language)
    }

    /// Logs it, and returns what a client is told.
    #[must_use]
    pub fn logged(&self, language: Language) -> ErrorReply {
        self.fault.log();
        self.reply(language)
    }

    /// Logs it.
    pub fn log(&self) {
        self.fault.log();
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}
