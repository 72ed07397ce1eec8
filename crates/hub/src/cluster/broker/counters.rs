//! Metrics of the broker.

use prometheus_client::metrics::counter::Counter;

use crate::histogram::Histogram;

/// Metrics of the broker.
#[derive(Default)]
pub struct BrokerCounters {
    /// Changes that Redis accepted.
    pub published: Counter,
    /// Changes dropped because the queue was full or no server answered for the log.
    pub dropped: Counter,
    /// Changes that Redis refused or did not confirm in time.
    pub unpublished: Counter,
    /// Changes received from other nodes.
    pub received: Counter,
    /// Messages dropped because the inbox was full.
    pub overflowed: Counter,
    /// Subscribed Redis channels; counts again after each lost connection.
    pub subscribed: Counter,
    /// Unsubscribed Redis channels.
    pub unsubscribed: Counter,
    /// Listening connections that were lost or could not be made.
    pub lost_connections: Counter,
    /// Probes sent.
    pub probes: Counter,
    /// Probes that failed or did not come back.
    pub probe_failures: Counter,
    /// Queries for a cluster's servers.
    pub topologies: Counter,
    /// Failed exchanges of presence leases.
    pub lease_failures: Counter,
    /// Round trips to Redis.
    pub trips: Counter,
    /// Time from COMMIT on this node until Redis accepted the change.
    pub publish_seconds: Histogram,
}
