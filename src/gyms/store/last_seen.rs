//! Rows of the times when accounts last had an open socket.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::sql_types::Timestamptz;
use diesel::{BoolExpressionMethods as _, ExpressionMethods as _, QueryDsl as _, QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::db::schema::last_seen;
use crate::ids::{AccountId, GymId};

/// Records when accounts were seen. An earlier time never replaces a later one.
pub async fn record_seen(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    seen: &[(AccountId, DateTime<Utc>)],
) -> QueryResult<()> {
    // All nodes upsert in the same order, so that two of them cannot deadlock.
    let mut seen = seen.to_vec();
    seen.sort_unstable();
    for part in seen.chunks(1000) {
        let rows: Vec<_> = part
            .iter()
            .map(|(account, at)| {
                (
                    last_seen::gym_id.eq(gym),
                    last_seen::account_id.eq(*account),
                    last_seen::seen_at.eq(*at),
                )
            })
            .collect();
        diesel::insert_into(last_seen::table)
            .values(&rows)
            .on_conflict((last_seen::gym_id, last_seen::account_id))
            .do_update()
            .set(last_seen::seen_at.eq(sql::<Timestamptz>("greatest(last_seen.seen_at, excluded.seen_at)")))
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Returns when accounts were last seen, without accounts that never were.
pub async fn last_seen(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    accounts: &[AccountId],
) -> QueryResult<HashMap<AccountId, DateTime<Utc>>> {
    let rows: Vec<(AccountId, DateTime<Utc>)> = last_seen::table
        .filter(last_seen::gym_id.eq(gym).and(last_seen::account_id.eq_any(accounts)))
        .select((last_seen::account_id, last_seen::seen_at))
        .load(conn)
        .await?;
    Ok(rows.into_iter().collect())
}
