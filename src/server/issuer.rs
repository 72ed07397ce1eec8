//! Follows the deployment's identifier. After a failover or a restore, the first node that starts gives the deployment
//! another one; nodes that kept running must issue and accept the same tokens as that node.

use std::time::Duration;

use crate::app::App;
use crate::auth::deployment;
use crate::error::Result;

/// Interval between two reads.
const EVERY: Duration = Duration::from_secs(10);

/// Reads the identifier every 10 s, for ever.
pub async fn follow(app: App) {
    loop {
        tokio::time::sleep(EVERY).await;
        if let Err(error) = once(&app).await {
            tracing::debug!(error.cause = ?error, "cannot read the deployment's identifier; trying again in 10 s");
        }
    }
}

async fn once(app: &App) -> Result<()> {
    let current = app.system(async |conn| Ok(deployment::current(conn).await?)).await?;
    if let Some(current) = current.filter(|current| *current != app.tokens.issuer()) {
        tracing::warn!("the database was restored: earlier access tokens are refused");
        app.tokens.set_issuer(current);
    }
    Ok(())
}
