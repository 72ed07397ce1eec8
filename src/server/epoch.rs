//! New epochs by hand: after a restore that the database cannot tell by itself, such as one of some tables only.

use anyhow::Context as _;

use super::boot;
use crate::config::Config;
use crate::db::{self, Mode, Scope, timeouts};
use crate::error::{Error, Lang};
use crate::events::log;
use crate::gyms;

/// Gives the log of one gym, or of all, a new epoch; returns of how many. Nodes that are running notice within a second,
/// and every client takes a new snapshot.
///
/// # Errors
/// Where the database is out of reach, and where there is no gym of that slug.
pub async fn rotate(config: &Config, slug: Option<&str>) -> anyhow::Result<usize> {
    let (url, postgres) = boot::database(config).await?;
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
