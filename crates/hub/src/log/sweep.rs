//! The sweep finds changes that the broker lost: once a second, it compares the positions of this node's sequencers
//! with the heads in Postgres, in one query.

use std::sync::Weak;

use crate::HubInner;
use crate::backend::Backend;
use crate::ids::LogId;

/// Sweeps until the hub is dropped.
pub(crate) async fn run(hub: Weak<HubInner>, backend: Weak<dyn Backend>) {
    loop {
        let Some(strong) = hub.upgrade() else { return };
        let every = strong.limits.sweep_every;
        tokio::select! {
            () = strong.sweep_now.notified() => {}
            () = tokio::time::sleep(every) => {}
        }
        let logs = strong.logs();
        let ids: Vec<LogId> = logs.iter().map(|(id, _)| *id).collect();
        strong.broker.reconcile(&ids);
        if logs.is_empty() {
            continue;
        }
        strong.counters.sweeps.inc();
        let Some(backend) = backend.upgrade() else { return };
        match backend.heads(&ids).await {
            Ok(heads) => {
                for (id, log) in logs {
                    if let Some(head) = heads.get(&id) {
                        log.compare(head.clone());
                    }
                }
            }
            Err(failure) => {
                strong.counters.sweep_failures.inc();
                tracing::warn!(error.cause = ?failure, "cannot compare positions with the database");
            }
        }
    }
}
