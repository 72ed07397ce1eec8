//! The line to one Redis server: publishes changes there and listens to it. Each server has its own, so that one that
//! hangs delays no other.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use redis::ConnectionInfo;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::health::Health;
use super::link::{self, Link};
use super::listener::Listener;
use super::{BrokerCounters, BrokerInner, Verbs, channel_of};
use crate::HubInner;
use crate::ids::LogId;

/// Capacity of the queue in messages. Further ones are dropped, and the other nodes' sweeps find their changes.
const OUTBOX: usize = 4096;
/// Largest number of messages per round trip.
const BATCH: usize = 256;

/// A message to publish.
pub(crate) struct Outgoing {
    pub log: LogId,
    pub bytes: Vec<u8>,
    pub committed_at: Option<Instant>,
}

/// The line to one server; dropping it ends its tasks.
pub(crate) struct Line {
    /// The server's address.
    pub name: String,
    /// A connection for commands other than publishing.
    pub commands: Link,
    outbox: mpsc::Sender<Outgoing>,
    wanted: watch::Sender<BTreeSet<LogId>>,
    health: Arc<Health>,
    tasks: [AbortHandle; 2],
}

impl Line {
    /// Starts the tasks of a line.
    pub fn start(info: &ConnectionInfo, verbs: Verbs, shared: &Arc<BrokerInner>, hub: &Weak<HubInner>) -> Self {
        let (outbox, to_publish) = mpsc::channel(OUTBOX);
        let (wanted, wants) = watch::channel(BTreeSet::new());
        let health = Arc::<Health>::default();
        let listener = Listener {
            info: info.clone(),
            verbs,
            shared: shared.clone(),
            hub: hub.clone(),
            health: health.clone(),
        };
        let publisher = Publisher {
            link: Link::new(info.clone(), &shared.counters),
            verbs,
            shared: shared.clone(),
            health: health.clone(),
        };
        Self {
            name: link::name(info),
            commands: Link::new(info.clone(), &shared.counters),
            outbox,
            wanted,
            health,
            tasks: [
                tokio::spawn(listener.run(wants)).abort_handle(),
                tokio::spawn(publisher.run(to_publish)).abort_handle(),
            ],
        }
    }

    /// Queues a message without waiting; drops it if the queue is full.
    pub fn publish(&self, message: Outgoing, counters: &BrokerCounters) {
        if self.outbox.try_send(message).is_err() {
            counters.dropped.inc();
        }
    }

    /// Listens to the channels of exactly these logs.
    pub fn want(&self, logs: BTreeSet<LogId>) {
        self.wanted.send_if_modified(|wanted| {
            let new = *wanted != logs;
            *wanted = logs;
            new
        });
    }

    /// True if messages published here arrive, as far as is known.
    pub fn is_up(&self) -> bool {
        self.health.listening.load(Ordering::Relaxed) && !self.health.not_publishing.load(Ordering::Relaxed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Publishes queued messages, many per round trip.
struct Publisher {
    link: Link,
    verbs: Verbs,
    shared: Arc<BrokerInner>,
    health: Arc<Health>,
}

impl Publisher {
    async fn run(self, mut queue: mpsc::Receiver<Outgoing>) {
        let (mut batch, mut committed) = (Vec::new(), Vec::new());
        while queue.recv_many(&mut batch, BATCH).await > 0 {
            let mut commands = redis::pipe();
            let count = batch.len() as u64;
            for message in batch.drain(..) {
                committed.extend(message.committed_at);
                let command = commands.cmd(self.verbs.publish);
                command.arg(channel_of(message.log)).arg(message.bytes).ignore();
            }
            let result: redis::RedisResult<()> = self.link.query(&commands).await;
            let counters = &self.shared.counters;
            match &result {
                Ok(()) => counters.published.inc_by(count),
                Err(_) => counters.unpublished.inc_by(count),
            };
            let failed = result.is_err();
            for at in committed.drain(..).filter(|_| !failed) {
                counters.publish_seconds.observe(at.elapsed(), 1);
            }
            if let Err(error) = result {
                self.shared.trouble.notify_one();
                if !self.health.not_publishing.load(Ordering::Relaxed) {
                    tracing::warn!(error.cause = %error, "cannot publish; other nodes find changes by their sweeps");
                }
            }
            self.health.not_publishing.store(failed, Ordering::Relaxed);
        }
    }
}
