//! The gym's log in Postgres: append, heads, events since a position, epochs and partitions.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use diesel::sql_types::{Array, BigInt, Date, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult,
    QueryableByName,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::{Committed, LoggedEvent, Tx};
use crate::db;
use crate::db::schema::{gym_log_heads, live_events};
use crate::db::statement::{Bind as _, statement};
use crate::error::Result;
use crate::ids::{AccountId, GymId};

/// A position in a gym's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Changes when numbers no longer mean what they meant (a restore).
    pub epoch: Arc<str>,
    /// The last number given.
    pub seq: u64,
}

#[derive(QueryableByName)]
struct HeadRow {
    #[diesel(sql_type = Text)]
    epoch: String,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// Gives a new gym its log.
pub async fn create(conn: &mut AsyncPgConnection, gym: GymId) -> QueryResult<()> {
    diesel::insert_into(gym_log_heads::table)
        .values((
            gym_log_heads::gym_id.eq(gym),
            gym_log_heads::epoch.eq(new_epoch()),
            gym_log_heads::seq.eq(0),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes what the change collected under the gym's next number: one statement, the last before COMMIT, since it locks
/// the gym's head. Returns nothing where nothing was emitted. What is said in other gyms' logs goes before and after it, in
/// the order of the gyms, so that two such changes do not wait for each other.
pub(crate) async fn append(tx: &mut Tx) -> Result<Vec<Committed>> {
    let mut logs = tx.take_elsewhere();
    let events = tx.take_events();
    let (gym, actor, now) = (tx.gym, tx.actor, tx.now);
    if logs.is_empty() && events.is_empty() {
        return Ok(Vec::new());
    }
    if logs.is_empty() {
        return Ok(vec![append_to(tx, gym, events, actor, now).await?]);
    }
    if !events.is_empty() {
        logs.insert(gym, events);
    }
    db::as_system(tx, async move |conn| {
        let mut committed = Vec::with_capacity(logs.len());
        for (gym, events) in logs {
            committed.push(append_to(conn, gym, events, actor, now).await?);
        }
        Ok(committed)
    })
    .await
}

async fn append_to(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    events: Vec<(LoggedEvent, &'static str)>,
    actor: Option<AccountId>,
    now: DateTime<Utc>,
) -> QueryResult<Committed> {
    let channels: Vec<&str> = events.iter().map(|(e, _)| &*e.channel).collect();
    let kinds: Vec<&str> = events.iter().map(|(_, kind)| *kind).collect();
    let payloads: Vec<&str> = events
        .iter()
        .filter_map(|(e, _)| std::str::from_utf8(&e.payload).ok())
        .collect();
    let head: HeadRow = statement(
        "WITH head AS (UPDATE gym_log_heads SET seq = seq + 1 WHERE gym_id = $ RETURNING gym_id, epoch, seq),
         logged AS (
             INSERT INTO live_events (gym_id, seq, channel, type, payload, actor, at)
             SELECT head.gym_id, head.seq, e.channel, e.type, e.payload, e.actor, e.at
             FROM head, (SELECT unnest($) AS channel, unnest($) AS type, unnest($) AS payload, $ AS actor, $ AS at) AS e)
         SELECT epoch, seq FROM head",
    )
    .bind::<SqlUuid, _>(gym)
    .bind::<Array<Text>, _>(channels)
    .bind::<Array<Text>, _>(kinds)
    .bind::<Array<Text>, _>(payloads)
    .bind::<Nullable<SqlUuid>, _>(actor)
    .bind::<Timestamptz, _>(now)
    .get_result(conn)
    .await?;
    Ok(Committed {
        gym,
        epoch: head.epoch.into(),
        seq: head.seq.unsigned_abs(),
        events: events.into_iter().map(|(event, _)| event).collect(),
    })
}

/// The position of one gym's log; none for a gym that does not exist.
pub async fn head(conn: &mut AsyncPgConnection, gym: GymId) -> QueryResult<Option<Head>> {
    let row: Option<(String, i64)> = gym_log_heads::table
        .find(gym)
        .select((gym_log_heads::epoch, gym_log_heads::seq))
        .first(conn)
        .await
        .optional()?;
    Ok(row.map(|(epoch, seq)| Head {
        epoch: epoch.into(),
        seq: seq.unsigned_abs(),
    }))
}

/// The positions of many gyms' logs in one query.
pub async fn heads(conn: &mut AsyncPgConnection, gyms: &[GymId]) -> QueryResult<HashMap<GymId, Head>> {
    let rows: Vec<(GymId, String, i64)> = gym_log_heads::table
        .filter(gym_log_heads::gym_id.eq_any(gyms))
        .select((gym_log_heads::gym_id, gym_log_heads::epoch, gym_log_heads::seq))
        .load(conn)
        .await?;
    let head = |epoch: String, seq: i64| Head {
        epoch: epoch.into(),
        seq: seq.unsigned_abs(),
    };
    Ok(rows
        .into_iter()
        .map(|(gym, epoch, seq)| (gym, head(epoch, seq)))
        .collect())
}

/// The changes of a gym after `after` up to `until`, at most `limit` of them, in order. Numbers have no gaps, so a result
/// that is not contiguous has lost its beginning to retention.
pub async fn since(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    epoch: &Arc<str>,
    after: u64,
    until: u64,
    limit: u64,
) -> QueryResult<Vec<Committed>> {
    let until = until.min(after.saturating_add(limit));
    let rows: Vec<(i64, String, String)> = live_events::table
        .filter(live_events::gym_id.eq(gym))
        .filter(
            live_events::seq
                .gt(signed(after))
                .and(live_events::seq.le(signed(until))),
        )
        .order(live_events::seq)
        .select((live_events::seq, live_events::channel, live_events::payload))
        .load(conn)
        .await?;
    let mut changes: Vec<Committed> = Vec::new();
    for (seq, channel, payload) in rows {
        let seq = seq.unsigned_abs();
        if changes.last().is_none_or(|c| c.seq != seq) {
            changes.push(Committed {
                gym,
                epoch: epoch.clone(),
                seq,
                events: Vec::new(),
            });
        }
        if let Some(change) = changes.last_mut() {
            change.events.push(LoggedEvent {
                channel: channel.into(),
                payload: payload.into(),
            });
        }
    }
    Ok(changes)
}

/// The events of one channel after `after` up to `until`, in order; none where there are more than `limit` or where
/// retention no longer reaches back to `after`.
pub async fn channel_since(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    channel: &str,
    after: u64,
    until: u64,
    limit: i64,
) -> QueryResult<Option<Vec<(u64, Bytes)>>> {
    if after == until {
        return Ok(Some(Vec::new()));
    }
    // The log has no gaps: it reaches back to `after` exactly if the number after it is still there.
    let reached: i64 = live_events::table
        .filter(live_events::gym_id.eq(gym).and(live_events::seq.eq(signed(after + 1))))
        .count()
        .get_result(conn)
        .await?;
    if reached == 0 {
        return Ok(None);
    }
    let rows: Vec<(i64, String)> = live_events::table
        .filter(live_events::gym_id.eq(gym).and(live_events::channel.eq(channel)))
        .filter(
            live_events::seq
                .gt(signed(after))
                .and(live_events::seq.le(signed(until))),
        )
        .order(live_events::seq)
        .limit(limit + 1)
        .select((live_events::seq, live_events::payload))
        .load(conn)
        .await?;
    if i64::try_from(rows.len()).is_ok_and(|n| n > limit) {
        return Ok(None);
    }
    Ok(Some(
        rows.into_iter()
            .map(|(seq, payload)| (seq.unsigned_abs(), payload.into()))
            .collect(),
    ))
}

/// The last `limit` events of one channel, in order.
pub async fn channel_tail(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    channel: &str,
    limit: i64,
) -> QueryResult<Vec<(u64, Bytes)>> {
    let rows: Vec<(i64, String)> = live_events::table
        .filter(live_events::gym_id.eq(gym).and(live_events::channel.eq(channel)))
        .order(live_events::seq.desc())
        .limit(limit)
        .select((live_events::seq, live_events::payload))
        .load(conn)
        .await?;
    Ok(rows
        .into_iter()
        .rev()
        .map(|(seq, payload)| (seq.unsigned_abs(), payload.into()))
        .collect())
}

/// Gives every gym's log a new epoch where the database is not the one that the epochs were made for (another cluster or
/// another timeline, as after a restore). Returns whether it did.
pub async fn rotate_epochs_after_restore(conn: &mut AsyncPgConnection) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Origin {
        #[diesel(sql_type = Text)]
        system_id: String,
        #[diesel(sql_type = Text)]
        timeline: String,
    }
    let now: Origin = diesel::sql_query(
        "SELECT system_identifier::text AS system_id, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS timeline
         FROM pg_control_system()",
    )
    .get_result(conn)
    .await?;
    let was: Option<Origin> = diesel::sql_query("SELECT system_id, timeline FROM log_origin FOR UPDATE")
        .get_result(conn)
        .await
        .optional()?;
    let same = was
        .as_ref()
        .is_some_and(|w| w.system_id == now.system_id && w.timeline == now.timeline);
    if same {
        return Ok(false);
    }
    diesel::sql_query(
        "INSERT INTO log_origin (system_id, timeline) VALUES ($1, $2)
         ON CONFLICT (only_row) DO UPDATE SET system_id = $1, timeline = $2",
    )
    .bind::<Text, _>(now.system_id)
    .bind::<Text, _>(now.timeline)
    .execute(conn)
    .await?;
    if was.is_some() {
        rotate_epochs(conn, None).await?;
    }
    Ok(was.is_some())
}

/// Gives the log of one gym, or of all, a new epoch, so that every client takes a new snapshot; returns of how many.
pub async fn rotate_epochs(conn: &mut AsyncPgConnection, gym: Option<GymId>) -> QueryResult<usize> {
    diesel::sql_query(
        "UPDATE gym_log_heads SET epoch = substr(md5(random()::text || gym_id::text), 1, 8)
         WHERE $1 IS NULL OR gym_id = $1",
    )
    .bind::<Nullable<SqlUuid>, _>(gym)
    .execute(conn)
    .await
}

/// Days that partitions are made ahead.
pub const DAYS_AHEAD: i32 = 14;

/// Makes the partitions for today and the days ahead, and drops those older than the retention.
pub async fn tend_partitions(conn: &mut AsyncPgConnection, now: DateTime<Utc>, retention_days: u32) -> QueryResult<()> {
    let today = now.date_naive();
    let oldest = today - chrono::Days::new(u64::from(retention_days) + 1);
    // From yesterday, for a change that began before midnight.
    let yesterday = today.pred_opt().unwrap_or(today);
    diesel::sql_query("SELECT make_live_event_partitions($1, $2), drop_live_event_partitions($3)")
        .bind::<Date, _>(yesterday)
        .bind::<Integer, _>(DAYS_AHEAD + 2)
        .bind::<Date, _>(oldest)
        .execute(conn)
        .await?;
    Ok(())
}

/// How many days ahead of `today` have a partition.
pub async fn days_ahead(conn: &mut AsyncPgConnection, today: NaiveDate) -> QueryResult<i64> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let count: Count = diesel::sql_query(
        "SELECT count(*) AS n FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'live_events'::regclass AND c.relname > 'live_events_' || to_char($1, 'YYYYMMDD')",
    )
    .bind::<Date, _>(today)
    .get_result(conn)
    .await?;
    Ok(count.n)
}

fn new_epoch() -> String {
    let mut text = uuid::Uuid::new_v4().simple().to_string();
    text.truncate(8);
    text
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
