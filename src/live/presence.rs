//! Who is online: an account that has a socket, on this node or, by leases in Redis, on another. Changes go to the rosters
//! as publications without offset: they are not stored and not part of a snapshot's position.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use serde_json::json;

use super::HubInner;
use super::subscription::Encoded;
use crate::db::{self, Mode, Scope};
use crate::error::Result;
use crate::ids::{AccountId, GymId};

/// What is known of other nodes, and what was last told.
#[derive(Default)]
pub struct Presence {
    elsewhere: DashMap<GymId, HashSet<AccountId>>,
    told: DashMap<GymId, HashSet<AccountId>>,
}

impl HubInner {
    /// Who of a gym is online.
    #[must_use]
    pub fn online(&self, gym: GymId) -> HashSet<AccountId> {
        let mut online = self.registry.accounts_of(gym);
        if let Some(elsewhere) = self.presence.elsewhere.get(&gym) {
            online.extend(elsewhere.iter());
        }
        online
    }
}

/// How often leases are renewed and changes told; it debounces a reload.
const EVERY: Duration = Duration::from_secs(1);

/// Settles who is online until the hub ends. In a task of its own: a Redis that does not answer must not hold up the sweep.
pub(super) async fn run(hub: Weak<HubInner>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(hub) = hub.upgrade() else { return };
        settle(&hub).await;
    }
}

/// Renews this node's leases, learns the others' and tells the rosters what changed.
async fn settle(hub: &Arc<HubInner>) {
    let gyms: Vec<GymId> = hub.logs().into_iter().map(|(gym, _)| gym).collect();
    hub.presence.told.retain(|gym, _| gyms.contains(gym));
    let here: HashMap<GymId, HashSet<AccountId>> = gyms.iter().map(|g| (*g, hub.registry.accounts_of(*g))).collect();
    for (gym, accounts) in hub.broker.exchange_presence(&here).await {
        hub.presence.elsewhere.insert(gym, accounts);
    }
    for gym in gyms {
        let online = hub.online(gym);
        let before = hub.presence.told.insert(gym, online.clone()).unwrap_or_default();
        let changes: Vec<(AccountId, bool)> = online
            .difference(&before)
            .map(|a| (*a, true))
            .chain(before.difference(&online).map(|a| (*a, false)))
            .collect();
        if let Err(error) = tell(hub, gym, &changes).await {
            // Told again with the next sweep.
            hub.presence.told.insert(gym, before);
            tracing::warn!(gym.id = %gym, error.cause = ?error, "cannot tell who is online");
        }
    }
}

/// Tells the channels that show an account.
async fn tell(hub: &Arc<HubInner>, gym: GymId, changes: &[(AccountId, bool)]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut conn = db::open(&hub.pool, Scope::Gym(gym), Mode::Snapshot).await?;
    for (account, online) in changes {
        let state = if *online { json!(true) } else { json!(null) };
        let payload = json!({"v": 1, "type": "presence.changed", "patch": {"online": {account.to_string(): state}}});
        let payload = payload.to_string();
        for channel in (hub.table.presence)(&mut conn, gym, *account, hub.clock.now()).await? {
            let channel: Arc<str> = channel.to_string().into();
            hub.registry
                .deliver(gym, &channel, &Encoded::new(&channel, payload.as_bytes(), 0));
        }
    }
    db::commit(&mut conn).await?;
    Ok(())
}
