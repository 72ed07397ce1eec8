//! What happened on this node's hub, in one place. Counting is a relaxed atomic and never waits; whoever runs the hub shows it.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::backend::Unrecoverable;
use crate::cluster::broker::BrokerCounters;
use crate::histogram::Histogram;
use crate::protocol::Codec;
use crate::protocol::close::Close;

/// The counters of a hub.
#[derive(Default)]
pub struct Counters {
    opened: [Counter; Codec::ALL.len()],
    ended: [Counter; Codec::ALL.len()],
    /// Ends of sockets by close code; see [`NO_CLOSE`]. A socket's end is no hot path, and codes are few.
    pub closes: Family<CloseCode, Counter>,
    /// Publications handed to connections.
    pub deliveries: Counter,
    /// Their bytes, framed.
    pub delivered_bytes: Counter,
    /// Bytes that sockets took, of all kinds.
    pub sent_bytes: Counter,
    /// Subscriptions that ended because their client reads too slowly.
    pub lost_channels: Counter,
    /// Reads of what a sequencer missed.
    pub refills: Counter,
    /// Those that failed.
    pub refill_failures: Counter,
    /// Times that a sequencer waited for a missing number.
    pub hole_waits: Counter,
    /// Times that a log's subscriptions were let go, since nobody could say what they missed.
    pub let_go: Counter,
    /// Comparisons of positions with the database.
    pub sweeps: Counter,
    /// Those that failed.
    pub sweep_failures: Counter,
    /// From COMMIT on this node to the frame in a connection's queue, once a delivery.
    pub delivery_seconds: Histogram,
    /// How subscriptions began.
    pub recovery: RecoveryCounters,
    /// On the way to other nodes and from them.
    pub broker: Arc<BrokerCounters>,
}

/// How subscriptions began: with what they missed, from memory or from the database, or with a snapshot.
#[derive(Default)]
pub struct RecoveryCounters {
    /// Served from this node's memory.
    pub memory: Counter,
    /// Served from the database.
    pub database: Counter,
    /// Served from the database, by a read that was made for another.
    pub database_shared: Counter,
    /// Reads of what channels missed.
    pub database_reads: Counter,
    snapshots: [Counter; Reason::ALL.len()],
    /// Served with a snapshot that was read for another.
    pub snapshots_shared: Counter,
    /// Reads of what channels show.
    pub snapshot_reads: Counter,
}

/// Why a subscription began with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is new.
    Fresh,
    /// Its position is of another epoch.
    Epoch,
    /// Its position is above the log's head.
    Ahead,
    /// The log no longer reaches back to its position.
    Retention,
    /// It missed more publications than are given one by one.
    Events,
    /// It missed more bytes.
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
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Fresh,
        Self::Epoch,
        Self::Ahead,
        Self::Retention,
        Self::Events,
        Self::Bytes,
    ];

    /// Its name as a label.
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
    /// A subscription began with a snapshot.
    pub fn snapshot(&self, why: Reason) {
        if let Some(count) = self.snapshots.get(why as usize) {
            count.inc();
        }
    }

    /// How many began with a snapshot for that reason.
    #[must_use]
    pub fn snapshots(&self, why: Reason) -> u64 {
        self.snapshots.get(why as usize).map_or(0, Counter::get)
    }
}

impl Counters {
    /// A socket was upgraded.
    pub fn socket_opened(&self, codec: Codec) {
        of(&self.opened, codec).inc();
    }

    /// A socket has ended, closed by either side, or without a word.
    pub fn socket_ended(&self, codec: Codec, closed: Option<Close>) {
        of(&self.ended, codec).inc();
        let code = closed.map_or(NO_CLOSE, Close::code);
        self.closes.get_or_create(&close_code(code)).inc();
    }

    /// Sockets that were opened, and those of them that have not ended.
    #[must_use]
    pub fn sockets(&self, codec: Codec) -> (u64, u64) {
        // In this order, so that a socket that ends in between is not missed twice.
        let ended = of(&self.ended, codec).get();
        let opened = of(&self.opened, codec).get();
        (opened, opened.saturating_sub(ended))
    }
}

/// The label of a socket's end.
pub type CloseCode = [(&'static str, u16); 1];

const fn close_code(code: u16) -> CloseCode {
    [("code", code)]
}

/// RFC 6455's code for a socket that ended without a close frame.
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
    fn sockets_are_counted_by_codec_and_their_ends_by_code() {
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
    fn every_reason_is_counted_under_its_own_name() {
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
