//! What the fast path lost: once a second the positions of the gyms served here are compared with Postgres, in one query.

use std::sync::Weak;

use super::HubInner;
use crate::db::{self, Mode, Scope};
use crate::error::Result;
use crate::events::log::{self, Head};
use crate::ids::GymId;

/// Sweeps until the hub ends.
pub(super) async fn run(hub: Weak<HubInner>) {
    loop {
        let Some(strong) = hub.upgrade() else { return };
        let every = strong.limits.sweep_every;
        tokio::select! {
            () = strong.sweep_now.notified() => {}
            () = tokio::time::sleep(every) => {}
        }
        let logs = strong.logs();
        strong
            .broker
            .reconcile(&logs.iter().map(|(gym, _)| *gym).collect::<Vec<_>>());
        if logs.is_empty() {
            continue;
        }
        let gyms: Vec<GymId> = logs.iter().map(|(gym, _)| *gym).collect();
        strong.counters.sweeps.up();
        match heads(&strong, &gyms).await {
            Ok(heads) => {
                for (gym, log) in logs {
                    if let Some(head) = heads.get(&gym) {
                        log.compare(head.clone());
                    }
                }
            }
            Err(error) => {
                strong.counters.sweep_failures.up();
                tracing::warn!(error.cause = ?error, "cannot compare positions with the database");
            }
        }
    }
}

async fn heads(hub: &HubInner, gyms: &[GymId]) -> Result<std::collections::HashMap<GymId, Head>> {
    db::within(hub.limits.insufficient_after, async {
        let mut conn = db::open(&hub.pool, Scope::System, Mode::Snapshot).await?;
        let heads = log::heads(&mut conn, gyms).await?;
        db::commit(&mut conn).await?;
        Ok(heads)
    })
    .await
}
