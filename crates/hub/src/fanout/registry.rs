//! The registry: all subscriptions on this node, by channel. An entry is made with a guard, and only the guard's `Drop`
//! removes it. No map guard is held over an await.

use std::sync::Arc;

use dashmap::DashMap;

use crate::counters::Counters;
use crate::fanout::encoded::{Bundle, Encoded};
use crate::fanout::subscription::{Handed, Subscription};
use crate::ids::LogId;
use crate::log::sequencer::SequencedLog;
use crate::protocol::ClientInfo;

/// Subscriptions by log and channel. The log comes from the client's token, so a client cannot name a channel of
/// another log.
pub struct Registry {
    counters: Arc<Counters>,
    channels: DashMap<(LogId, Arc<str>), Watching>,
}

/// The subscriptions of a channel. A delivery clones the `Arc` and holds no lock; the list is copied only if it changes
/// during a delivery.
type Watching = Arc<Vec<Arc<Subscription>>>;

/// Deliveries after which the task yields to others on its thread.
const TURN: usize = 256;

/// A subscription's entry in the registry; dropping it ends the subscription.
pub struct SubscriptionGuard {
    registry: Arc<Registry>,
    log: LogId,
    /// The subscription.
    pub subscription: Arc<Subscription>,
    /// Keeps the sequencer that feeds the subscription alive.
    _feed: Arc<SequencedLog>,
}

impl Registry {
    /// Creates an empty registry that counts deliveries.
    #[must_use]
    pub fn new(counters: Arc<Counters>) -> Self {
        Self {
            counters,
            channels: DashMap::new(),
        }
    }

    /// Adds a subscription.
    #[must_use]
    pub fn subscribe(
        self: &Arc<Self>,
        log: LogId,
        subscription: Arc<Subscription>,
        feed: Arc<SequencedLog>,
    ) -> SubscriptionGuard {
        let mut there = self.channels.entry((log, subscription.channel.clone())).or_default();
        Arc::make_mut(&mut there).push(subscription.clone());
        drop(there);
        SubscriptionGuard {
            registry: self.clone(),
            log,
            subscription,
            _feed: feed,
        }
    }

    fn watching(&self, log: LogId, channel: &Arc<str>) -> Watching {
        let there = self.channels.get(&(log, channel.clone()));
        there.map(|there| there.clone()).unwrap_or_default()
    }

    /// The number of a channel's subscribers on this node.
    #[must_use]
    pub fn width(&self, log: LogId, channel: &Arc<str>) -> usize {
        self.channels
            .get(&(log, channel.clone()))
            .map_or(0, |there| there.len())
    }

    /// Delivers a message to all subscribers of its channel, and returns the number of frames accepted.
    pub fn deliver(&self, log: LogId, channel: &Arc<str>, message: Encoded) -> u64 {
        let bundle = Bundle::from(message);
        let mut handed = Handed::default();
        for subscription in self.watching(log, channel).iter() {
            handed.add(subscription.deliver(&bundle));
        }
        self.count(handed);
        handed.frames
    }

    /// Delivers a bundle to all subscribers of its channel, and returns the number of frames accepted. Yields to other
    /// tasks in between.
    pub async fn deliver_all(&self, log: LogId, channel: &Arc<str>, bundle: &Bundle) -> u64 {
        let mut all = 0;
        for part in self.watching(log, channel).chunks(TURN) {
            let mut handed = Handed::default();
            for subscription in part {
                handed.add(subscription.deliver(bundle));
            }
            // Counted once per part, so that the shared counters add nothing to the cost of a delivery.
            self.count(handed);
            all += handed.frames;
            if part.len() == TURN {
                tokio::task::yield_now().await;
            }
        }
        all
    }

    /// Adds to the node's counters of deliveries.
    pub fn count(&self, handed: Handed) {
        if handed.frames > 0 {
            self.counters.deliveries.inc_by(handed.frames);
            self.counters.delivered_bytes.inc_by(handed.bytes);
        }
        if handed.lost > 0 {
            self.counters.lost_channels.inc_by(handed.lost);
        }
    }

    /// The connections on this node that are subscribed to a channel.
    #[must_use]
    pub fn watchers(&self, log: LogId, channel: &Arc<str>) -> Vec<Arc<ClientInfo>> {
        self.channels
            .get(&(log, channel.clone()))
            .map_or_else(Vec::new, |there| {
                there.iter().filter_map(|s| s.watcher().cloned()).collect()
            })
    }

    /// The subscriptions of a log.
    #[must_use]
    pub fn subscriptions_of(&self, log: LogId) -> Vec<Arc<Subscription>> {
        self.channels
            .iter()
            .filter(|e| e.key().0 == log)
            .flat_map(|e| e.value().to_vec())
            .collect()
    }

    /// The channels of a log that have subscribers on this node, with their numbers of subscribers.
    #[must_use]
    pub fn channels_of(&self, log: LogId) -> Vec<(Arc<str>, usize)> {
        self.channels
            .iter()
            .filter(|e| e.key().0 == log)
            .map(|e| (e.key().1.clone(), e.len()))
            .collect()
    }

    /// The number of subscriptions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.iter().map(|e| e.len()).sum()
    }

    /// True if there is no subscription.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }
}

impl SubscriptionGuard {
    /// The log of the subscription's channel.
    pub(crate) fn log(&self) -> LogId {
        self.log
    }
}

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        self.subscription.end();
        let key = (self.log, self.subscription.channel.clone());
        if let Some(mut there) = self.registry.channels.get_mut(&key) {
            Arc::make_mut(&mut there).retain(|s| !Arc::ptr_eq(s, &self.subscription));
        }
        // A statement of its own, because the map guard above must be dropped first.
        self.registry.channels.remove_if(&key, |_, there| there.is_empty());
        if let Some(who) = self.subscription.left() {
            self.registry.deliver(self.log, &key.1, Encoded::leave(&key.1, who));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::subscription::Recipient;
    use crate::limits::Recovery;
    use crate::protocol::Codec;
    use crate::ws::outbox::Outbox;

    #[test]
    fn deliveries_and_slow_subscribers_are_counted() {
        let counters = Arc::<Counters>::default();
        let registry = Arc::new(Registry::new(counters.clone()));
        let log = LogId::random();
        let feed = SequencedLog::new(log, &Recovery::default());
        let channel: Arc<str> = "room:x".into();
        let message = |offset| Encoded::publication(&channel, &bytes::Bytes::from_static(b"{}"), offset);
        let size = message(1).frame(Codec::Json).len();
        let watching = |bound| {
            let to = Recipient {
                number: 1,
                codec: Codec::Json,
                outbox: Outbox::new(bound, None),
                info: Arc::default(),
            };
            let subscription = Subscription::new(channel.clone(), false, to);
            let guard = registry.subscribe(log, subscription.clone(), feed.clone());
            assert!(subscription.go_live(0).is_some());
            guard
        };
        // The first outbox has room for one frame and is never read; the second has room for all frames.
        let _guards = [watching(size), watching(100 * size)];
        assert_eq!(registry.deliver(log, &channel, message(1)), 2);
        assert_eq!(registry.deliver(log, &channel, message(2)), 1);
        assert_eq!(registry.deliver(log, &channel, message(3)), 1);
        assert_eq!(registry.deliver(LogId::random(), &channel, message(4)), 0);
        assert_eq!((counters.deliveries.get(), counters.lost_channels.get()), (4, 1));
        assert_eq!(counters.delivered_bytes.get(), 4 * size as u64);
    }
}
