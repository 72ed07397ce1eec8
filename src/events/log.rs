//! The gym's log in Postgres: append changes, read heads, read events since a position, rotate epochs.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult,
    QueryableByName,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::{Committed, Draft, LoggedEvent, log_of};
use crate::db::schema::{gym_log_heads, live_events};
use crate::db::statement::{Bind as _, statement};
use crate::ids::GymId;
pub use liveplan_hub::log::change::{Bounds, Head, Missed};

#[derive(QueryableByName)]
struct HeadRow {
    #[diesel(sql_type = Text)]
    epoch: String,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// Creates the log of a new gym: a head with number 0 and a random epoch.
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

/// Appends changes to the gym's log under its next numbers, in one statement. Returns them with their numbers, in
/// order.
pub(crate) async fn append(
    mut conn: &AsyncPgConnection,
    gym: GymId,
    now: DateTime<Utc>,
    changes: Vec<Draft>,
) -> QueryResult<Vec<Committed>> {
    let Some(last) = changes.len().checked_sub(1) else {
        return Ok(Vec::new());
    };
    let (mut before_last, mut actors, mut channels, mut kinds, mut payloads) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, change) in changes.iter().enumerate() {
        for (event, kind) in &change.events {
            before_last.push(signed(as_seq(last - index)));
            actors.push(change.actor);
            channels.push(&*event.channel);
            kinds.push(*kind);
            payloads.push(std::str::from_utf8(&event.payload).unwrap_or_default());
        }
    }
    let head: HeadRow = statement(
        "WITH head AS (UPDATE gym_log_heads SET seq = seq + $ WHERE gym_id = $ RETURNING gym_id, epoch, seq),
         logged AS (
             INSERT INTO live_events (gym_id, seq, channel, type, payload, actor, at)
             SELECT head.gym_id, head.seq - e.before_last, e.channel, e.type, e.payload, e.actor, e.at
             FROM head, (SELECT unnest($) AS before_last, unnest($) AS channel, unnest($) AS type, unnest($) AS payload,
                                unnest($) AS actor, $ AS at) AS e)
         SELECT epoch, seq FROM head",
    )
    .bind::<BigInt, _>(signed(as_seq(changes.len())))
    .bind::<SqlUuid, _>(gym)
    .bind::<Array<BigInt>, _>(before_last)
    .bind::<Array<Text>, _>(channels)
    .bind::<Array<Text>, _>(kinds)
    .bind::<Array<Text>, _>(payloads)
    .bind::<Array<Nullable<SqlUuid>>, _>(actors)
    .bind::<Timestamptz, _>(now)
    .get_result(&mut conn)
    .await?;
    let (epoch, seq): (Arc<str>, _) = (head.epoch.into(), head.seq.unsigned_abs());
    let committed = |(index, change): (usize, Draft)| Committed {
        log: log_of(gym),
        epoch: epoch.clone(),
        seq: seq - as_seq(last - index),
        events: change.events.into_iter().map(|(event, _)| event).collect(),
        committed_at: None,
        more_soon: false,
    };
    Ok(changes.into_iter().enumerate().map(committed).collect())
}

/// The head of one gym's log; `None` if the gym does not exist.
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

/// The heads of several gyms' logs, in one query.
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

/// The changes of a gym with numbers above `after` and up to `until`, at most `limit` of them, in order. The log has no
/// gaps: if the first change is not `after + 1`, retention has deleted the earlier ones.
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
                log: log_of(gym),
                epoch: epoch.clone(),
                seq,
                events: Vec::new(),
                committed_at: None,
                more_soon: false,
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

