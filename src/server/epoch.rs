//! The command `epoch rotate`: new epochs by hand, after a restore that the node cannot detect, such as one of some
//! tables.

use anyhow::Context as _;

use super::boot;
use crate::config::Config;
use crate::db::{self, Mode, Scope, timeouts};
use crate::error::{Error, Lang};
use crate::events::log;
use crate::gyms;

/// Gives the log of one gym, or of all gyms, a new epoch. Returns the number of logs. The sweep of running nodes
/// notices within a second, and every client takes a new snapshot.
///
/// # Errors
/// If the database is unreachable, or no gym has that slug.
pub async fn rotate(config: &Config, slug: Option<&str>) -> anyhow::Result<usize> {
    let boot::Database { url, postgres, .. } = boot::database(config).await?;
    let rotated = db::within(timeouts::START, rotate_at(&url, slug)).await;
    if let Some(postgres) = postgres {
        postgres.stop().await?;
    }
    rotated
}

async fn rotate_at(url: &str, slug: Option<&str>) -> anyhow::Result<usize> {
    let mut conn = db::establish(url).await.context("cannot connect to the database")?;
    db::transaction(&mut conn, Scope::System, Mode::Write, async |conn| {
        let gym = match slug {
            None => None,
            Some(slug) => {
                let found = gyms::store::gym_of_slug(conn, slug).await?;
                Some(found.ok_or_else(|| Error::not_found("gym"))?)
            }
        };
        Ok(log::rotate_epochs(conn, gym).await?)
    })
    .await
    .map_err(|error| anyhow::anyhow!("{}", error.detail(Lang::En)))
}
