//! The embedded migrations. They run without libpq, under an advisory lock, so that nodes that start together take
//! turns.

use anyhow::Context as _;
use diesel::QueryableByName;
use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Text};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::locks::AdvisoryLock;
use super::{Mode, Pool, Scope};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

#[derive(QueryableByName)]
struct There {
    #[diesel(sql_type = Bool)]
    there: bool,
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

/// The direction of a migration run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Apply all pending migrations.
    Up,
    /// Revert all migrations.
    Down,
}

/// Refuses a database in which a migration is pending, for a server that does not migrate. Migrations that this version
/// does not know are no obstacle: a newer version may have applied them.
pub async fn check_applied(pool: &Pool) -> anyhow::Result<()> {
    use diesel_async::RunQueryDsl as _;
    let pending = super::run(pool, Scope::System, Mode::Snapshot, async |conn| {
        // The right to read the list is granted by a migration.
        let there: There = diesel::sql_query(
            "SELECT coalesce(has_table_privilege(to_regclass('public.__diesel_schema_migrations'), 'SELECT'), false) AS there",
        )
        .get_result(conn)
        .await?;
        let mut known = known()?;
        if there.there {
            let applied: Vec<Version> = diesel::sql_query("SELECT version::text FROM __diesel_schema_migrations")
                .load(conn)
                .await?;
            known.retain(|version| applied.iter().all(|a| a.version != *version));
        }
        Ok(known)
    })
    .await
    .map_err(|e| anyhow::anyhow!("{e:?}"))
    .context("cannot read which migrations have been applied")?;
    anyhow::ensure!(
        pending.is_empty(),
        "{} migrations are pending; refusing to serve. Run `liveplan migrate` with the owner's address in DATABASE_OWNER_URL",
        pending.len()
    );
    Ok(())
}

/// The versions of all migrations of this program.
fn known() -> anyhow::Result<Vec<String>> {
    let all = MigrationSource::<Pg>::migrations(&MIGRATIONS).map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(all.iter().map(|m| m.name().version().to_string()).collect())
}

/// Runs the migrations on the database at `url`. Returns the number of migrations that ran.
pub async fn run(url: &str, direction: Direction) -> anyhow::Result<usize> {
    let conn = super::establish_for_maintenance(url)
        .await
        .context("cannot connect to the database for migrations")?;
    let lock = AdvisoryLock::Migrations.key();
    let work = move || -> anyhow::Result<usize> {
        use diesel::RunQueryDsl as _;
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
