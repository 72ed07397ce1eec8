//! What the fast path lost: once a second the positions of the logs served here are compared with Postgres, in one query.

use std::sync::Weak;

use crate::HubInner;
use crate::backend::Backend;
use crate::ids::LogId;

/// Sweeps until the hub ends.
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
