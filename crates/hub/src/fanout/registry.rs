//! Who is connected and who watches what on this node: the in-memory L1. An entry is made with a guard whose `Drop` is
//! the only way out. No map guard is ever held over an await.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dashmap::DashMap;

use crate::counters::Counters;
use crate::fanout::encoded::{Bundle, Encoded};
use crate::fanout::subscription::{Handed, Subscription};
use crate::ids::{LogId, UserId};
use crate::log::sequencer::GymLog;
use crate::protocol::ClientInfo;
use crate::session::connection::Connection;

/// The maps. A channel's key has its gym, which comes from the token: another gym's channel cannot be named.
pub struct Registry {
    counters: Arc<Counters>,
    channels: DashMap<(LogId, Arc<str>), Watching>,
    accounts: DashMap<(LogId, UserId), Vec<Arc<Connection>>>,
    /// How many sockets a gym has.
    gyms: DashMap<LogId, usize>,
}

/// Who watches a channel. Whoever delivers takes the list as it is and holds no lock; it is copied only where it changes
/// meanwhile.
type Watching = Arc<Vec<Arc<Subscription>>>;

/// Deliveries after which others on the same thread get a turn.
const TURN: usize = 256;

/// A subscription's place in the registry.
pub struct SubscriptionGuard {
    registry: Arc<Registry>,
    gym: LogId,
    /// The subscription.
    pub subscription: Arc<Subscription>,
    /// The sequencer that feeds it, kept alive by it.
    _log: Arc<GymLog>,
}

/// A connection's place in the registry.
pub struct ConnectionGuard {
    registry: Arc<Registry>,
    gym: LogId,
    account: UserId,
    connection: Arc<Connection>,
}

impl Registry {
    /// An empty one, which counts what it hands on.
    #[must_use]
    pub fn new(counters: Arc<Counters>) -> Self {
        Self {
            counters,
            channels: DashMap::new(),
            accounts: DashMap::new(),
            gyms: DashMap::new(),
        }
    }

    /// Enters a subscription.
    #[must_use]
    pub fn subscribe(
        self: &Arc<Self>,
        gym: LogId,
        subscription: Arc<Subscription>,
        log: Arc<GymLog>,
    ) -> SubscriptionGuard {
        let mut there = self.channels.entry((gym, subscription.channel.clone())).or_default();
        Arc::make_mut(&mut there).push(subscription.clone());
        drop(there);
        SubscriptionGuard {
            registry: self.clone(),
            gym,
            subscription,
            _log: log,
        }
    }

    /// Enters a connection once its account is known; none where its gym has `bound` sockets.
    #[must_use]
    pub fn connect(
        self: &Arc<Self>,
        gym: LogId,
        account: UserId,
        connection: Arc<Connection>,
        bound: usize,
    ) -> Option<ConnectionGuard> {
        {
            let mut sockets = self.gyms.entry(gym).or_default();
            if *sockets >= bound {
                return None;
            }
            *sockets += 1;
        }
        self.accounts
            .entry((gym, account))
            .or_default()
            .push(connection.clone());
        Some(ConnectionGuard {
            registry: self.clone(),
            gym,
            account,
            connection,
        })
    }

    fn watching(&self, gym: LogId, channel: &Arc<str>) -> Watching {
        let there = self.channels.get(&(gym, channel.clone()));
        there.map(|there| there.clone()).unwrap_or_default()
    }

    /// How many watch a channel.
    #[must_use]
    pub fn width(&self, gym: LogId, channel: &Arc<str>) -> usize {
        self.channels
            .get(&(gym, channel.clone()))
            .map_or(0, |there| there.len())
    }

    /// Hands a message to all who watch its channel, and returns to how many connections.
    pub fn deliver(&self, gym: LogId, channel: &Arc<str>, message: Encoded) -> u64 {
        let bundle = Bundle::from(message);
        let mut handed = Handed::default();
        for subscription in self.watching(gym, channel).iter() {
            handed.add(subscription.deliver(&bundle));
        }
        self.count(handed);
        handed.frames
    }

    /// Hands messages to all who watch their channel, and returns how many frames they are. Others get a turn in between.
    pub async fn deliver_all(&self, gym: LogId, channel: &Arc<str>, bundle: &Bundle) -> u64 {
        let mut all = 0;
        for part in self.watching(gym, channel).chunks(TURN) {
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
            self.counters.deliveries.add(handed.frames);
            self.counters.delivered_bytes.add(handed.bytes);
        }
        if handed.lost > 0 {
            self.counters.lost_channels.add(handed.lost);
        }
    }

