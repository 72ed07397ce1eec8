//! The hub's metrics in one place. Counting is one relaxed atomic operation and never waits; the product exports them.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::backend::Unrecoverable;
use crate::cluster::broker::BrokerCounters;
use crate::histogram::Histogram;
use crate::protocol::Codec;
use crate::protocol::close::Close;

/// The metrics of a hub.
#[derive(Default)]
pub struct Counters {
    opened: [Counter; Codec::ALL.len()],
    ended: [Counter; Codec::ALL.len()],
    /// Closed sockets by close code; see [`NO_CLOSE`]. A lookup in a `Family` is cheap enough here: closes are rare,
    /// and codes few.
    pub closes: Family<CloseCode, Counter>,
    /// Publications accepted into connections' outboxes.
    pub deliveries: Counter,
    /// Bytes of those publications, framed.
    pub delivered_bytes: Counter,
    /// Bytes that sockets accepted, of all kinds of frames.
    pub sent_bytes: Counter,
    /// Subscriptions that ended because their client reads too slowly.
    pub lost_channels: Counter,
    /// Log reads that filled a sequencer's hole.
    pub refills: Counter,
    /// Such reads that failed.
    pub refill_failures: Counter,
    /// Times that a sequencer waited for a missing number.
    pub hole_waits: Counter,
    /// Times that all subscriptions of a log were ended, because the changes they missed could not be read.
    pub let_go: Counter,
    /// Sweeps: comparisons of positions with the database.
    pub sweeps: Counter,
    /// Sweeps that failed.
    pub sweep_failures: Counter,
    /// Time from COMMIT on this node until the frame is in the connection's outbox; observed once per delivery.
    pub delivery_seconds: Histogram,
    /// How subscriptions started.
    pub recovery: RecoveryCounters,
    /// Changes published to other nodes and received from them.
    pub broker: Arc<BrokerCounters>,
}

/// How subscriptions started: with the publications that they missed (from the replay buffer or from the database), or
/// with a snapshot.
#[derive(Default)]
pub struct RecoveryCounters {
    /// Recoveries from this node's replay buffer.
    pub memory: Counter,
    /// Recoveries from the database.
    pub database: Counter,
    /// Recoveries from the database that shared another subscriber's read.
    pub database_shared: Counter,
    /// Database reads of missed publications.
    pub database_reads: Counter,
    snapshots: [Counter; Reason::ALL.len()],
    /// Snapshots that shared another subscriber's read.
    pub snapshots_shared: Counter,
    /// Database reads of snapshots.
    pub snapshot_reads: Counter,
}

/// Why a subscription started with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client sent no position.
    Fresh,
    /// The client's position is of another epoch.
    Epoch,
    /// The client's position is above the log's head.
    Ahead,
    /// Retention has deleted log entries after the client's position.
    Retention,
    /// The client missed more publications than a recovery may replay.
    Events,
    /// The client missed more bytes than a recovery may replay.
    Bytes,
}

impl From<Unrecoverable> for Reason {
    fn from(why: Unrecoverable) -> Self {
        match why {
            Unrecoverable::Epoch => Self::Epoch,
            Unrecoverable::Ahead => Self::Ahead,
            Unrecoverable::Events => Self::Events,
            Unrecoverable::Bytes => Self::Bytes,
            Unrecoverable::Retention => Self::Retention,
        }
    }
}

impl Reason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 6] = [
        Self::Fresh,
        Self::Epoch,
        Self::Ahead,
        Self::Retention,
        Self::Events,
        Self::Bytes,
    ];

    /// Its value in the metric's label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Epoch => "epoch",
            Self::Ahead => "ahead",
            Self::Retention => "retention",
            Self::Events => "events",
            Self::Bytes => "bytes",
        }
    }
}

impl RecoveryCounters {
    /// Counts a subscription that started with a snapshot.
    pub fn snapshot(&self, why: Reason) {
        if let Some(count) = self.snapshots.get(why as usize) {
            count.inc();
        }
    }

    /// The number of subscriptions that started with a snapshot for this reason.
    #[must_use]
    pub fn snapshots(&self, why: Reason) -> u64 {
        self.snapshots.get(why as usize).map_or(0, Counter::get)
    }
}

impl Counters {
    /// Counts an upgraded socket.
    pub fn socket_opened(&self, codec: Codec) {
        of(&self.opened, codec).inc();
    }

    /// Counts an ended socket; `closed` is `None` if it ended without a close frame.
    pub fn socket_ended(&self, codec: Codec, closed: Option<Close>) {
        of(&self.ended, codec).inc();
        let code = closed.map_or(NO_CLOSE, Close::code);
        self.closes.get_or_create(&close_code(code)).inc();
    }

    /// Returns the number of opened sockets, and how many of them are still open.
    #[must_use]
    pub fn sockets(&self, codec: Codec) -> (u64, u64) {
        // Read in this order: a socket that ends between the two reads then counts as open, and the difference is never
        // negative.
        let ended = of(&self.ended, codec).get();
        let opened = of(&self.opened, codec).get();
        (opened, opened.saturating_sub(ended))
    }
}

/// The label set of a closed socket.
pub type CloseCode = [(&'static str, u16); 1];

const fn close_code(code: u16) -> CloseCode {
    [("code", code)]
}

/// The code that RFC 6455 reserves for a connection that ended without a close frame.
pub const NO_CLOSE: u16 = 1006;

fn of(counts: &[Counter; Codec::ALL.len()], codec: Codec) -> &Counter {
    match codec {
        Codec::Json => &counts[0],
        Codec::Protobuf => &counts[1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_counted_by_codec_and_closes_by_code() {
        let counters = Counters::default();
        counters.socket_opened(Codec::Json);
        counters.socket_opened(Codec::Json);
        counters.socket_opened(Codec::Protobuf);
        counters.socket_ended(Codec::Json, Some(Close::Slow));
        counters.socket_ended(Codec::Protobuf, None);
        assert_eq!(counters.sockets(Codec::Json), (2, 1));
        assert_eq!(counters.sockets(Codec::Protobuf), (1, 0));
        let closed = [NO_CLOSE, 3008, 3500].map(|code| counters.closes.get_or_create_owned(&close_code(code)).get());
        assert_eq!(closed, [1, 1, 0]);
    }

    #[test]
    fn every_snapshot_reason_has_its_own_counter_and_label() {
        let recovery = RecoveryCounters::default();
        for (n, why) in Reason::ALL.into_iter().enumerate() {
            for _ in 0..n {
                recovery.snapshot(why);
            }
        }
        let counted: Vec<_> = Reason::ALL.iter().map(|why| recovery.snapshots(*why)).collect();
        assert_eq!(counted, [0, 1, 2, 3, 4, 5]);
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|why| why.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
