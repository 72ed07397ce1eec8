//! A log's changes, as the hub hands them on: what was committed, under which number, on which channels.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::ids::{LogId, UserId};

/// What an event's channel begins with that nobody can subscribe to: the hub acts on it by authorising a user's
/// connections again. The user's id follows.
const ACCESS: &str = "!access:";

/// The channel on which a log says that a user's rights have changed.
#[must_use]
pub fn access_channel(user: UserId) -> String {
    format!("{ACCESS}{user}")
}

/// Whose rights have changed, where that is what a channel says.
#[must_use]
pub fn whose_access(channel: &str) -> Option<UserId> {
    channel.strip_prefix(ACCESS)?.parse().ok()
}

/// A position in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Changes when numbers no longer mean what they meant (a restore).
    pub epoch: Arc<str>,
    /// The last number given.
    pub seq: u64,
}

/// An event as it is stored and sent. Its payload is never encoded anew: what was committed is what every screen gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Channel name.
    pub channel: Arc<str>,
    /// Compact JSON, without a line break.
    pub payload: Bytes,
}

/// All events of one committed change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The log it is in.
    pub log: LogId,
    /// The log's epoch.
    pub epoch: Arc<str>,
    /// Its number in the log: the offset of all its events.
    pub seq: u64,
    /// At most one event a channel.
    pub events: Vec<LoggedEvent>,
    /// When its COMMIT was answered, where this node made it. Clocks of other nodes say nothing here.
    pub committed_at: Option<Instant>,
    /// True if another change of this log follows at once, from the same commit or from the next batch. Only the node that
    /// made it knows.
    pub more_soon: bool,
}

impl Committed {
    /// Bytes that it keeps occupied, about.
    pub(crate) fn size(&self) -> usize {
        let events = self.events.iter().map(|e| e.channel.len() + e.payload.len());
        size_of::<Self>() + events.sum::<usize>()
    }
}

/// What a recovery may cost, in publications and in bytes of their payloads.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Publications.
    pub events: usize,
    /// Bytes.
    pub bytes: usize,
}

/// What a channel got since a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// All of it, in order: offsets and payloads.
    All(Vec<(u64, Bytes)>),
    /// More publications than the bound.
    TooMany,
    /// More bytes than the bound.
    TooLarge,
    /// Retention no longer reaches back to the position.
    OutOfReach,
}

impl Missed {
    /// Takes events up to the bounds.
    pub fn within(events: impl Iterator<Item = (u64, Bytes)>, bounds: Bounds) -> Self {
        let (mut all, mut bytes) = (Vec::new(), 0);
        for (seq, payload) in events {
            bytes += payload.len();
            if all.len() >= bounds.events {
                return Self::TooMany;
            }
            if bytes > bounds.bytes {
                return Self::TooLarge;
            }
            all.push((seq, payload));
        }
        Self::All(all)
    }
}
