//! The embedded migrations. They run without libpq, under an advisory lock, so that nodes that start together take
//! turns.

use anyhow::Context as _;
use diesel::RunQueryDsl as _;
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::locks::AdvisoryLock;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

/// The direction of a migration run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Apply all pending migrations.
    Up,
    /// Revert all migrations.
    Down,
}

/// Runs the migrations on the database at `url`. Returns the number of migrations that ran.
pub async fn run(url: &str, direction: Direction) -> anyhow::Result<usize> {
    let conn = super::establish_for_maintenance(url)
        .await
        .context("cannot connect to the database for migrations")?;
    let lock = AdvisoryLock::Migrations.key();
    let work = move || -> anyhow::Result<usize> {
        let mut conn = AsyncConnectionWrapper::<AsyncPgConnection>::from(conn);
        diesel::sql_query(format!("SELECT pg_advisory_lock({lock})")).execute(&mut conn)?;
        let ran = match direction {
            Direction::Up => conn.run_pending_migrations(MIGRATIONS).map(|v| v.len()),
            Direction::Down => conn.revert_all_migrations(MIGRATIONS).map(|v| v.len()),
        };
        diesel::sql_query(format!("SELECT pg_advisory_unlock({lock})")).execute(&mut conn)?;
        ran.map_err(|e| anyhow::anyhow!("migration failed: {e}"))
    };
    tokio::task::spawn_blocking(work).await?
}
