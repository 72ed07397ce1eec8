//! Who is online: a user that has a socket, on this node or, by leases in Redis, on another. Changes go to the channels that
//! show them, as publications without offset: they are not stored and not part of a snapshot's position. Who comes is shown at
//! once, who goes only when they stay away, so that a reconnect does not flicker.
//!
//! A subscriber's first picture is exactly what the other screens were told: what is told later then fits it.

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

/// How often changes are told and leases renewed.
const EVERY: Duration = Duration::from_secs(1);
/// How soon after one telling the next may follow, when somebody comes.
const PAUSE: Duration = Duration::from_millis(200);

/// What screens were told.
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
    /// Somebody came: screens are told soon.
    pub fn presence_soon(&self) {
        self.presence.soon.notify_one();
    }

    /// Everybody who has a socket here, by log; logs that are served here with nobody's too.
    fn here(&self) -> HashMap<LogId, HashSet<UserId>> {
        let mut here = self.connections.users();
        for (log, _) in self.logs() {
            here.entry(log).or_default();
        }
        here
    }
}

/// Tells screens what changed until the hub ends.
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

/// Exchanges leases with the other nodes until the hub ends. A task of its own: a Redis that does not answer holds up
/// neither what is told of this node's sockets nor the sweep.
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

/// Tells what changed to the channels that show it, and records who was last seen when.
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
            tracing::warn!(gym.id = %log, error.cause = ?failure, "cannot tell who is online");
            if let Some(mut shown) = hub.presence.logs.get_mut(&log) {
                shown.untold(&changes);
                for (user, at) in seen {
                    shown.seen.entry(user).or_insert(at);
                }
            }
        }
        // A log without a socket here has no screens to be told; what was seen is recorded.
        if told.is_ok() && !served.contains(&log) {
            hub.presence.logs.remove(&log);
        }
    }
}

/// Tells the channels that show a user.
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
