//! The hub: live sockets, what they watch, and how a committed change reaches them.
//!
//! - [`protocol`]: the Centrifuge client protocol. [`reader`]: a client's bytes into messages.
//!   [`frame`], [`outbox`]: frames to it, and the queue to be written. [`stream`]: the bytes of both.
//! - [`door`], [`pace`]: how many sockets are let in, and how fast they may send.
//! - [`endpoint`], [`connection`], `socket`: the upgrade, the connection, and its reading. [`commands`]: what its client asks for; `connect`,
//!   `subscribe`, `queries` and `state` answer. `rights`: what it may still do.
//! - [`registry`], [`subscription`]: who watches what on this node; [`encoded`]: what goes to all of them.
//! - [`sequencer`]: a gym's changes in order; `memory`: the last of them. [`broker`]: other nodes. [`sweep`]: what the fast
//!   path lost. `shared`: reads that are made once for many.
//! - [`counters`], [`histogram`]: what happened, for those who watch over it. [`overview`]: a gym's connections, for those who
//!   run it.
//! - [`presence`]: who is online.
//!
//! It knows no noun: what a channel shows and who may watch it is asked of a [`backend::Backend`].

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
use log::sequencer::GymLog;
use log::single_flight::Shared;
use log::sweep;
use protocol::close::Close;
use session::connection::Connection;
use session::start::{Missing, Since, State, Watched};
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
    door: Arc<Door>,
    turns: Semaphore,
    gyms: DashMap<LogId, Weak<GymLog>>,
    /// What channels show, and what they got since a position.
    states: Arc<Shared<Watched, State>>,
    missing: Arc<Shared<Since, Missing>>,
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
            door,
            turns,
            gyms: DashMap::new(),
            states: Arc::default(),
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
    pub async fn log(&self, backend: &Arc<dyn Backend>, gym: LogId) -> Result<Arc<GymLog>, Failure> {
        let log = {
            let mut entry = self.gyms.entry(gym).or_default();
            match entry.upgrade() {
                Some(log) => log,
                None => {
                    let log = GymLog::new(gym, &self.recovery);
                    *entry = Arc::downgrade(&log);
                    log
                }
            }
        };
        self.broker.listen(gym);
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
        let (gym, account) = connection
            .session()
            .map(|s| (s.log.to_string(), s.user.to_string()))
            .unzip();
        tracing::info!(
            connection.id,
            gym.id = gym,
            account.id = account,
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

    /// Gyms whose changes are put in order here.
    #[must_use]
    pub fn gyms_served(&self) -> usize {
        self.logs().len()
    }

    /// Whether this node can reach its broker; a local one always.
    #[must_use]
    pub fn broker_is_up(&self) -> bool {
        self.broker.is_up()
    }

    /// Hands a change to its gym's sequencer, where the gym has sockets here.
    fn take(&self, change: Committed) {
        let log = self.gyms.get(&change.log).and_then(|l| l.upgrade());
        if let Some(log) = log {
            log.offer(change);
        }
    }

    /// The sequencers that run, dropping those that have ended.
    fn logs(&self) -> Vec<(LogId, Arc<GymLog>)> {
        self.gyms.retain(|_, log| log.strong_count() > 0);
        self.gyms
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
