//! The broker carries this node's changes to other nodes through Redis or Valkey, on one Redis channel per log. It is
//! only the fast path: the sweep finds lost changes within a second. Without Redis there are no other nodes.
//!
//! - `keeper`: the one task that knows the wanted logs and the server of each.
//! - [`line`]: the connections to one server; `listener` receives, `link` connects, `health` says whether it works.
//! - `servers`: the slots of a cluster. `leases`: presence on each node. `counters`: metrics.
//!
//! The same code serves a single server and a cluster; a cluster uses sharded channels, each on the server of its slot.

mod counters;
mod health;
mod keeper;
mod leases;
mod line;
mod link;
mod listener;
mod servers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::HubInner;
use crate::cluster::client::Servers;
use crate::cluster::keyring::{Keyring, Kind};
use crate::cluster::{OtherNodes, wire};
use crate::ids::LogId;
use crate::log::change::Committed;
pub use counters::BrokerCounters;
use keeper::Routes;
pub(crate) use leases::Leases;

/// How long a node stays subscribed to a log's channel after its last socket, for clients that come back soon.
const LINGER: Duration = Duration::from_secs(10);

/// The connection to other nodes.
pub enum Broker {
    /// There are no other nodes.
    Local,
    /// Other nodes are reached through Redis.
    Redis(RedisBroker),
}

/// See [`Broker::Redis`].
pub struct RedisBroker {
    servers: Servers,
    shared: Arc<BrokerInner>,
}

/// State shared by a broker's tasks.
pub(crate) struct BrokerInner {
    /// This node's id in messages.
    node: Uuid,
    counters: Arc<BrokerCounters>,
    /// Seals and opens all that is exchanged: Redis is not trusted.
    keyring: Keyring,
    /// The wanted logs, and when each was last wanted.
    wanted: Mutex<HashMap<LogId, Instant>>,
    wanted_changed: Notify,
    /// Notified when a line fails, because another server may own its slots by now.
    trouble: Notify,
    routes: RwLock<Arc<Routes>>,
}

/// The publish and subscribe commands. A cluster has sharded ones, which stay within one server.
#[derive(Clone, Copy)]
pub(crate) struct Verbs {
    publish: &'static str,
    subscribe: &'static str,
    unsubscribe: &'static str,
}

const PLAIN: Verbs = Verbs {
    publish: "PUBLISH",
    subscribe: "SUBSCRIBE",
    unsubscribe: "UNSUBSCRIBE",
};
const SHARDED: Verbs = Verbs {
    publish: "SPUBLISH",
    subscribe: "SSUBSCRIBE",
    unsubscribe: "SUNSUBSCRIBE",
};

impl Broker {
    /// Creates a broker, not yet started. An unreachable Redis is not an error, because it may come back.
    pub fn new(others: Option<OtherNodes>, node: Uuid, counters: Arc<BrokerCounters>) -> Self {
        let Some(OtherNodes { servers, keyring }) = others else {
            return Self::Local;
        };
        Self::Redis(RedisBroker {
            servers,
            shared: Arc::new(BrokerInner {
                node,
                counters,
                keyring,
                wanted: Mutex::default(),
                wanted_changed: Notify::new(),
                trouble: Notify::new(),
                routes: RwLock::default(),
            }),
        })
    }

    /// Starts the broker's tasks, which end with the hub.
    pub(crate) fn start(&self, hub: &Weak<HubInner>) {
        if let Self::Redis(redis) = self {
            tokio::spawn(keeper::run(redis.servers.clone(), redis.shared.clone(), hub.clone()));
        }
    }

    /// Sends a change to the other nodes, without waiting.
    pub fn publish(&self, change: &Committed) {
        let Self::Redis(redis) = self else { return };
        let shared = &redis.shared;
        match shared.routes().of(change.log) {
            Some(line) => {
                let message = line::Outgoing {
                    log: change.log,
                    bytes: shared.seal(change.log, &wire::encode(shared.node, change)),
                    committed_at: change.committed_at,
                };
                line.publish(message, &shared.counters);
            }
            None => {
                shared.counters.dropped.inc();
            }
        }
    }

    /// Subscribes to a log's changes from now on.
    pub fn listen(&self, log: LogId) {
        if let Self::Redis(redis) = self {
            let new = redis.shared.wanted().insert(log, Instant::now()).is_none();
            if new {
                redis.shared.wanted_changed.notify_one();
            }
        }
    }

    /// Marks these logs as wanted, and stops listening to logs that were last wanted longer than `LINGER` ago.
    pub fn reconcile(&self, logs: &[LogId]) {
        if let Self::Redis(redis) = self {
            let now = Instant::now();
            let mut wanted = redis.shared.wanted();
            wanted.extend(logs.iter().map(|log| (*log, now)));
            wanted.retain(|_, last| now.duration_since(*last) < LINGER);
            drop(wanted);
            redis.shared.wanted_changed.notify_one();
        }
    }

    /// True if the broker connects to other nodes.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Redis(_))
    }

    /// True if publishing to and listening on every server works, as far as is known.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Local => true,
            Self::Redis(redis) => redis.shared.routes().are_up(),
        }
    }

    /// The keys of what nodes exchange, if there are other nodes.
    pub fn keyring(&self) -> Option<&Keyring> {
        match self {
            Self::Local => None,
            Self::Redis(redis) => Some(&redis.shared.keyring),
        }
    }

    /// Returns the presence leases, if there are other nodes.
    pub(crate) fn leases(&self) -> Option<Leases> {
        match self {
            Self::Local => None,
            Self::Redis(redis) => Some(Leases::new(redis.shared.clone())),
        }
    }
}

impl BrokerInner {
    /// Seals a message for a log's channel.
    fn seal(&self, log: LogId, message: &[u8]) -> Vec<u8> {
        self.keyring.seal(Kind::Message, &[channel_of(log).as_bytes()], message)
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<LogId, Instant>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes(&self) -> Arc<Routes> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns a log's Redis channel. The braces are a hash tag: all keys and channels of a log are in one slot.
fn channel_of(log: LogId) -> String {
    format!("liveplan:{{{log}}}:live")
}

/// Returns the log of a Redis channel.
fn log_of(channel: &[u8]) -> Option<LogId> {
    let name = std::str::from_utf8(channel).ok()?;
    name.strip_prefix("liveplan:{")?.strip_suffix("}:live")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_names_its_log() {
        let log = LogId::random();
        assert_eq!(log_of(channel_of(log).as_bytes()), Some(log));
        assert_eq!(log_of(b"liveplan:{}:live"), None);
    }
}
