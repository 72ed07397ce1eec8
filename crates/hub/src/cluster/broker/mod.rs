//! Other nodes: what this one commits goes to them through Redis or Valkey, one channel a log. It is only the fast path:
//! what it loses the sweep finds within a second. Without Redis there are no others.
//!
//! - `keeper`: the one task that knows which logs are wanted and which server answers for each.
//! - [`line`]: the line to one server, `listener` what hears it, `link` its connections, `health` whether it works.
//! - `servers`: slots. `leases`: who is online on which node. `counters`: what happened.
//!
//! A cluster is spoken to by the same code as a single server, with sharded channels, each on the server of its slot.

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
use crate::cluster::wire;
use crate::ids::LogId;
use crate::log::change::Committed;
pub use counters::BrokerCounters;
use keeper::Routes;
pub(crate) use leases::Leases;

/// How long a log is still listened to after its last socket here: a client that comes back soon finds it so.
const LINGER: Duration = Duration::from_secs(10);

/// The way to other nodes.
pub enum Broker {
    /// There are none.
    Local,
    /// Through Redis.
    Redis(RedisBroker),
}

/// See [`Broker::Redis`].
pub struct RedisBroker {
    servers: Servers,
    shared: Arc<BrokerInner>,
}

/// What a broker's tasks share.
pub(crate) struct BrokerInner {
    /// This node, as its messages name it.
    node: Uuid,
    counters: Arc<BrokerCounters>,
    /// The logs to be listened to, and when each was last wanted.
    wanted: Mutex<HashMap<LogId, Instant>>,
    wanted_changed: Notify,
    /// A line does not work; another server may answer for its logs by now.
    trouble: Notify,
    routes: RwLock<Arc<Routes>>,
}

/// The commands for messages: a cluster has its own, which stay within one of its servers.
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
    /// The broker for a URL, not yet started. A Redis that cannot be reached is no error: it may come back.
    pub fn new(url: Option<&str>, node: Uuid, counters: Arc<BrokerCounters>) -> anyhow::Result<Self> {
        let Some(url) = url else { return Ok(Self::Local) };
        Ok(Self::Redis(RedisBroker {
            servers: Servers::parse(url)?,
            shared: Arc::new(BrokerInner {
                node,
                counters,
                wanted: Mutex::default(),
                wanted_changed: Notify::new(),
                trouble: Notify::new(),
                routes: RwLock::default(),
            }),
        }))
    }

    /// Starts its tasks, which end with the hub.
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
                    bytes: wire::encode(shared.node, change),
                    committed_at: change.committed_at,
                };
                line.publish(message, &shared.counters);
            }
            None => {
                shared.counters.dropped.inc();
            }
        }
    }

    /// Listens for a log's changes from now on.
    pub fn listen(&self, log: LogId) {
        if let Self::Redis(redis) = self {
            let new = redis.shared.wanted().insert(log, Instant::now()).is_none();
            if new {
                redis.shared.wanted_changed.notify_one();
            }
        }
    }

    /// Listens for the changes of these logs, and for a while of those that were wanted before.
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

    /// Whether there are other nodes.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Redis(_))
    }

    /// Whether every server hears and is heard, as far as is known.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Local => true,
            Self::Redis(redis) => redis.shared.routes().are_up(),
        }
    }

    /// The leases of who is online, where there are other nodes.
    pub(crate) fn leases(&self) -> Option<Leases> {
        match self {
            Self::Local => None,
            Self::Redis(redis) => Some(Leases::new(redis.shared.clone())),
        }
    }
}

impl BrokerInner {
    fn wanted(&self) -> MutexGuard<'_, HashMap<LogId, Instant>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes(&self) -> Arc<Routes> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A log's channel; the braces keep all that is the log's in one slot of a cluster.
fn channel_of(log: LogId) -> String {
    format!("liveplan:{{{log}}}:live")
}

/// The log of a channel.
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
