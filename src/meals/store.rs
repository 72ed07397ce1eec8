//! Rows and SQL of completions, their history and the daily rows. All of it set-wise.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{Array, Date, Jsonb, Text, Uuid as SqlUuid};
use diesel::upsert::excluded;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, Insertable, QueryDsl as _, QueryResult, Queryable, Selectable,
    SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde_json::Value;
use uuid::Uuid;

use super::progress::Progress;
use super::rules::{Completed, Status, Tick};
use crate::db::schema::{completion_history, completions, daily_progress};
use crate::foods::nutrients::Totals;
use crate::ids::{AccountId, FollowId, GymId, MealId};

impl FromSql<Text, Pg> for Status {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let name = <String as FromSql<Text, Pg>>::from_sql(bytes)?;
        Self::ALL
            .into_iter()
            .find(|s| s.name() == name)
            .ok_or_else(|| format!("no completion is {name}").into())
    }
}

impl ToSql<Text, Pg> for Status {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        <str as ToSql<Text, Pg>>::to_sql(self.name(), out)
    }
}

/// What a meal held at full portion, kept in a form that sums can go on from.
#[derive(Clone, Debug, AsExpression, FromSqlRow)]
#[diesel(sql_type = Jsonb)]
struct Kept(Totals);

impl FromSql<Jsonb, Pg> for Kept {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(serde_json::from_value(<Value as FromSql<Jsonb, Pg>>::from_sql(
            bytes,
        )?)?))
    }
}

impl ToSql<Jsonb, Pg> for Kept {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let value = serde_json::to_value(&self.0)?;
        <Value as ToSql<Jsonb, Pg>>::to_sql(&value, &mut out.reborrow())
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = completions, check_for_backend(Pg))]
struct Row {
    follow_id: FollowId,
    date: NaiveDate,
    meal_id: MealId,
    status: Status,
    portion_permille: i32,
    title: String,
    planned: Kept,
    plan_revision: i32,
    actor_id: AccountId,
    on_behalf: bool,
    at: DateTime<Utc>,
}

/// Which completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The follow.
    pub follow: FollowId,
    /// The day.
    pub date: NaiveDate,
    /// The meal.
    pub meal: MealId,
}

/// An entry of the history.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = completion_history)]
pub struct HistoryRow {
    /// Ordered by time.
    pub id: Uuid,
    /// The gym.
    pub gym_id: GymId,
    /// The follow.
    pub follow_id: FollowId,
    /// The day.
    pub date: NaiveDate,
    /// The meal.
    pub meal_id: MealId,
    /// A status, or `undone`.
    pub action: &'static str,
    /// The portion; 0 for one undone.
    pub portion_permille: i32,
    /// The client's key.
    pub client_key: Option<String>,
    /// Which way it came.
    pub source: &'static str,
    /// Who said so.
    pub actor_id: AccountId,
    /// When.
    pub at: DateTime<Utc>,
}

/// The completions of these follows on these dates.
pub async fn completed(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    follows: &[FollowId],
    dates: &[NaiveDate],
) -> QueryResult<Vec<(Key, Completed)>> {
    let rows: Vec<Row> = completions::table
        .filter(completions::gym_id.eq(gym).and(completions::follow_id.eq_any(follows)))
        .filter(completions::date.eq_any(dates))
        .select(Row::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(Row::split).collect())
}

/// The completions of a follow from a date on.
pub async fn completed_since(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    follow: FollowId,
    from: NaiveDate,
) -> QueryResult<Vec<(Key, Completed)>> {
    let rows: Vec<Row> = completions::table
        .filter(completions::gym_id.eq(gym).and(completions::follow_id.eq(follow)))
        .filter(completions::date.ge(from))
        .select(Row::as_select())
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(Row::split).collect())
}

impl Row {
    fn split(self) -> (Key, Completed) {
        let tick = Tick {
            status: self.status,
            portion_permille: self.portion_permille,
            actor: self.actor_id,
            on_behalf: self.on_behalf,
            at: self.at,
        };
        (
            Key {
                follow: self.follow_id,
                date: self.date,
                meal: self.meal_id,
            },
            Completed {
                tick,
                title: self.title,
                planned: self.planned.0,
                plan_revision: self.plan_revision,
            },
        )
    }

    fn join(key: Key, completed: &Completed) -> Self {
        Self {
            follow_id: key.follow,
            date: key.date,
            meal_id: key.meal,
            status: completed.tick.status,
            portion_permille: completed.tick.portion_permille,
            title: completed.title.clone(),
            planned: Kept(completed.planned.clone()),
            plan_revision: completed.plan_revision,
            actor_id: completed.tick.actor,
            on_behalf: completed.tick.on_behalf,
            at: completed.tick.at,
        }
    }
}

