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
//! It knows no noun: what a channel shows and who may watch it comes in as a [`table::Table`].

pub mod broker;
pub mod commands;
mod connect;
pub mod connection;
pub mod counters;
pub mod door;
mod drain;
pub mod encoded;
pub mod endpoint;
pub mod frame;
mod handing_on;
pub mod histogram;
mod memory;
pub mod outbox;
pub mod overview;
pub mod pace;
pub mod presence;
pub mod protocol;
mod queries;
pub mod reader;
pub mod registry;
mod rights;
pub mod sequencer;
mod shared;
pub mod socket;
mod state;
pub mod stream;
mod subscribe;
pub mod subscription;
pub mod sweep;
pub mod table;
pub mod wire;

use std::ops::Deref;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::clock::Clock;
use crate::config::{LiveLimits, Recovery};
use crate::db::Pool;
use crate::error::Result;
use crate::events::Committed;
use crate::ids::GymId;

use broker::Broker;
use connection::Connection;
use counters::{Counters, NO_CLOSE};
use door::Door;
use protocol::close::Close;
use registry::Registry;
use sequencer::GymLog;
use shared::Shared;
use state::{Missing, Since, State, Watched};
use table::Table;

/// How long a connect or subscribe waits for its turn: SDKs give up after 5 s.
const TURN_WITHIN: Duration = Duration::from_secs(3);

/// A shared handle on the hub.
#[derive(Clone)]
pub struct Hub(Arc<HubInner>);

/// What the hub holds.
pub struct HubInner {
    /// This node.
    pub node: String,
    limits: LiveLimits,
    recovery: Recovery,
    pool: Pool,
    clock: Clock,
    runtime: tokio::runtime::Handle,
    table: Table,
    registry: Arc<Registry>,
    door: Arc<Door>,
    turns: Semaphore,
    gyms: DashMap<GymId, Weak<GymLog>>,
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
    /// Starts the hub's tasks on the runtime that calls this.
    ///
    /// # Errors
    /// A `REDIS_URL` that is none. A Redis that cannot be reached is waited for without holding anything up.
    pub fn start(
        limits: LiveLimits,
        recovery: Recovery,
        pool: Pool,
        clock: Clock,
        table: Table,
        redis_url: Option<&str>,
    ) -> anyhow::Result<Self> {
        let node = uuid::Uuid::new_v4();
        let door = Door::new(&limits, open_files());
        let turns = Semaphore::new(limits.reads_at_once.max(1));
        let counters = Arc::<Counters>::default();
        let broker = Broker::new(redis_url, node, counters.broker.clone())?;
        let hub = Self(Arc::new(HubInner {
            node: node.to_string(),
            limits,
            recovery,
            pool,
            clock,
            runtime: tokio::runtime::Handle::current(),
            table,
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
        }));
        hub.runtime.spawn(sweep::run(Arc::downgrade(&hub.0)));
        hub.runtime.spawn(presence::run(Arc::downgrade(&hub.0)));
        hub.broker.start(&Arc::downgrade(&hub.0));
        if let Some(leases) = hub.broker.leases() {
            hub.runtime.spawn(presence::exchange(Arc::downgrade(&hub.0), leases));
        }
        Ok(hub)
    }

    /// Takes a change that this node has committed: to its own sockets and to the other nodes. Never waits.
    pub fn committed(&self, change: Committed) {
        self.broker.publish(&change);
        self.take(change);
    }

    /// The sequencer of a gym, started.
    pub async fn gym(&self, gym: GymId) -> Result<Arc<GymLog>> {
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
        log.ensure_started(&self.0).await?;
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
            .map(|s| (s.caller.gym.to_string(), s.caller.account.to_string()))
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
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.turns.acquire()).await;
        turn.ok()?.ok()
    }

    /// What the nouns answer for.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
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
        let log = self.gyms.get(&change.gym).and_then(|l| l.upgrade());
        if let Some(log) = log {
            log.offer(change);
        }
    }

    /// The sequencers that run, dropping those that have ended.
    fn logs(&self) -> Vec<(GymId, Arc<GymLog>)> {
        self.gyms.retain(|_, log| log.strong_count() > 0);
        self.gyms
            .iter()
            .filter_map(|e| e.value().upgrade().map(|log| (*e.key(), log)))
            .collect()
    }
}

/// How many files this process may open.
fn open_files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit
        .current
        .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
}
