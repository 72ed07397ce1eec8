//! Who watches what on this node. An entry is made with a guard whose `Drop` is the only way out. No map guard is ever held
//! over an await.

use std::sync::Arc;

use dashmap::DashMap;

use crate::counters::Counters;
use crate::fanout::encoded::{Bundle, Encoded};
use crate::fanout::subscription::{Handed, Subscription};
use crate::ids::LogId;
use crate::log::sequencer::SequencedLog;
use crate::protocol::ClientInfo;

/// Who watches which channel. A channel's key has its log, which comes from the token: another log's channel cannot be named.
pub struct Registry {
    counters: Arc<Counters>,
    channels: DashMap<(LogId, Arc<str>), Watching>,
}

/// Who watches a channel. Whoever delivers takes the list as it is and holds no lock; it is copied only where it changes
/// meanwhile.
type Watching = Arc<Vec<Arc<Subscription>>>;

/// Deliveries after which others on the same thread get a turn.
const TURN: usize = 256;

/// A subscription's place in the registry.
pub struct SubscriptionGuard {
    registry: Arc<Registry>,
    log: LogId,
    /// The subscription.
    pub subscription: Arc<Subscription>,
    /// The sequencer that feeds it, kept alive by it.
    _feed: Arc<SequencedLog>,
}

impl Registry {
    /// An empty one, which counts what it hands on.
    #[must_use]
    pub fn new(counters: Arc<Counters>) -> Self {
        Self {
            counters,
            channels: DashMap::new(),
        }
    }

    /// Enters a subscription.
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

    /// How many watch a channel.
    #[must_use]
    pub fn width(&self, log: LogId, channel: &Arc<str>) -> usize {
        self.channels
            .get(&(log, channel.clone()))
            .map_or(0, |there| there.len())
    }

    /// Hands a message to all who watch its channel, and returns to how many connections.
    pub fn deliver(&self, log: LogId, channel: &Arc<str>, message: Encoded) -> u64 {
        let bundle = Bundle::from(message);
        let mut handed = Handed::default();
        for subscription in self.watching(log, channel).iter() {
            handed.add(subscription.deliver(&bundle));
        }
        self.count(handed);
        handed.frames
    }

    /// Hands messages to all who watch their channel, and returns how many frames they are. Others get a turn in between.
    pub async fn deliver_all(&self, log: LogId, channel: &Arc<str>, bundle: &Bundle) -> u64 {
        let mut all = 0;
        for part in self.watching(log, channel).chunks(TURN) {
            let mut handed = Handed::default();
            for subscription in part {
                handed.add(subscription.deliver(bundle));
            }
            // Counted once for many, so that a delivery costs no more for it.
            self.count(handed);
            all += handed.frames;
            if part.len() == TURN {
                tokio::task::yield_now().await;
            }
        }
        all
    }

    /// Counts what was handed to connections.
    pub fn count(&self, handed: Handed) {
        if handed.frames > 0 {
            self.counters.deliveries.inc_by(handed.frames);
            self.counters.delivered_bytes.inc_by(handed.bytes);
        }
        if handed.lost > 0 {
            self.counters.lost_channels.inc_by(handed.lost);
        }
    }

    /// The connections here that watch a channel.
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

    /// The channels of a log that somebody here watches, and how many do.
    #[must_use]
    pub fn channels_of(&self, log: LogId) -> Vec<(Arc<str>, usize)> {
        self.channels
            .iter()
            .filter(|e| e.key().0 == log)
            .map(|e| (e.key().1.clone(), e.len()))
            .collect()
    }

    /// How many subscriptions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.iter().map(|e| e.len()).sum()
    }

    /// Whether nobody watches anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }
}

impl SubscriptionGuard {
    /// The log of its channel.
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
        // In a statement of its own: the guard above is gone.
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
    fn what_is_handed_on_and_who_is_too_slow_is_counted_once_for_all() {
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
        // The first has room for one frame, which nobody takes; the second for all of them.
        let _guards = [watching(size), watching(100 * size)];
        assert_eq!(registry.deliver(log, &channel, message(1)), 2);
        assert_eq!(registry.deliver(log, &channel, message(2)), 1);
        assert_eq!(registry.deliver(log, &channel, message(3)), 1);
        assert_eq!(registry.deliver(LogId::random(), &channel, message(4)), 0);
        assert_eq!((counters.deliveries.get(), counters.lost_channels.get()), (4, 1));
        assert_eq!(counters.delivered_bytes.get(), 4 * size as u64);
    }
}
