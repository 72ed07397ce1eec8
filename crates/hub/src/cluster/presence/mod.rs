//! Presence: a user is online with a socket on this node or, by the leases in Redis, on another node. Changes of
//! presence go to the channels that show them as notices: they are not stored and have no offset. An arrival is
//! published at once. A departure is published after a debounce, so that a reconnect does not flicker.
//!
//! A new subscriber's first presence state is exactly what existing subscribers were last sent, so later notices fit
//! it.

mod shown;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::HubInner;
use crate::backend::{Backend, Failure, PresenceChange, WhoIsOnline};
use crate::cluster::broker::Leases;
use crate::fanout::encoded::Encoded;
use crate::ids::{LogId, UserId};
use shown::{Now, Shown};

/// Interval between two rounds of publishing changes and of renewing leases.
const EVERY: Duration = Duration::from_secs(1);
/// Pause between two rounds when somebody comes online.
const PAUSE: Duration = Duration::from_millis(200);

/// The presence that subscribers were last sent.
#[derive(Default)]
pub struct Presence {
    logs: DashMap<LogId, Shown>,
    soon: Notify,
}

impl WhoIsOnline for HubInner {
    fn online(&self, log: LogId) -> HashSet<UserId> {
        self.presence
            .logs
            .get(&log)
            .map(|s| s.online.clone())
            .unwrap_or_default()
    }
}

impl HubInner {
    /// Starts a round soon, because somebody came online.
    pub fn presence_soon(&self) {
        self.presence.soon.notify_one();
    }

    /// Returns the users with a socket on this node, by log; includes logs with a running sequencer and no user.
    fn here(&self) -> HashMap<LogId, HashSet<UserId>> {
        let mut here = self.connections.users();
        for (log, _) in self.logs() {
            here.entry(log).or_default();
        }
        here
    }
}

/// Publishes changes of presence until the hub is dropped.
pub(crate) async fn run(hub: Weak<HubInner>, backend: Weak<dyn Backend>) {
    loop {
        {
            let Some(hub) = hub.upgrade() else { return };
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = hub.presence.soon.notified() => {}
            }
            let Some(backend) = backend.upgrade() else { return };
            settle(&hub, &*backend).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Exchanges leases with the other nodes until the hub is dropped. A task of its own, so that a Redis that does not
/// answer delays neither the presence of this node's sockets nor the sweep.
pub(crate) async fn exchange(hub: Weak<HubInner>, mut leases: Leases) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(hub) = hub.upgrade() else { return };
        let here = hub.here();
        for (log, users) in leases.exchange(&here).await {
            let mut shown = hub.presence.logs.entry(log).or_default();
            if shown.hear(users, Instant::now()) {
                hub.presence_soon();
            }
        }
    }
}

/// Publishes changes of presence to the channels that show them, and records when users were last seen.
pub(crate) async fn settle(hub: &Arc<HubInner>, backend: &dyn Backend) {
    let mut here = hub.here();
    let served: HashSet<LogId> = here.keys().copied().collect();
    for log in &served {
        hub.presence.logs.entry(*log).or_default();
    }
    let logs: Vec<LogId> = hub.presence.logs.iter().map(|e| *e.key()).collect();
    for log in logs {
        let now = Now {
            instant: Instant::now(),
            time: hub.now(),
        };
        let users = here.remove(&log).unwrap_or_default();
        let (changes, seen) = {
            let Some(mut shown) = hub.presence.logs.get_mut(&log) else {
                continue;
            };
            let changes = shown.step(users, now, hub.limits.offline_after);
            (changes, std::mem::take(&mut shown.seen))
        };
        let told = tell(hub, backend, log, &changes, &seen).await;
        if let Err(failure) = &told {
            tracing::warn!(gym.id = %log, error.cause = ?failure, "cannot publish presence");
            if let Some(mut shown) = hub.presence.logs.get_mut(&log) {
                shown.untold(&changes);
                for (user, at) in seen {
                    shown.seen.entry(user).or_insert(at);
                }
            }
        }
        // A log without sockets on this node has no subscribers to notify, and its last-seen times are now recorded.
        if told.is_ok() && !served.contains(&log) {
            hub.presence.logs.remove(&log);
        }
    }
}

/// Records last-seen times and publishes the backend's notices.
async fn tell(
    hub: &Arc<HubInner>,
    backend: &dyn Backend,
    log: LogId,
    changes: &[PresenceChange],
    seen: &HashMap<UserId, chrono::DateTime<chrono::Utc>>,
) -> Result<(), Failure> {
    if changes.is_empty() && seen.is_empty() {
        return Ok(());
    }
    let seen: Vec<_> = seen.iter().map(|(user, at)| (*user, *at)).collect();
    for notice in backend.seen(log, &seen, changes).await? {
        let message = Encoded::publication(&notice.channel, &notice.payload, 0);
        hub.registry.deliver(log, &notice.channel, message);
    }
    Ok(())
}
