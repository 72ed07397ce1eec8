//! What happened on the way to other nodes and from them.

use prometheus_client::metrics::counter::Counter;

use crate::histogram::Histogram;

/// What happened on the way to other nodes and from them.
#[derive(Default)]
pub struct BrokerCounters {
    /// Changes that Redis took.
    pub published: Counter,
    /// Changes that found the queue full or no server.
    pub dropped: Counter,
    /// Changes that Redis may not have taken: it refused them, or did not answer in time.
    pub unpublished: Counter,
    /// Changes of other nodes that came.
    pub received: Counter,
    /// Messages that came faster than they could be looked at.
    pub overflowed: Counter,
    /// Channels subscribed to, again after each loss too.
    pub subscribed: Counter,
    /// Channels unsubscribed from.
    pub unsubscribed: Counter,
    /// Listening connections that were lost or could not be made.
    pub lost_connections: Counter,
    /// Probes sent.
    pub probes: Counter,
    /// Probes that failed or did not come back.
    pub probe_failures: Counter,
    /// Times that a cluster was asked for its servers.
    pub topologies: Counter,
    /// Exchanges of who is online that failed.
    pub lease_failures: Counter,
    /// Round trips.
    pub trips: Counter,
    /// From COMMIT on this node until Redis had taken the change.
    pub publish_seconds: Histogram,
}