/// The events of one channel with numbers above `after` and up to `until`, in order, within `bounds`. The query reads
/// at most one event more than the bounds allow.
pub async fn channel_since(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    channel: &str,
    after: u64,
    until: u64,
    bounds: Bounds,
) -> QueryResult<Missed> {
    #[derive(QueryableByName)]
    struct Event {
        #[diesel(sql_type = BigInt)]
        seq: i64,
        #[diesel(sql_type = Text)]
        payload: String,
    }
    if after == until {
        return Ok(Missed::All(Vec::new()));
    }
    // The log has no gaps, so it reaches back to `after` if and only if it still contains `after + 1`.
    let reached: i64 = live_events::table
        .filter(live_events::gym_id.eq(gym).and(live_events::seq.eq(signed(after + 1))))
        .count()
        .get_result(conn)
        .await?;
    if reached == 0 {
        return Ok(Missed::OutOfReach);
    }
    let limit = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let events: Vec<Event> = diesel::sql_query(
        "SELECT seq, payload FROM (
             SELECT seq, payload, sum(octet_length(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) AS bytes
             FROM live_events WHERE gym_id = $1 AND channel = $2 AND seq > $3 AND seq <= $4
             ORDER BY seq LIMIT $5) AS missed
         WHERE bytes - octet_length(payload) <= $6 ORDER BY seq",
    )
    .bind::<SqlUuid, _>(gym)
    .bind::<Text, _>(channel)
    .bind::<BigInt, _>(signed(after))
    .bind::<BigInt, _>(signed(until))
    .bind::<BigInt, _>(limit(bounds.events).saturating_add(1))
    .bind::<BigInt, _>(limit(bounds.bytes))
    .load(conn)
    .await?;
    let events = events.into_iter().map(|e| (e.seq.unsigned_abs(), e.payload.into()));
    Ok(Missed::within(events, bounds))
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

/// Gives every gym's log a new epoch if the database was restored or copied: if its cluster, its WAL timeline or its
/// object identifier differs from the recorded one. Returns whether it did.
pub async fn rotate_epochs_after_restore(conn: &mut AsyncPgConnection) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Origin {
        #[diesel(sql_type = Text)]
        system_id: String,
        #[diesel(sql_type = Text)]
        timeline: String,
        // Null if an earlier release recorded the origin.
        #[diesel(sql_type = Nullable<BigInt>)]
        database_oid: Option<i64>,
    }
    let now: Origin = diesel::sql_query(
        "SELECT system_identifier::text AS system_id, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS timeline,
                (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_oid
         FROM pg_control_system()",
    )
    .get_result(conn)
    .await?;
    let was: Option<Origin> = diesel::sql_query("SELECT system_id, timeline, database_oid FROM log_origin FOR UPDATE")
        .get_result(conn)
        .await
        .optional()?;
    let restored = was.as_ref().is_some_and(|was| {
        let other_database = was.database_oid.is_some() && was.database_oid != now.database_oid;
        was.system_id != now.system_id || was.timeline != now.timeline || other_database
    });
    if !restored && was.is_some_and(|was| was.database_oid.is_some()) {
        return Ok(false);
    }
    diesel::sql_query(
        "INSERT INTO log_origin (system_id, timeline, database_oid) VALUES ($1, $2, $3)
         ON CONFLICT (only_row) DO UPDATE SET system_id = $1, timeline = $2, database_oid = $3",
    )
    .bind::<Text, _>(now.system_id)
    .bind::<Text, _>(now.timeline)
    .bind::<Nullable<BigInt>, _>(now.database_oid)
    .execute(conn)
    .await?;
    if restored {
        rotate_epochs(conn, None).await?;
    }
    Ok(restored)
}

/// Gives the log of one gym, or of all gyms, a new epoch, so that every client takes a new snapshot. Returns the number
/// of logs.
pub async fn rotate_epochs(conn: &mut AsyncPgConnection, gym: Option<GymId>) -> QueryResult<usize> {
    diesel::sql_query(
        "UPDATE gym_log_heads SET epoch = substr(md5(random()::text || gym_id::text), 1, 8)
         WHERE $1 IS NULL OR gym_id = $1",
    )
    .bind::<Nullable<SqlUuid>, _>(gym)
    .execute(conn)
    .await
}

fn new_epoch() -> String {
    let mut text = uuid::Uuid::new_v4().simple().to_string();
    text.truncate(8);
    text
}

const fn as_seq(count: usize) -> u64 {
    count as u64
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
