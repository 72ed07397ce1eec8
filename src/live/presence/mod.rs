//! Who is online: an account that has a socket, on this node or, by leases in Redis, on another. Changes go to the rosters
//! as publications without offset: they are not stored and not part of a snapshot's position. Who comes is shown at once,
//! who goes only when they stay away, so that a reconnect does not flicker.
//!
//! A subscriber's first picture is exactly what the other screens were told: what is told later then fits it.

mod shown;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::HubInner;
use super::broker::Leases;
use super::encoded::Encoded;
use crate::db::{self, Mode, Scope};
use crate::error::Result;
use crate::ids::{AccountId, GymId};
use shown::{Change, Now, Shown};

/// How often changes are told and leases renewed.
const EVERY: Duration = Duration::from_secs(1);
/// How soon after one telling the next may follow, when somebody comes.
const PAUSE: Duration = Duration::from_millis(200);

/// What screens were told.
#[derive(Default)]
pub struct Presence {
    gyms: DashMap<GymId, Shown>,
    soon: Notify,
}

impl HubInner {
    /// Who of a gym is online, as its screens were told.
    #[must_use]
    pub fn online(&self, gym: GymId) -> HashSet<AccountId> {
        self.presence
            .gyms
            .get(&gym)
            .map(|s| s.online.clone())
            .unwrap_or_default()
    }

    /// Somebody came: screens are told soon.
    pub fn presence_soon(&self) {
        self.presence.soon.notify_one();
    }

    /// Everybody who has a socket here, by gym; gyms that are served here with nobody's too.
    fn here(&self) -> HashMap<GymId, HashSet<AccountId>> {
        let mut here = self.registry.accounts();
        for (gym, _) in self.logs() {
            here.entry(gym).or_default();
        }
        here
    }
}

/// Tells screens what changed until the hub ends.
pub(super) async fn run(hub: Weak<HubInner>) {
    loop {
        {
            let Some(hub) = hub.upgrade() else { return };
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = hub.presence.soon.notified() => {}
            }
            settle(&hub).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Exchanges leases with the other nodes until the hub ends. A task of its own: a Redis that does not answer holds up
/// neither what is told of this node's sockets nor the sweep.
pub(super) async fn exchange(hub: Weak<HubInner>, mut leases: Leases) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(hub) = hub.upgrade() else { return };
        let here = hub.here();
        for (gym, accounts) in leases.exchange(&here).await {
            let mut shown = hub.presence.gyms.entry(gym).or_default();
            if shown.hear(accounts, Instant::now()) {
                hub.presence_soon();
            }
        }
    }
}

/// Tells the rosters of every gym what changed, and records who was last seen when.
pub(super) async fn settle(hub: &Arc<HubInner>) {
    let mut here = hub.here();
    let served: HashSet<GymId> = here.keys().copied().collect();
    for gym in &served {
        hub.presence.gyms.entry(*gym).or_default();
    }
    let gyms: Vec<GymId> = hub.presence.gyms.iter().map(|e| *e.key()).collect();
    for gym in gyms {
        let now = Now {
            instant: Instant::now(),
            time: hub.clock.now(),
        };
        let accounts = here.remove(&gym).unwrap_or_default();
        let (changes, seen) = {
            let Some(mut shown) = hub.presence.gyms.get_mut(&gym) else {
                continue;
            };
            let changes = shown.step(accounts, now, hub.limits.offline_after);
            (changes, std::mem::take(&mut shown.seen))
        };
        let told = tell(hub, gym, &changes, &seen).await;
        if let Err(error) = &told {
            tracing::warn!(gym.id = %gym, error.cause = ?error, "cannot tell who is online");
            if let Some(mut shown) = hub.presence.gyms.get_mut(&gym) {
                shown.untold(&changes);
                for (account, at) in seen {
                    shown.seen.entry(account).or_insert(at);
                }
            }
        }
        // A gym without a socket here has no screens to be told; what was seen is recorded.
        if told.is_ok() && !served.contains(&gym) {
            hub.presence.gyms.remove(&gym);
        }
    }
}

/// Tells the channels that show an account.
async fn tell(
    hub: &Arc<HubInner>,
    gym: GymId,
    changes: &[Change],
    seen: &HashMap<AccountId, chrono::DateTime<chrono::Utc>>,
) -> Result<()> {
    if changes.is_empty() && seen.is_empty() {
        return Ok(());
    }
    let seen: Vec<_> = seen.iter().map(|(account, at)| (*account, *at)).collect();
    let accounts: Vec<_> = changes.iter().map(|change| change.account).collect();
    let shown_in = db::within(hub.pool.timeouts().transaction, async {
        let mut conn = db::open(&hub.pool, Scope::Gym(gym), Mode::Write).await?;
        (hub.table.record_seen)(&mut conn, gym, &seen).await?;
        let shown_in = (hub.table.presence)(&mut conn, gym, &accounts, hub.clock.now()).await?;
        db::commit(&mut conn).await?;
        Ok::<_, crate::error::Error>(shown_in)
    })
    .await?;
    for change in changes {
        let account = change.account.to_string();
        let patch = json!({
            "online": {&account: change.away_since.is_none().then_some(true)},
            "last_seen": {&account: change.away_since},
        });
        let payload = Bytes::from(json!({"v": 1, "type": "presence.changed", "patch": patch}).to_string());
        for channel in shown_in.get(&change.account).into_iter().flatten() {
            let channel: Arc<str> = channel.to_string().into();
            hub.registry
                .deliver(gym, &channel, Encoded::publication(&channel, &payload, 0));
        }
    }
    Ok(())
}
