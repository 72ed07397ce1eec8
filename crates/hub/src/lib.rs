//! The hub: live sockets, their subscriptions, and the delivery of committed changes to them. It knows nothing of the
//! product and no SQL: it asks a [`backend::Backend`] for the state of channels and for the right to them.
//!
//! From the bottom up:
//!
//! - [`ids`], [`limits`], [`histogram`]: identifiers, bounds, and lock-free duration histograms.
//! - [`protocol`]: the Centrifuge client protocol: messages, codes, and its two codecs.
//! - [`backend`]: the one trait that the hub calls, and the types that cross it.
//! - [`ws`]: the WebSocket layer: frames, the reader, the outbox, admission control, and a socket's life.
//! - [`fanout`]: the registry of subscriptions on this node, and the fan-out of a message to all of a channel's.
//! - [`log`]: the sequencer of each log, its replay buffer, and the sweep that finds lost changes.
//! - [`session`]: a connection, its commands, the start of a subscription, and re-authorisation.
//! - [`cluster`]: the broker to other nodes, and presence across all nodes.
//! - [`counters`]: the hub's metrics. `drain`: how a node's sockets end at shutdown.
//!
//! A change that this node committed enters through [`Hub::committed`], a change of another node through the broker.
//! The log's sequencer puts changes in order, `fanout` delivers them to subscriptions, and each subscription puts
//! frames into its connection's outbox. A client's commands go from the socket through the connection's command queue
//! to the backend.

pub mod backend;
pub mod cluster;
pub mod counters;
mod drain;
pub mod fanout;
pub mod histogram;
pub mod ids;
pub mod limits;
pub mod log;
pub mod protocol;
pub mod session;
pub mod ws;

use std::ops::Deref;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, Utc};
use dashmap::DashMap;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use backend::{Backend, Failure};
use cluster::keyring::Keyring;
use cluster::{OtherNodes, broker::Broker, presence};
use counters::{Counters, NO_CLOSE};
use fanout::registry::Registry;
use ids::LogId;
use limits::{LiveLimits, Recovery};
use log::change::Committed;
use log::sequencer::SequencedLog;
use log::single_flight::SingleFlight;
use log::sweep;
use protocol::close::Close;
use session::connection::Connection;
use session::start::{Missing, Since, Snapshot, Watched};
use session::table::ConnectionTable;
use ws::admission::Door;

/// How long a connect or subscribe waits for a read permit: less than the 5 s after which SDKs give up.
const TURN_WITHIN: Duration = Duration::from_secs(3);

/// Returns the current time; tests pass a clock that they can move.
pub type WallClock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// A shared handle on the hub.
#[derive(Clone)]
pub struct Hub(Arc<HubInner>);

/// The hub's state.
pub struct HubInner {
    /// This node's id.
    pub node: String,
    /// The server's name and version, sent to clients in the connect reply.
    pub(crate) version: &'static str,
    limits: LiveLimits,
    recovery: Recovery,
    clock: WallClock,
    runtime: tokio::runtime::Handle,
    registry: Arc<Registry>,
    connections: Arc<ConnectionTable<Connection>>,
    door: Arc<Door>,
    turns: Semaphore,
    logs: DashMap<LogId, Weak<SequencedLog>>,
    /// Single-flight reads: snapshots of channels, and the publications that a channel got after a position.
    snapshots: Arc<SingleFlight<Watched, Snapshot>>,
    missing: Arc<SingleFlight<Since, Missing>>,
    broker: Broker,
    presence: presence::Presence,
    /// The hub's metrics.
    pub counters: Arc<Counters>,
    sweep_now: Notify,
    draining: AtomicBool,
}

impl Deref for Hub {
    type Target = HubInner;
    fn deref(&self) -> &HubInner {
        &self.0
    }
}

impl Hub {
    /// Creates a hub on the current tokio runtime. Its tasks start with [`run`](Self::run). An unreachable Redis is not an
    /// error: the broker keeps trying and blocks nothing.
    #[must_use]
    pub fn new(
        version: &'static str,
        limits: LiveLimits,
        recovery: Recovery,
        clock: WallClock,
        others: Option<OtherNodes>,
    ) -> Self {
        let node = uuid::Uuid::new_v4();
        let door = Door::new(&limits, open_files());
        let turns = Semaphore::new(limits.reads_at_once.max(1));
        let counters = Arc::<Counters>::default();
        let broker = Broker::new(others, node, counters.broker.clone());
        Self(Arc::new(HubInner {
            node: node.to_string(),
            version,
            limits,
            recovery,
            clock,
            runtime: tokio::runtime::Handle::current(),
            registry: Arc::new(Registry::new(counters.clone())),
            connections: Arc::default(),
            door,
            turns,
            logs: DashMap::new(),
            snapshots: Arc::default(),
            missing: Arc::default(),
            broker,
            presence: presence::Presence::default(),
            counters,
            sweep_now: Notify::new(),
            draining: AtomicBool::new(false),
        }))
    }

