//! The hub: live sockets, what they watch, and how a committed change reaches them. It knows no noun and no SQL: what a channel
//! shows and who may watch it is asked of a [`backend::Backend`].
//!
//! From the bottom up:
//!
//! - [`ids`], [`limits`], [`histogram`]: names, bounds, and what is counted without a lock.
//! - [`protocol`]: the Centrifuge client protocol: messages, codes, and the two codecs.
//! - [`backend`]: the one trait that the hub asks, and what crosses it.
//! - [`ws`]: the WebSocket layer: frames, the reader, the outgoing queue, who is let in, and a socket's life.
//! - [`fanout`]: who watches what on this node, and how a message goes to all of them.
//! - [`log`]: the changes of a log in order, the last of them, and what the fast path lost.
//! - [`session`]: a connection, its commands, what a subscription begins with, and what it may still do.
//! - [`cluster`]: other nodes, and who is online on any.
//! - [`counters`]: what happened. `drain`: how a node's sockets end when it stops.
//!
//! A change that this node has committed comes in by [`Hub::committed`], one of another node by the broker; the log's sequencer
//! puts them in order, `fanout` hands them to subscriptions, and a subscription puts frames into its connection's queue. What a
//! client sends goes from the socket through its connection's commands to the backend.

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
use cluster::{broker::Broker, presence};
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

/// How long a connect or subscribe waits for its turn: SDKs give up after 5 s.
const TURN_WITHIN: Duration = Duration::from_secs(3);

/// The time of day, so that tests can move it.
pub type WallClock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// A shared handle on the hub.
#[derive(Clone)]
pub struct Hub(Arc<HubInner>);

/// What the hub holds.
pub struct HubInner {
    /// This node.
    pub node: String,
    /// The server's name and version, as clients are told.
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
    /// What channels show, and what they got since a position.
    snapshots: Arc<SingleFlight<Watched, Snapshot>>,
    missing: Arc<SingleFlight<Since, Missing>>,
    broker: Broker,
    presence: presence::Presence,
    /// What happened.
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
    /// A hub on the runtime that calls this. Its tasks begin with [`run`](Self::run).
    ///
    /// # Errors
    /// A `REDIS_URL` that is none. A Redis that cannot be reached is waited for without holding anything up.
    pub fn new(
        version: &'static str,
        limits: LiveLimits,
        recovery: Recovery,
        clock: WallClock,
        redis_url: Option<&str>,
    ) -> anyhow::Result<Self> {
        let node = uuid::Uuid::new_v4();
        let door = Door::new(&limits, open_files());
        let turns = Semaphore::new(limits.reads_at_once.max(1));
        let counters = Arc::<Counters>::default();
        let broker = Broker::new(redis_url, node, counters.broker.clone())?;
        Ok(Self(Arc::new(HubInner {
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
        })))
    }

    /// Starts the hub's tasks, which end with the hub or with the backend.
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

    /// Takes a change that this node has committed: to its own sockets and to the other nodes. Never waits.
    pub fn committed(&self, change: Committed) {
        self.broker.publish(&change);
        self.take(change);
    }

    /// The sequencer of a log, started.
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

    /// A socket was upgraded.
    pub fn opened(&self, connection: &Connection) {
        self.counters.socket_opened(connection.codec);
        tracing::info!(
            connection.id,
            connection.codec = connection.codec.name(),
            "socket opened"
        );
    }

    /// A socket has ended.
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
    /// Bounds.
    #[must_use]
    pub fn limits(&self) -> &LiveLimits {
        &self.limits
    }

    /// Who watches what.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Whose connections there are.
    #[must_use]
    pub fn connections(&self) -> &Arc<ConnectionTable<Connection>> {
        &self.connections
    }

    /// Sockets whose user is known, and subscriptions.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.connections.len(), self.registry.len())
    }

    /// Who is let in.
    #[must_use]
    pub fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// Waits for a turn to read what a connect or subscribe needs; none where it does not come before clients lose patience.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.turns.acquire()).await;
        turn.ok()?.ok()
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// Compares positions with the database at once.
    pub fn sweep_soon(&self) {
        self.sweep_now.notify_one();
    }

    /// Whether there are other nodes to be reached.
    #[must_use]
    pub fn has_other_nodes(&self) -> bool {
        self.broker.is_shared()
    }

    /// Logs whose changes are put in order here.
    #[must_use]
    pub fn logs_served(&self) -> usize {
        self.logs().len()
    }

    /// Whether this node can reach its broker; a local one always.
    #[must_use]
    pub fn broker_is_up(&self) -> bool {
        self.broker.is_up()
    }

    /// Hands a change to its log's sequencer, where the log has sockets here.
    fn take(&self, change: Committed) {
        let log = self.logs.get(&change.log).and_then(|l| l.upgrade());
        if let Some(log) = log {
            log.offer(change);
        }
    }

    /// The sequencers that run, dropping those that have ended.
    fn logs(&self) -> Vec<(LogId, Arc<SequencedLog>)> {
        self.logs.retain(|_, log| log.strong_count() > 0);
        self.logs
            .iter()
            .filter_map(|e| e.value().upgrade().map(|log| (*e.key(), log)))
            .collect()
    }
}

/// How many files this process may open.
#[must_use]
pub fn open_files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit
        .current
        .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
}
