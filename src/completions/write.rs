//! Writes a batch's changes in one statement: completions upserted and deleted, the history, the daily progress. Rows
//! are passed as JSON, so that one prepared statement serves batches of every size.

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::sql_types::Jsonb;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde_json::{Value, json};

use super::Completed;
use super::progress::Progress;
use super::store::{HistoryRow, Key};
use crate::db::statement::{Bind as _, Statement, statement};
use crate::ids::{AccountId, FollowId, GymId};

/// The rows that a batch writes.
#[derive(Default)]
pub struct Changes<'a> {
    /// Completions to upsert.
    pub there: Vec<(Key, &'a Completed)>,
    /// Completions to delete.
    pub gone: Vec<Key>,
    /// Rows to append to the history.
    pub history: &'a [HistoryRow],
    /// Daily progress to upsert.
    pub days: Vec<(FollowId, AccountId, &'a Progress)>,
}

const WRITE: Statement = statement(
    "WITH there AS (
         INSERT INTO completions (gym_id, follow_id, date, meal_id, status, portion_permille, title, planned, plan_revision,
                                  actor_id, on_behalf, at)
         SELECT gym_id, follow_id, date, meal_id, status, portion_permille, title, planned, plan_revision, actor_id,
                on_behalf, at
         FROM jsonb_populate_recordset(NULL::completions, $)
         ON CONFLICT (follow_id, date, meal_id) DO UPDATE SET
             (status, portion_permille, title, planned, plan_revision, actor_id, on_behalf, at) =
             ROW (excluded.status, excluded.portion_permille, excluded.title, excluded.planned, excluded.plan_revision,
                  excluded.actor_id, excluded.on_behalf, excluded.at)),
     gone AS (
         DELETE FROM completions c USING jsonb_populate_recordset(NULL::completions, $) k
         WHERE c.gym_id = k.gym_id AND c.follow_id = k.follow_id AND c.date = k.date AND c.meal_id = k.meal_id),
     remembered AS (
         INSERT INTO completion_history (id, gym_id, follow_id, date, meal_id, action, portion_permille, client_key, source,
                                         actor_id, at)
         SELECT id, gym_id, follow_id, date, meal_id, action, portion_permille, client_key, source, actor_id, at
         FROM jsonb_populate_recordset(NULL::completion_history, $))
     INSERT INTO daily_progress (gym_id, follow_id, member_id, date, meals_planned, meals_done, meals_skipped, planned, eaten,
                                 updated_at)
     SELECT gym_id, follow_id, member_id, date, meals_planned, meals_done, meals_skipped, planned, eaten, updated_at
     FROM jsonb_populate_recordset(NULL::daily_progress, $)
     ON CONFLICT (follow_id, date) DO UPDATE SET
         (meals_planned, meals_done, meals_skipped, planned, eaten, updated_at) =
         ROW (excluded.meals_planned, excluded.meals_done, excluded.meals_skipped, excluded.planned, excluded.eaten,
              excluded.updated_at)",
);

/// Writes a batch's changes.
pub async fn write(
    mut conn: &AsyncPgConnection,
    gym: GymId,
    changes: &Changes<'_>,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let there: Vec<Value> = changes
        .there
        .iter()
        .map(|(key, done)| completion(gym, *key, done))
        .collect();
    let gone: Vec<Value> = changes.gone.iter().map(|key| identity(gym, *key)).collect();
    let days: Vec<Value> = changes
        .days
        .iter()
        .map(|(follow, member, row)| day(gym, *follow, *member, row, now))
        .collect();
    WRITE
        .bind::<Jsonb, _>(Value::from(there))
        .bind::<Jsonb, _>(Value::from(gone))
        .bind::<Jsonb, _>(json!(changes.history))
        .bind::<Jsonb, _>(Value::from(days))
        .execute(&mut conn)
        .await
        .map(drop)
}

fn identity(gym: GymId, key: Key) -> Value {
    json!({"gym_id": gym, "follow_id": key.follow, "date": key.date, "meal_id": key.meal})
}

fn completion(gym: GymId, key: Key, completed: &Completed) -> Value {
    let tick = &completed.tick;
    json!({
        "gym_id": gym,
        "follow_id": key.follow,
        "date": key.date,
        "meal_id": key.meal,
        "status": tick.status,
        "portion_permille": tick.portion_permille,
        "title": completed.title,
        "planned": completed.planned,
        "plan_revision": completed.plan_revision,
        "actor_id": tick.by.actor,
        "on_behalf": tick.by.on_behalf,
        "at": tick.by.at,
    })
}

fn day(gym: GymId, follow: FollowId, member: AccountId, row: &Progress, now: DateTime<Utc>) -> Value {
    json!({
        "gym_id": gym,
        "follow_id": follow,
        "member_id": member,
        "date": row.date,
        "meals_planned": row.meals_planned,
        "meals_done": row.meals_done,
        "meals_skipped": row.meals_skipped,
        "planned": row.planned,
        "eaten": row.eaten,
        "updated_at": now,
    })
}
