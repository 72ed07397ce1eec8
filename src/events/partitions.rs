//! The daily partitions of `live_events`: created ahead, and dropped after the retention period.
//!
//! [`retire`] detaches a partition concurrently, so that no reader or writer waits for it, and then drops the table.
//! `DETACH … CONCURRENTLY` uses two transactions of its own and may be interrupted between them. The next run finishes
//! a half-detached partition and drops a table that was detached only.

use chrono::{DateTime, Days, NaiveDate, Utc};
use diesel::sql_types::{Bool, Date, Integer, Text};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};

use crate::db::locks::AdvisoryLock;

/// Days ahead of today for which partitions are created.
pub const DAYS_AHEAD: i32 = 14;
/// Readiness warns if there are partitions for fewer days ahead than this.
pub const WARN_BELOW_DAYS: i64 = 3;
/// Prefix of a partition's table name; the day follows as `YYYYMMDD`.
const PREFIX: &str = "live_events_";

#[derive(QueryableByName, Debug, PartialEq, Eq)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
    /// Whether it is a partition of `live_events`.
    #[diesel(sql_type = Bool)]
    attached: bool,
    /// Whether a concurrent detach began and has not finished.
    #[diesel(sql_type = Bool)]
    pending: bool,
}

impl Table {
    fn day(&self) -> Option<NaiveDate> {
        NaiveDate::parse_from_str(self.name.strip_prefix(PREFIX)?, "%Y%m%d").ok()
    }
}

/// Creates the partitions from yesterday to [`DAYS_AHEAD`] days ahead. Returns what [`last_day`] returns afterwards.
pub async fn make_ahead(conn: &mut AsyncPgConnection, now: DateTime<Utc>) -> QueryResult<Option<NaiveDate>> {
    let today = now.date_naive();
    // Yesterday too, for a change that began before midnight.
    let yesterday = today.pred_opt().unwrap_or(today);
    diesel::sql_query("SELECT make_live_event_partitions($1, $2)")
        .bind::<Date, _>(yesterday)
        .bind::<Integer, _>(DAYS_AHEAD + 2)
        .execute(conn)
        .await?;
    last_day(conn, today).await
}

/// The last day of the unbroken run of partitions that begins today; `None` if today has no partition.
pub async fn last_day(conn: &mut AsyncPgConnection, today: NaiveDate) -> QueryResult<Option<NaiveDate>> {
    Ok(unbroken(&tables(conn).await?, today))
}

fn unbroken(tables: &[Table], today: NaiveDate) -> Option<NaiveDate> {
    let ready = |day: &NaiveDate| {
        let of_day = |t: &&Table| t.attached && !t.pending;
        tables.iter().filter(of_day).any(|t| t.day() == Some(*day))
    };
    today.iter_days().take_while(ready).last()
}

/// The oldest day whose partition is kept.
#[must_use]
pub fn oldest_kept(now: DateTime<Utc>, retention_days: u32) -> NaiveDate {
    let today = now.date_naive();
    today
        .checked_sub_days(Days::new(u64::from(retention_days) + 1))
        .unwrap_or(today)
}

/// Whether [`retire`] has work to do.
pub async fn any_to_retire(conn: &mut AsyncPgConnection, oldest: NaiveDate) -> QueryResult<bool> {
    let tables = tables(conn).await?;
    Ok(tables.iter().any(|t| t.pending || t.day() < Some(oldest)))
}

/// Detaches and drops the partitions of days before `oldest`, and finishes an interrupted detach. Returns the number of
/// dropped partitions: 0 if another node holds the advisory lock. `conn` must belong to the tables' owner and must not
/// be in a transaction.
pub async fn retire(conn: &mut AsyncPgConnection, oldest: NaiveDate) -> QueryResult<usize> {
    if !AdvisoryLock::RetirePartitions.try_take(conn).await? {
        return Ok(0);
    }
    let dropped = retire_alone(conn, oldest).await;
    AdvisoryLock::RetirePartitions.give_back(conn).await?;
    dropped
}

async fn retire_alone(conn: &mut AsyncPgConnection, oldest: NaiveDate) -> QueryResult<usize> {
    // A concurrent detach waits for every transaction that may still read the partition, however long it takes.
    conn.batch_execute("SET statement_timeout = '10min'").await?;
    let mut dropped = 0;
    // Postgres allows one pending detach per table, and it blocks all other detaches.
    for Table { name, .. } in tables(conn).await?.iter().filter(|t| t.pending) {
        tracing::info!(partition = name, "finishing an interrupted detach of a partition");
        conn.batch_execute(&format!("ALTER TABLE live_events DETACH PARTITION {name} FINALIZE"))
            .await?;
    }
    for table in tables(conn).await?.iter().filter(|t| t.day() < Some(oldest)) {
        let name = &table.name;
        if table.attached {
            conn.batch_execute(&format!("ALTER TABLE live_events DETACH PARTITION {name} CONCURRENTLY"))
                .await?;
        }
        conn.batch_execute(&format!("DROP TABLE {name}")).await?;
        tracing::info!(partition = name, "dropped a partition of live events past retention");
        dropped += 1;
    }
    Ok(dropped)
}

/// The tables of single days, attached or not. Their names contain only lower-case letters, digits and `_`, so they
/// need no quoting in SQL.
async fn tables(conn: &mut AsyncPgConnection) -> QueryResult<Vec<Table>> {
    let tables: Vec<Table> = diesel::sql_query(
        "SELECT c.relname::text AS name, i.inhrelid IS NOT NULL AS attached, coalesce(i.inhdetachpending, false) AS pending
         FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'live_events'::regclass
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^live_events_[0-9]{8}$'
         ORDER BY 1",
    )
    .load(conn)
    .await?;
    Ok(tables.into_iter().filter(|t| t.day().is_some()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(day: &str, attached: bool, pending: bool) -> Table {
        Table {
            name: format!("{PREFIX}{day}"),
            attached,
            pending,
        }
    }

    #[test]
    fn days_count_up_to_the_first_without_a_partition() {
        let today = NaiveDate::from_ymd_opt(2026, 12, 30).expect("a day");
        let tables = [
            table("20261230", true, false),
            table("20261231", true, false),
            table("20270102", true, false),
        ];
        let last = unbroken(&tables, today).expect("today has a partition");
        assert_eq!(last.to_string(), "2026-12-31");
        assert_eq!(unbroken(&tables, today.pred_opt().expect("a day")), None);
    }

    #[test]
    fn a_detached_or_half_detached_partition_does_not_count() {
        let today = NaiveDate::from_ymd_opt(2026, 12, 30).expect("a day");
        for table in [table("20261230", false, false), table("20261230", true, true)] {
            assert_eq!(unbroken(&[table], today), None);
        }
    }
}
