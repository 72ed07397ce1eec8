//! The changes of a log, as the hub delivers them: number, channels and payloads of what was committed.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::ids::{LogId, UserId};

/// Prefix of the channel of an access event; the user's id follows. Nobody can subscribe to such a channel. The hub
/// reacts to its events by re-authorising the user's connections.
const ACCESS: &str = "!access:";

/// Returns the channel of a user's access events.
#[must_use]
pub fn access_channel(user: UserId) -> String {
    format!("{ACCESS}{user}")
}

/// Returns the user if the channel is one of access events.
#[must_use]
pub fn whose_access(channel: &str) -> Option<UserId> {
    channel.strip_prefix(ACCESS)?.parse().ok()
}

/// A position in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Changes when the log's numbers lose their meaning, as after a restore.
    pub epoch: Arc<str>,
    /// The last number assigned.
    pub seq: u64,
}

/// An event as stored and as sent. The payload is never re-encoded: subscribers get exactly the bytes that were
/// committed.
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
    /// The change's log.
    pub log: LogId,
    /// The log's epoch.
    pub epoch: Arc<str>,
    /// The change's number in the log, which is the offset of all its events.
    pub seq: u64,
    /// The events, at most one per channel.
    pub events: Vec<LoggedEvent>,
    /// When this node's COMMIT was answered; `None` for a change of another node, whose clock cannot be compared with
    /// ours.
    pub committed_at: Option<Instant>,
    /// True if another change of this log follows at once, from the same commit or from the next batch. Only the
    /// committing node knows; the flag is not sent to others.
    pub more_soon: bool,
}

impl Committed {
    /// Approximate memory that the change occupies, in bytes.
    pub(crate) fn size(&self) -> usize {
        let events = self.events.iter().map(|e| e.channel.len() + e.payload.len());
        size_of::<Self>() + events.sum::<usize>()
    }
}

/// Bounds of one recovery.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Number of publications.
    pub events: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
}

/// The publications of a channel after a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// All of them, in order: offsets and payloads.
    All(Vec<(u64, Bytes)>),
    /// More publications than the bound.
    TooMany,
    /// More bytes than the bound.
    TooLarge,
    /// Retention has deleted changes after the position.
    OutOfReach,
}

impl Missed {
    /// Collects events, up to the bounds.
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