    /// The connections here that watch a channel.
    #[must_use]
    pub fn watchers(&self, gym: LogId, channel: &Arc<str>) -> Vec<Arc<ClientInfo>> {
        self.channels
            .get(&(gym, channel.clone()))
            .map_or_else(Vec::new, |there| {
                there.iter().filter_map(|s| s.watcher().cloned()).collect()
            })
    }

    /// The subscriptions of a gym.
    #[must_use]
    pub fn subscriptions_of(&self, gym: LogId) -> Vec<Arc<Subscription>> {
        self.channels
            .iter()
            .filter(|e| e.key().0 == gym)
            .flat_map(|e| e.value().to_vec())
            .collect()
    }

    /// The channels of a gym that somebody here watches, and how many do.
    #[must_use]
    pub fn channels_of(&self, gym: LogId) -> Vec<(Arc<str>, usize)> {
        self.channels
            .iter()
            .filter(|e| e.key().0 == gym)
            .map(|e| (e.key().1.clone(), e.len()))
            .collect()
    }

    /// The connections of an account, the oldest first.
    #[must_use]
    pub fn connections_of(&self, gym: LogId, account: UserId) -> Vec<Arc<Connection>> {
        self.accounts
            .get(&(gym, account))
            .map(|c| c.clone())
            .unwrap_or_default()
    }

    /// The connections of a gym.
    #[must_use]
    pub fn connections_in(&self, gym: LogId) -> Vec<Arc<Connection>> {
        self.accounts
            .iter()
            .filter(|e| e.key().0 == gym)
            .flat_map(|e| e.value().clone())
            .collect()
    }

    /// Every connection whose account is known.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.accounts.iter().flat_map(|e| e.value().clone()).collect()
    }

    /// The accounts that have a socket here, by gym.
    #[must_use]
    pub fn accounts(&self) -> HashMap<LogId, HashSet<UserId>> {
        let mut accounts: HashMap<LogId, HashSet<UserId>> = HashMap::new();
        for entry in &self.accounts {
            let (gym, account) = *entry.key();
            accounts.entry(gym).or_default().insert(account);
        }
        accounts
    }

    /// Sockets whose account is known, and subscriptions.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (
            self.accounts.iter().map(|e| e.len()).sum(),
            self.channels.iter().map(|e| e.len()).sum(),
        )
    }
}

impl SubscriptionGuard {
    /// The log of its channel.
    pub(crate) fn log(&self) -> LogId {
        self.gym
    }
}

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        self.subscription.end();
        let key = (self.gym, self.subscription.channel.clone());
        if let Some(mut there) = self.registry.channels.get_mut(&key) {
            Arc::make_mut(&mut there).retain(|s| !Arc::ptr_eq(s, &self.subscription));
        }
        // In a statement of its own: the guard above is gone.
        self.registry.channels.remove_if(&key, |_, there| there.is_empty());
        if let Some(who) = self.subscription.left() {
            self.registry.deliver(self.gym, &key.1, Encoded::leave(&key.1, who));
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let key = (self.gym, self.account);
        if let Some(mut there) = self.registry.accounts.get_mut(&key) {
            there.retain(|c| !Arc::ptr_eq(c, &self.connection));
        }
        self.registry.accounts.remove_if(&key, |_, there| there.is_empty());
        if let Some(mut sockets) = self.registry.gyms.get_mut(&self.gym) {
            *sockets -= 1;
        }
        self.registry.gyms.remove_if(&self.gym, |_, sockets| *sockets == 0);
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
        let gym = LogId::random();
        let log = GymLog::new(gym, &Recovery::default());
        let channel: Arc<str> = "plan:x".into();
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
            let guard = registry.subscribe(gym, subscription.clone(), log.clone());
            assert!(subscription.go_live(0).is_some());
            guard
        };
        // The first has room for one frame, which nobody takes; the second for all of them.
        let _guards = [watching(size), watching(100 * size)];
        assert_eq!(registry.deliver(gym, &channel, message(1)), 2);
        assert_eq!(registry.deliver(gym, &channel, message(2)), 1);
        assert_eq!(registry.deliver(gym, &channel, message(3)), 1);
        assert_eq!(registry.deliver(LogId::random(), &channel, message(4)), 0);
        assert_eq!((counters.deliveries.get(), counters.lost_channels.get()), (4, 1));
        assert_eq!(counters.delivered_bytes.get(), 4 * size as u64);
    }
}
