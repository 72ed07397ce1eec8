//! Hourly jobs: create partitions of live events ahead, drop old ones, delete expired rows, and retire replaced keys. Each job runs by
//! itself, so that a failure does not stop the others.

use std::sync::PoisonError;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::QueryResult;
use diesel::sql_types::{BigInt, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::app::App;
use crate::auth::{devices, rotation, sessions};
use crate::db::{self, Mode, Scope};
use crate::error::{Error, Result};
use crate::events::partitions;

/// Interval between two runs.
const EVERY: Duration = Duration::from_hours(1);
/// Maximum rows that one transaction deletes. A batch takes a fraction of a second, so that its locks and the statement
/// timeout do not matter even after many missed runs.
pub const BATCH: i64 = 1000;

/// Days that one-time links are kept after their expiry: staff can renew an invitation, and a person is shown a link that
/// set their password.
const LINKS_KEPT_DAYS: i64 = 30;

/// A rule that deletes a table's rows a number of days after the time in one of their columns.
#[derive(Clone, Copy, Debug)]
pub struct Trim {
    /// The table.
    pub table: &'static str,
    /// The column with the time. It must have an index.
    pub column: &'static str,
    /// Days that a row is kept after that time.
    pub kept_days: i64,
}

/// All rules, in order.
pub const TRIMS: [Trim; 7] = [
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
        table: "sessions",
        column: "ended_at",
        kept_days: sessions::REMEMBERED_DAYS,
    },
    Trim {
        table: "sessions",
        column: "expires_at",
        kept_days: sessions::REMEMBERED_DAYS,
    },
    Trim {
        table: "invitations",
        column: "expires_at",
        kept_days: LINKS_KEPT_DAYS,
    },
    Trim {
        table: "password_resets",
        column: "expires_at",
        kept_days: LINKS_KEPT_DAYS,
    },
    Trim {
        table: "known_devices",
        column: "last_used_at",
        kept_days: devices::REMEMBERED_DAYS,
    },
];

impl Trim {
    /// The statement that deletes one batch: at most `$2` rows from before `$1`, the oldest first. It skips locked
    /// rows; the next run deletes them.
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

    /// Deletes all expired rows, each batch in its own transaction. Returns the number of rows.
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

/// Runs all jobs every hour, for ever. `owner_url` is the database's with the owner's login; a server without it leaves
/// the old partitions to the command `housekeeping`.
pub async fn tend(app: App, owner_url: Option<String>) {
    loop {
        once(&app, owner_url.as_deref()).await;
        tokio::time::sleep(EVERY).await;
    }
}

/// Runs all jobs once. A failed job is logged and runs again next time.
pub async fn once(app: &App, owner_url: Option<&str>) {
    // First, because without a partition for today no change can be committed.
    if let Err(error) = make_partitions(app).await {
        tracing::error!(error.cause = ?error, "cannot create partitions ahead; trying again in an hour");
    }
    for trim in &TRIMS {
        match trim.all(app).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(trim.table, trim.column, rows, "deleted expired rows"),
            Err(error) => {
                tracing::warn!(trim.table, trim.column, error.cause = ?error, "cannot delete expired rows; trying again in an hour");
            }
        }
    }
    match retire_keys(app).await {
        Ok(0) => {}
        Ok(keys) => tracing::info!(keys, "retired replaced keys"),
        Err(error) => {
            tracing::warn!(error.cause = ?error, "cannot retire replaced keys; trying again in an hour");
        }
    }
    if let Err(error) = retire_partitions(app, owner_url).await {
        tracing::warn!(error.cause = ?error, "cannot drop old partitions of live events; trying again in an hour");
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

async fn retire_keys(app: &App) -> Result<usize> {
    let life = TimeDelta::seconds(app.config.access_token_seconds);
    app.system(async |conn| Ok(rotation::retire(conn, life).await?)).await
}

/// Retires old partitions on a connection of the owner's: a concurrent detach needs the owner's rights, and no
/// transaction around it.
async fn retire_partitions(app: &App, owner_url: Option<&str>) -> anyhow::Result<()> {
    let oldest = partitions::oldest_kept(app.clock.now(), app.config.live_retention_days);
    let any = db::within(app.pool.timeouts().transaction, async {
        let mut conn = db::open(&app.pool, Scope::System, Mode::Snapshot).await?;
        let any = partitions::any_to_retire(&mut conn, oldest).await?;
        db::commit(&mut conn).await?;
        anyhow::Ok(any)
    });
    if !any.await? {
        return Ok(());
    }
    if let Some(owner_url) = owner_url {
        let mut owner = db::establish_for_maintenance(owner_url).await?;
        partitions::retire(&mut owner, oldest).await?;
    } else {
        tracing::warn!(
            oldest_kept = %oldest,
            "live events past their retention are still there: run `liveplan housekeeping` every day"
        );
    }
    Ok(())
}
