//! The days of `live_events`: a partition each, made ahead, and dropped when retention has passed.
//!
//! A day is detached concurrently, so that nobody who reads or writes waits for it, and then dropped. Postgres does that in
//! two transactions and not inside one of ours, so it may be interrupted anywhere: the next time goes on from where
//! it was, be that a partition half detached or a table that nobody belongs to any more.

use chrono::{DateTime, Days, NaiveDate, Utc};
use diesel::sql_types::{Bool, Date, Integer, Text};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};

use crate::db::locks::AdvisoryLock;

/// Days that partitions are made ahead.
pub const DAYS_AHEAD: i32 = 14;
/// Days ahead below which readiness warns.
pub const WARN_BELOW_DAYS: i64 = 3;
/// What tables of days are called, with the day after it.
const PREFIX: &str = "live_events_";

#[derive(QueryableByName, Debug, PartialEq, Eq)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
    /// Whether it is a partition.
    #[diesel(sql_type = Bool)]
    attached: bool,
    /// Whether its detaching was begun and not ended.
    #[diesel(sql_type = Bool)]
    pending: bool,
}

impl Table {
    fn day(&self) -> Option<NaiveDate> {
        NaiveDate::parse_from_str(self.name.strip_prefix(PREFIX)?, "%Y%m%d").ok()
    }
}

/// Makes the partitions for today and the days ahead, and returns until when there are some.
pub async fn make_ahead(conn: &mut AsyncPgConnection, now: DateTime<Utc>) -> QueryResult<Option<NaiveDate>> {
    let today = now.date_naive();
    // From yesterday, for a change that began before midnight.
    let yesterday = today.pred_opt().unwrap_or(today);
    diesel::sql_query("SELECT make_live_event_partitions($1, $2)")
        .bind::<Date, _>(yesterday)
        .bind::<Integer, _>(DAYS_AHEAD + 2)
        .execute(conn)
        .await?;
    last_day(conn, today).await
}

/// The last day up to which every day from `today` on has its partition; none where today has none.
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

/// The first day that is kept.
#[must_use]
pub fn oldest_kept(now: DateTime<Utc>, retention_days: u32) -> NaiveDate {
    let today = now.date_naive();
    today
        .checked_sub_days(Days::new(u64::from(retention_days) + 1))
        .unwrap_or(today)
}

/// Whether [`retire`] would find something to do.
pub async fn any_to_retire(conn: &mut AsyncPgConnection, oldest: NaiveDate) -> QueryResult<bool> {
    let tables = tables(conn).await?;
    Ok(tables.iter().any(|t| t.pending || t.day() < Some(oldest)))
}

/// Detaches and drops the days before `oldest`, and finishes what was begun; returns how many were dropped. Not in a
/// transaction, by the tables' owner. Where another node is at it, it does nothing.
pub async fn retire(conn: &mut AsyncPgConnection, oldest: NaiveDate) -> QueryResult<usize> {
    if !AdvisoryLock::RetirePartitions.try_take(conn).await? {
        return Ok(0);
    }
    let dropped = retire_alone(conn, oldest).await;
    AdvisoryLock::RetirePartitions.give_back(conn).await?;
    dropped
}

async fn retire_alone(conn: &mut AsyncPgConnection, oldest: NaiveDate) -> QueryResult<usize> {
    // Detaching waits for transactions that may still look at the partition; those of others may be long.
    conn.batch_execute("SET statement_timeout = '10min'").await?;
    let mut dropped = 0;
    // Only one can be pending at a time, and none can be detached while one is.
    for Table { name, .. } in tables(conn).await?.iter().filter(|t| t.pending) {
        tracing::info!(partition = name, "finishing what was begun: a partition half detached");
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
        tracing::info!(partition = name, "live events past their retention dropped");
        dropped += 1;
    }
    Ok(dropped)
}

/// The tables of days, whether they are partitions or were. Their names hold nothing but letters, digits and `_`.
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
    fn days_count_up_to_the_first_that_lacks() {
        let today = NaiveDate::from_ymd_opt(2026, 12, 30).expect("a day");
        let tables = [
            table("20261230", true, false),
            table("20261231", true, false),
            table("20270102", true, false),
        ];
        let last = unbroken(&tables, today).expect("today has one");
        assert_eq!(last.to_string(), "2026-12-31");
        assert_eq!(unbroken(&tables, today.pred_opt().expect("a day")), None);
    }

    #[test]
    fn what_is_no_partition_any_more_is_no_day() {
        let today = NaiveDate::from_ymd_opt(2026, 12, 30).expect("a day");
        for table in [table("20261230", false, false), table("20261230", true, true)] {
            assert_eq!(unbroken(&[table], today), None);
        }
    }
}