/// Writes completions, over those that are there.
pub async fn put(conn: &mut AsyncPgConnection, gym: GymId, rows: &[(Key, &Completed)]) -> QueryResult<()> {
    let rows: Vec<_> = rows
        .iter()
        .map(|(key, completed)| (completions::gym_id.eq(gym), Row::join(*key, completed)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    diesel::insert_into(completions::table)
        .values(rows)
        .on_conflict((completions::follow_id, completions::date, completions::meal_id))
        .do_update()
        .set((
            completions::status.eq(excluded(completions::status)),
            completions::portion_permille.eq(excluded(completions::portion_permille)),
            completions::title.eq(excluded(completions::title)),
            completions::planned.eq(excluded(completions::planned)),
            completions::plan_revision.eq(excluded(completions::plan_revision)),
            completions::actor_id.eq(excluded(completions::actor_id)),
            completions::on_behalf.eq(excluded(completions::on_behalf)),
            completions::at.eq(excluded(completions::at)),
        ))
        .execute(conn)
        .await
        .map(drop)
}

/// Takes completions away.
pub async fn remove(conn: &mut AsyncPgConnection, gym: GymId, keys: &[Key]) -> QueryResult<()> {
    if keys.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "DELETE FROM completions c USING unnest($2, $3, $4) AS k(follow_id, date, meal_id)
         WHERE c.gym_id = $1 AND c.follow_id = k.follow_id AND c.date = k.date AND c.meal_id = k.meal_id",
    )
    .bind::<SqlUuid, _>(gym)
    .bind::<Array<SqlUuid>, _>(keys.iter().map(|k| k.follow).collect::<Vec<_>>())
    .bind::<Array<Date>, _>(keys.iter().map(|k| k.date).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(keys.iter().map(|k| k.meal).collect::<Vec<_>>())
    .execute(conn)
    .await
    .map(drop)
}

/// Adds to the history.
pub async fn remember(conn: &mut AsyncPgConnection, rows: &[HistoryRow]) -> QueryResult<()> {
    if rows.is_empty() {
        return Ok(());
    }
    diesel::insert_into(completion_history::table)
        .values(rows)
        .execute(conn)
        .await
        .map(drop)
}

/// The daily rows of these follows on these dates.
pub async fn progress(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    follows: &[FollowId],
    dates: &[NaiveDate],
) -> QueryResult<HashMap<(FollowId, NaiveDate), Progress>> {
    let rows: Vec<(FollowId, Progress)> = daily_progress::table
        .filter(
            daily_progress::gym_id
                .eq(gym)
                .and(daily_progress::follow_id.eq_any(follows)),
        )
        .filter(daily_progress::date.eq_any(dates))
        .select((daily_progress::follow_id, Progress::as_select()))
        .load(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(follow, row)| ((follow, row.date), row))
        .collect())
}

/// The daily rows of these follows from a date on, in the order of their dates.
pub async fn progress_since(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    follows: &[FollowId],
    from: NaiveDate,
) -> QueryResult<Vec<(FollowId, Progress)>> {
    daily_progress::table
        .filter(
            daily_progress::gym_id
                .eq(gym)
                .and(daily_progress::follow_id.eq_any(follows)),
        )
        .filter(daily_progress::date.ge(from))
        .order(daily_progress::date)
        .select((daily_progress::follow_id, Progress::as_select()))
        .load(conn)
        .await
}

/// A member's days in a range, each of the last follow that has it.
pub async fn progress_between(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    member: AccountId,
    from: NaiveDate,
    to: NaiveDate,
) -> QueryResult<Vec<Progress>> {
    daily_progress::table
        .filter(daily_progress::gym_id.eq(gym).and(daily_progress::member_id.eq(member)))
        .filter(daily_progress::date.between(from, to))
        .distinct_on(daily_progress::date)
        .order((daily_progress::date, daily_progress::follow_id.desc()))
        .select(Progress::as_select())
        .load(conn)
        .await
}

/// Writes daily rows, over those that are there.
pub async fn put_progress(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    rows: &[(FollowId, AccountId, Progress)],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let rows: Vec<_> = rows
        .iter()
        .map(|(follow, member, progress)| {
            (
                daily_progress::gym_id.eq(gym),
                daily_progress::follow_id.eq(*follow),
                daily_progress::member_id.eq(*member),
                daily_progress::updated_at.eq(now),
                progress,
            )
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    diesel::insert_into(daily_progress::table)
        .values(rows)
        .on_conflict((daily_progress::follow_id, daily_progress::date))
        .do_update()
        .set((
            daily_progress::meals_planned.eq(excluded(daily_progress::meals_planned)),
            daily_progress::meals_done.eq(excluded(daily_progress::meals_done)),
            daily_progress::meals_skipped.eq(excluded(daily_progress::meals_skipped)),
            daily_progress::planned.eq(excluded(daily_progress::planned)),
            daily_progress::eaten.eq(excluded(daily_progress::eaten)),
            daily_progress::updated_at.eq(excluded(daily_progress::updated_at)),
        ))
        .execute(conn)
        .await
        .map(drop)
}
