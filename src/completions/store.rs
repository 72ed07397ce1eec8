//! SQL that reads completions and daily progress, for many follows at once.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::{Array, BigInt, Date, Text, Uuid as SqlUuid};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, QueryDsl as _, QueryResult, Queryable, QueryableByName,
    Selectable, SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use liveplan_nutrition::nutrients::Totals;
use liveplan_nutrition::portion::CompletionStatus;
use serde::Serialize;
use uuid::Uuid;

use super::progress::Progress;
use super::{By, Completed, Tick};
use crate::db::json::Json;
use crate::db::schema::{completions, daily_progress};
use crate::db::statement::{Bind as _, Statement, statement};
use crate::ids::{AccountId, FollowId, GymId, MealId};

/// A status by its name in the database.
#[derive(FromSqlRow)]
#[diesel(sql_type = Text)]
struct Name(CompletionStatus);

impl FromSql<Text, Pg> for Name {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let name = <String as FromSql<Text, Pg>>::from_sql(bytes)?;
        let status = CompletionStatus::named(&name);
        status
            .map(Self)
            .ok_or_else(|| format!("unknown completion status {name}").into())
    }
}

impl From<Name> for CompletionStatus {
    fn from(name: Name) -> Self {
        name.0
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = completions, check_for_backend(Pg))]
struct Row {
    follow_id: FollowId,
    date: NaiveDate,
    meal_id: MealId,
    #[diesel(deserialize_as = Name)]
    status: CompletionStatus,
    portion_permille: i32,
    title: String,
    #[diesel(deserialize_as = Json<Totals>)]
    planned: Totals,
    plan_revision: i32,
    actor_id: AccountId,
    on_behalf: bool,
    at: DateTime<Utc>,
}

/// The key of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The follow.
    pub follow: FollowId,
    /// The date.
    pub date: NaiveDate,
    /// The meal.
    pub meal: MealId,
}

/// A row of the history of completions.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryRow {
    /// A UUIDv7, ordered by time.
    pub id: Uuid,
    /// The gym.
    pub gym_id: GymId,
    /// The follow.
    pub follow_id: FollowId,
    /// The date.
    pub date: NaiveDate,
    /// The meal.
    pub meal_id: MealId,
    /// Name of a status, or `undone`.
    pub action: &'static str,
    /// The eaten portion in thousandths; 0 for `undone`.
    pub portion_permille: i32,
    /// The client's idempotency key.
    pub client_key: Option<String>,
    /// Origin of the command: `rest`, `socket` or `system`.
    pub source: &'static str,
    /// The account that ticked or undid.
    pub actor_id: AccountId,
    /// Time of the command.
    pub at: DateTime<Utc>,
}

/// Reads the completions of these follows on these dates.
pub async fn completed(
    mut conn: &AsyncPgConnection,
    gym: GymId,
    follows: &[FollowId],
    dates: &[NaiveDate],
) -> QueryResult<Vec<(Key, Completed)>> {
    let rows: Vec<Row> = completions::table
        .filter(completions::gym_id.eq(gym).and(completions::follow_id.eq_any(follows)))
        .filter(completions::date.eq_any(dates))
        .select(Row::as_select())
        .load(&mut conn)
        .await?;
    Ok(rows.into_iter().map(Row::split).collect())
}

/// Reads the completions of a follow from a date on.
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
            by: By {
                actor: self.actor_id,
                on_behalf: self.on_behalf,
                at: self.at,
            },
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
                planned: self.planned,
                plan_revision: self.plan_revision,
            },
        )
    }
}

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = SqlUuid)]
    follow: FollowId,
    #[diesel(sql_type = Date)]
    date: NaiveDate,
    #[diesel(sql_type = SqlUuid)]
    meal: MealId,
}

const FULL: Statement = statement(
    "SELECT follow_id AS follow, date, meal_id AS meal FROM completion_history
     WHERE gym_id = $ AND follow_id = ANY($) AND date = ANY($) AND meal_id = ANY($)
     GROUP BY follow_id, date, meal_id HAVING count(*) >= $",
);

/// The keys among these with at least `entries` entries in their history; none for 0.
pub async fn full(mut conn: &AsyncPgConnection, gym: GymId, keys: &[Key], entries: u32) -> QueryResult<HashSet<Key>> {
    if entries == 0 {
        return Ok(HashSet::new());
    }
    let rows: Vec<KeyRow> = FULL
        .bind::<SqlUuid, _>(gym)
        .bind::<Array<SqlUuid>, _>(keys.iter().map(|key| key.follow).collect::<Vec<_>>())
        .bind::<Array<Date>, _>(keys.iter().map(|key| key.date).collect::<Vec<_>>())
        .bind::<Array<SqlUuid>, _>(keys.iter().map(|key| key.meal).collect::<Vec<_>>())
        .bind::<BigInt, _>(i64::from(entries))
        .load(&mut conn)
        .await?;
    let keys = rows
        .into_iter()
        .map(|KeyRow { follow, date, meal }| Key { follow, date, meal });
    Ok(keys.collect())
}

/// Reads the daily progress of these follows on these dates.
pub async fn progress(
    mut conn: &AsyncPgConnection,
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
        .load(&mut conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(follow, row)| ((follow, row.date), row))
        .collect())
}

/// Reads the daily progress of these follows from a date on, in the order of dates.
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

/// Reads a member's daily progress in a range of dates. If several follows have a date, the newest of them counts.
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
