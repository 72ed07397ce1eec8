//! The commands that work as the database's owner: `migrate` and `housekeeping`. Servers need the owner's address for
//! neither.

use super::boot;
use crate::clock::Clock;
use crate::config::Config;
use crate::db;
use crate::db::migrations::{self, Direction};
use crate::events::partitions;

/// Applies all pending migrations and prepares the server's login, if `DATABASE_URL` names one; or reverts all
/// migrations. Returns the number of migrations.
///
/// # Errors
/// If the owner's address is not configured, a migration fails, or the login cannot be prepared.
pub async fn migrate(config: &Config, revert: bool) -> anyhow::Result<usize> {
    as_owner(config, async |owner_url| {
        if revert {
            migrations::run(owner_url, Direction::Down).await
        } else {
            boot::migrate(owner_url, config.database_url.as_deref()).await
        }
    })
    .await
}

/// Drops the partitions of live events past their retention. Returns their number.
///
/// # Errors
/// If the owner's address is not configured, or the database fails.
pub async fn housekeeping(config: &Config) -> anyhow::Result<usize> {
    let oldest = partitions::oldest_kept(Clock::default().now(), config.live_retention_days);
    as_owner(config, async |owner_url| {
        let mut conn = db::establish_for_maintenance(owner_url).await?;
        Ok(partitions::retire(&mut conn, oldest).await?)
    })
    .await
}

async fn as_owner<T>(config: &Config, work: impl AsyncFnOnce(&str) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let (owner_url, postgres) = boot::owners_database(config).await?;
    let done = work(&owner_url).await;
    if let Some(postgres) = postgres {
        postgres.stop().await?;
    }
    done
}
