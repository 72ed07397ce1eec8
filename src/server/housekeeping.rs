//! What is done every hour: partitions of live events are made ahead, old ones are dropped, and rows that nobody asks for any
//! more are deleted. Each is done on its own, so that one that fails takes no other with it.

use std::sync::PoisonError;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::QueryResult;
use diesel::sql_types::{BigInt, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::app::App;
use crate::auth::sessions;
use crate::db::{self, Mode, Scope};
use crate::error::{Error, Result};
use crate::events::partitions;

/// How often it is done.
const EVERY: Duration = Duration::from_hours(1);
/// Rows that one transaction deletes at most: a fraction of a second's work, so that neither its locks nor a statement's timeout
/// matter, however many hours were missed.
pub const BATCH: i64 = 1000;

/// Rows of a table that are deleted some days after the time in one of their columns.
#[derive(Clone, Copy, Debug)]
pub struct Trim {
    /// The table.
    pub table: &'static str,
    /// The column. It has an index.
    pub column: &'static str,
    /// Days that a row is kept.
    pub kept_days: i64,
}

/// What is trimmed. Used refresh tokens go before their sessions, whose deletion would take all of them at once.
pub const TRIMS: [Trim; 5] = [
    Trim {
        table: "idempotency_keys",
        column: "created_at",
        kept_days: 1,
    },
    Trim {
        table: "quota_windows",
        column: "began_at",
        kept_days: 2,
    },
    Trim {
        table: "refresh_tokens",
        column: "used_at",
        kept_days: sessions::REMEMBERED_DAYS,
    },
    Trim {
        table: "sessions",
        column: "ended_at",
        kept_days: sessions::REMEMBERED_DAYS,
    },
    Trim {
        table: "sessions",
        column: "expires_at",
        kept_days: sessions::REMEMBERED_DAYS,
    },
];

impl Trim {
    /// The statement that deletes one batch: up to `$2` rows from before `$1`, the oldest first. Rows that somebody has locked
    /// are left for the next hour.
    #[must_use]
    pub fn sql(&self) -> String {
        let Self { table, column, .. } = self;
        format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM {table} WHERE {column} < $1 ORDER BY {column} LIMIT $2 FOR UPDATE SKIP LOCKED))"
        )
    }

    async fn batch(&self, conn: &mut AsyncPgConnection, now: DateTime<Utc>) -> QueryResult<usize> {
        diesel::sql_query(self.sql())
            .bind::<Timestamptz, _>(now - TimeDelta::days(self.kept_days))
            .bind::<BigInt, _>(BATCH)
            .execute(conn)
            .await
    }

    /// Deletes all of them, each batch in a transaction of its own; returns how many.
    async fn all(&self, app: &App) -> Result<usize> {
        let (now, mut deleted) = (app.clock.now(), 0);
        loop {
            let batch = db::within(app.pool.timeouts().transaction, async {
                let mut conn = db::open(&app.pool, Scope::System, Mode::Write).await?;
                let batch = self.batch(&mut conn, now).await?;
                db::commit(&mut conn).await?;
                Ok::<_, Error>(batch)
            });
            let batch = batch.await?;
            deleted += batch;
            if i64::try_from(batch).is_ok_and(|batch| batch < BATCH) {
                return Ok(deleted);
            }
        }
    }
}

/// Keeps house for ever. `url` names the database for what needs a connection of its own.
pub async fn tend(app: App, url: String) {
    loop {
        once(&app, &url).await;
        tokio::time::sleep(EVERY).await;
    }
}

/// Keeps house once. What fails is logged, and tried again the next time.
pub async fn once(app: &App, url: &str) {
    // First, and alone: without a partition for today no change can be written.
    if let Err(error) = make_partitions(app).await {
        tracing::error!(error.cause = ?error, "cannot make partitions ahead; trying again in an hour");
    }
    let mut failed: Option<&str> = None;
    for trim in &TRIMS {
        if failed == Some("refresh_tokens") && trim.table == "sessions" {
            continue;
        }
        match trim.all(app).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(trim.table, trim.column, rows, "old rows deleted"),
            Err(error) => {
                failed = Some(trim.table);
                tracing::warn!(trim.table, trim.column, error.cause = ?error, "cannot delete old rows; trying again in an hour");
            }
        }
    }
    if let Err(error) = retire_partitions(app, url).await {
        tracing::warn!(error.cause = ?error, "cannot drop old live events; trying again in an hour");
    }
}

async fn make_partitions(app: &App) -> Result<()> {
    let now = app.clock.now();
    let until = db::within(app.pool.timeouts().transaction, async {
        let mut conn = db::open(&app.pool, Scope::System, Mode::Write).await?;
        let until = partitions::make_ahead(&mut conn, now).await?;
        db::commit(&mut conn).await?;
        Ok::<_, Error>(until)
    });
    let until = until.await?;
    *app.partitions_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    Ok(())
}

/// On a connection of its own, outside transactions and with its owner's rights: partitions cannot be detached
/// concurrently otherwise, and its settings must not stay on one of the pool.
async fn retire_partitions(app: &App, url: &str) -> anyhow::Result<()> {
    let oldest = partitions::oldest_kept(app.clock.now(), app.config.live_retention_days);
    let any = db::within(app.pool.timeouts().transaction, async {
        let mut conn = db::open(&app.pool, Scope::System, Mode::Snapshot).await?;
        let any = partitions::any_to_retire(&mut conn, oldest).await?;
        db::commit(&mut conn).await?;
        anyhow::Ok(any)
    });
    if any.await? {
        partitions::retire(&mut db::establish_for_maintenance(url).await?, oldest).await?;
    }
    Ok(())
}
