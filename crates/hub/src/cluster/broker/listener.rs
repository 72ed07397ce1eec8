//! The listener of a line: the only task that subscribes on its server, so that subscribe and unsubscribe commands
//! cannot overtake each other. It publishes a probe to one of its channels every second and expects it back, to detect
//! a connection that no longer receives.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, PushInfo, PushKind, Value};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::health::Health;
use super::{BrokerInner, Verbs, channel_of, link, log_of};
use crate::HubInner;
use crate::cluster::keyring::Kind;
use crate::cluster::wire::{self, NodeMessage};
use crate::ids::LogId;

/// Interval between probes; the channels take turns.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How soon a probe must come back.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// Backoff after a failed connection: first and largest pause.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// See the module.
pub(crate) struct Listener {
    pub info: ConnectionInfo,
    pub verbs: Verbs,
    pub shared: Arc<BrokerInner>,
    pub hub: Weak<HubInner>,
    pub health: Arc<Health>,
}

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
enum Deaf {
    #[error("{0}")]
    Redis(#[from] redis::RedisError),
    #[error("the connection ended")]
    Disconnected,
    #[error("the server ended a subscription")]
    Unsubscribed,
    #[error("a probe did not come back")]
    Probe,
    #[error("the line has ended")]
    Unwanted,
}

/// The subscriptions of a connection, and the probe under way.
#[derive(Default)]
struct Ears {
    channels: BTreeSet<LogId>,
    probed: Option<LogId>,
    number: u64,
    sent: Option<Instant>,
}

impl Listener {
    /// Listens until its line ends, reconnecting after every failure.
    pub async fn run(self, mut wanted: watch::Receiver<BTreeSet<LogId>>) {
        let counters = &self.shared.counters;
        let mut again_after = AGAIN_AFTER.0;
        let mut warned = false;
        loop {
            let began = Instant::now();
            let deaf = match link::listen(&self.info, counters).await {
                Ok((redis, pushes)) => self.serve(redis, pushes, &mut wanted).await,
                Err(error) => error.into(),
            };
            if matches!(deaf, Deaf::Unwanted) {
                return;
            }
            self.health.listening.store(false, Ordering::Relaxed);
            counters.lost_connections.inc();
            self.shared.trouble.notify_one();
            // Warns once per outage; losing a connection that held for a while is a new outage.
            let held = began.elapsed() > AGAIN_AFTER.1 * 2;
            if held || !warned {
                warned = true;
                tracing::warn!(redis.server = link::name(&self.info), error.cause = %deaf, "not listening to Redis; reconnecting");
            }
            again_after = if held {
                AGAIN_AFTER.0
            } else {
                (again_after * 2).min(AGAIN_AFTER.1)
            };
            tokio::time::sleep(again_after.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }

    async fn serve(
        &self,
        mut redis: MultiplexedConnection,
        mut pushes: mpsc::Receiver<PushInfo>,
        wanted: &mut watch::Receiver<BTreeSet<LogId>>,
    ) -> Deaf {
        let mut ears = Ears::default();
        let mut tick = tokio::time::interval(PROBE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        wanted.mark_changed();
        loop {
            let step = tokio::select! {
                // Pushes first: a confirmation must be compared with the channels that were wanted when it was
                // requested.
                biased;
                push = pushes.recv() => match push {
                    Some(push) => self.hear(&push, &mut ears),
                    None => Err(Deaf::Disconnected),
                },
                changed = wanted.changed() => match changed {
                    Ok(()) => {
                        let wanted = wanted.borrow_and_update().clone();
                        self.reconcile(&mut redis, &mut ears, &wanted).await
                    }
                    Err(_) => Err(Deaf::Unwanted),
                },
                _ = tick.tick() => self.probe(&mut redis, &mut ears).await,
            };
            if let Err(deaf) = step {
                return deaf;
            }
        }
    }

    /// Subscribes and unsubscribes until the subscriptions are the wanted ones.
    async fn reconcile(
        &self,
        redis: &mut MultiplexedConnection,
        ears: &mut Ears,
        wanted: &BTreeSet<LogId>,
    ) -> Result<(), Deaf> {
        let new: Vec<LogId> = wanted.difference(&ears.channels).copied().collect();
        let old: Vec<LogId> = ears.channels.difference(wanted).copied().collect();
        // One command per channel, because a cluster accepts only channels of one slot per command.
        let mut commands = redis::pipe();
        for log in &new {
            commands.cmd(self.verbs.subscribe).arg(channel_of(*log));
        }
        for log in &old {
            commands.cmd(self.verbs.unsubscribe).arg(channel_of(*log));
        }
        // Set before the answer arrives, so that a confirmation that comes as a push is recognised.
        ears.channels.clone_from(wanted);
        let counters = &self.shared.counters;
        if !new.is_empty() || !old.is_empty() {
            counters.trips.inc();
            commands.exec_async(redis).await?;
        }
        counters.subscribed.inc_by(new.len() as u64);
        counters.unsubscribed.inc_by(old.len() as u64);
        self.health.listening.store(true, Ordering::Relaxed);
        // Changes published before the subscription began are in the log only.
        if let Some(hub) = self.hub.upgrade()
            && !new.is_empty()
        {
            hub.sweep_soon();
        }
        Ok(())
    }

    fn hear(&self, push: &PushInfo, ears: &mut Ears) -> Result<(), Deaf> {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                if let [Value::BulkString(channel), Value::BulkString(message)] = &push.data[..] {
                    self.take(channel, message, ears);
                }
                Ok(())
            }
            // Not requested by this node, as when a slot moves. The client library would take it for a command's
            // answer.
            PushKind::Unsubscribe | PushKind::SUnsubscribe if ears.still_want(&push.data) => Err(Deaf::Unsubscribed),
            PushKind::Disconnection => Err(Deaf::Disconnected),
            _ => Ok(()),
        }
    }

    /// Takes a message if a node has sealed it for this channel. Redis is not trusted: whoever can publish there could
    /// otherwise make screens show what never happened.
    fn take(&self, channel: &[u8], message: &[u8], ears: &mut Ears) {
        let counters = &self.shared.counters;
        let keyring = &self.shared.keyring;
        let Some(message) = keyring.open(Kind::Message, &[channel], message) else {
            return;
        };
        match wire::decode(message) {
            // A replay is harmless: the sequencer drops numbers that it has delivered, and other epochs.
            Some((node, NodeMessage::Change(change))) if node != self.shared.node => {
                counters.received.inc();
                if let Some(hub) = self.hub.upgrade() {
                    hub.take(change);
                }
            }
            Some((node, NodeMessage::Probe(number))) if node == self.shared.node && number == ears.number => {
                ears.sent = None;
            }
            Some(_) => {}
            None => keyring.refuse(Kind::Message),
        }
    }

    /// Sends the next probe, unless one is under way.
    async fn probe(&self, redis: &mut MultiplexedConnection, ears: &mut Ears) -> Result<(), Deaf> {
        let counters = &self.shared.counters;
        let sent = match ears.sent {
            Some(sent) if sent.elapsed() < PROBE_WITHIN => return Ok(()),
            Some(_) => Err(Deaf::Probe),
            None => self.send_probe(redis, ears).await.map_err(Deaf::from),
        };
        if sent.is_err() {
            counters.probe_failures.inc();
        }
        sent
    }

    async fn send_probe(&self, redis: &mut MultiplexedConnection, ears: &mut Ears) -> redis::RedisResult<()> {
        self.shared.counters.probes.inc();
        self.shared.counters.trips.inc();
        let Some(log) = ears.next() else {
            return redis::cmd("PING").exec_async(redis).await;
        };
        ears.number += 1;
        ears.sent = Some(Instant::now());
        let mut command = redis::cmd(self.verbs.publish);
        let probe = wire::encode_probe(self.shared.node, ears.number);
        command.arg(channel_of(log)).arg(self.shared.seal(log, &probe));
        command.exec_async(redis).await
    }
}

impl Ears {
    /// Returns the channel to probe next.
    fn next(&mut self) -> Option<LogId> {
        let after = self.probed.map_or(Bound::Unbounded, Bound::Excluded);
        self.probed = self
            .channels
            .range((after, Bound::Unbounded))
            .next()
            .or_else(|| self.channels.first())
            .copied();
        self.probed
    }

    /// True if the unsubscribed channel is still wanted.
    fn still_want(&self, push: &[Value]) -> bool {
        let Some(Value::BulkString(channel)) = push.first() else {
            return false;
        };
        log_of(channel).is_some_and(|log| self.channels.contains(&log))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_take_turns_over_all_channels() {
        let mut logs = [LogId::random(), LogId::random(), LogId::random()];
        logs.sort_unstable();
        let mut ears = Ears::default();
        assert_eq!(ears.next(), None);
        ears.channels = logs.into_iter().collect();
        let turns: Vec<_> = (0..6).filter_map(|_| ears.next()).collect();
        assert_eq!(turns, [logs, logs].concat());
        ears.channels.remove(&logs[2]);
        assert_eq!(ears.next(), Some(logs[0]));
    }
}