    /// Starts the hub's tasks. They end when the hub or the backend is dropped.
    pub fn run(&self, backend: &Arc<dyn Backend>) {
        let (hub, backend) = (Arc::downgrade(&self.0), Arc::downgrade(backend));
        self.runtime.spawn(sweep::run(hub.clone(), backend.clone()));
        self.runtime.spawn(presence::run(hub.clone(), backend));
        let _runtime = self.runtime.enter();
        self.broker.start(&hub);
        if let Some(leases) = self.broker.leases() {
            self.runtime.spawn(presence::exchange(hub, leases));
        }
    }

    /// Takes a change that this node has committed and passes it to this node's sequencer and to the other nodes. Never
    /// waits.
    pub fn committed(&self, change: Committed) {
        self.broker.publish(&change);
        self.take(change);
    }

    /// Returns a log's sequencer, started.
    pub async fn log(&self, backend: &Arc<dyn Backend>, id: LogId) -> Result<Arc<SequencedLog>, Failure> {
        let log = {
            let mut entry = self.logs.entry(id).or_default();
            match entry.upgrade() {
                Some(log) => log,
                None => {
                    let log = SequencedLog::new(id, &self.recovery);
                    *entry = Arc::downgrade(&log);
                    log
                }
            }
        };
        self.broker.listen(id);
        log.ensure_started(&self.0, backend).await?;
        Ok(log)
    }

    /// Counts and logs a socket's upgrade.
    pub fn opened(&self, connection: &Connection) {
        self.counters.socket_opened(connection.codec);
        tracing::info!(
            connection.id,
            connection.codec = connection.codec.name(),
            "socket opened"
        );
    }

    /// Counts and logs a socket's end.
    pub fn closed(&self, connection: &Connection) {
        let closed = connection.outbox.closed();
        self.counters.socket_ended(connection.codec, closed);
        let traffic = connection.traffic();
        let (log, user) = connection
            .session()
            .map(|s| (s.log.to_string(), s.user.to_string()))
            .unzip();
        tracing::info!(
            connection.id,
            gym.id = log,
            account.id = user,
            close.code = closed.map_or(NO_CLOSE, Close::code),
            close.reason = closed.map_or("the connection was lost", Close::reason),
            commands = traffic.commands,
            deliveries = traffic.deliveries,
            bytes = traffic.bytes,
            duration_ms = u64::try_from(traffic.open_for.as_millis()).unwrap_or(u64::MAX),
            "socket closed"
        );
    }
}

impl HubInner {
    /// The hub's bounds.
    #[must_use]
    pub fn limits(&self) -> &LiveLimits {
        &self.limits
    }

    /// The subscriptions on this node, by channel.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The authenticated connections on this node, by user.
    #[must_use]
    pub fn connections(&self) -> &Arc<ConnectionTable<Connection>> {
        &self.connections
    }

    /// Counts of authenticated sockets and of subscriptions.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.connections.len(), self.registry.len())
    }

    /// The node's admission control.
    #[must_use]
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// Waits for a permit to read from the database for a connect or subscribe. Returns `None` after [`TURN_WITHIN`],
    /// before the client gives up.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.turns.acquire()).await;
        turn.ok()?.ok()
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// Starts a sweep at once.
    pub fn sweep_soon(&self) {
        self.sweep_now.notify_one();
    }

    /// True if the broker connects this node to others.
    #[must_use]
    pub fn has_other_nodes(&self) -> bool {
        self.broker.is_shared()
    }

    /// The keys of what nodes exchange, if the broker connects this node to others.
    #[must_use]
    pub fn keyring(&self) -> Option<&Keyring> {
        self.broker.keyring()
    }

    /// The number of logs with a running sequencer on this node.
    #[must_use]
    pub fn logs_served(&self) -> usize {
        self.logs().len()
    }

    /// True if this node can reach its broker; always true for a local broker.
    #[must_use]
    pub fn broker_is_up(&self) -> bool {
        self.broker.is_up()
    }

    /// Passes a change to its log's sequencer, if one runs on this node.
    fn take(&self, change: Committed) {
        let log = self.logs.get(&change.log).and_then(|l| l.upgrade());
        if let Some(log) = log {
            log.offer(change);
        }
    }

    /// Returns the running sequencers and drops the entries of those that ended.
    fn logs(&self) -> Vec<(LogId, Arc<SequencedLog>)> {
        self.logs.retain(|_, log| log.strong_count() > 0);
        self.logs
            .iter()
            .filter_map(|e| e.value().upgrade().map(|log| (*e.key(), log)))
            .collect()
    }
}

/// The process's limit of open files.
#[must_use]
pub fn open_files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit
        .current
        .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
}
