//! Rows and SQL of follows.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use diesel::deserialize::{self, FromSql};
use diesel::dsl::sql;
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::{Array, BigInt, Bool, Date, Integer, Text, Uuid as SqlUuid};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, Insertable, JoinOnDsl as _, OptionalExtension as _,
    QueryDsl as _, QueryResult, Queryable, QueryableByName, Selectable, SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use liveplan_nutrition::calendar::Schedule;

use super::Follow;
use super::rules::Status;
use crate::db::schema::{follows, gyms, plan_revisions, plans as plan_rows};
use crate::db::statement::{Bind as _, Statement, statement};
use crate::ids::{AccountId, FollowId, GymId, PlanId};
use crate::plans;

impl FromSql<Text, Pg> for Status {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let name = <String as FromSql<Text, Pg>>::from_sql(bytes)?;
        Self::ALL
            .into_iter()
            .find(|s| s.name() == name)
            .ok_or_else(|| format!("unknown follow status {name}").into())
    }
}

/// A follow to insert.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = follows)]
pub struct NewFollow {
    /// Its id.
    pub id: FollowId,
    /// The gym.
    pub gym_id: GymId,
    /// The member.
    pub member_id: AccountId,
    /// The plan.
    pub plan_id: PlanId,
    /// The plan's revision at the start.
    pub revision: i32,
    /// Name of the status.
    pub status: &'static str,
    /// The plan's first day.
    pub start_date: NaiveDate,
    /// The member's time zone.
    pub time_zone: String,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
}

/// A locked running follow, with the columns that completions need.
#[derive(Clone, Debug, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = follows, check_for_backend(Pg))]
pub struct RunningFollow {
    /// Its id.
    pub id: FollowId,
    /// The member.
    pub member_id: AccountId,
    /// The plan.
    pub plan_id: PlanId,
    /// Active or paused.
    pub status: Status,
    /// The plan's first day.
    pub start_date: NaiveDate,
    /// The member's time zone.
    pub time_zone: String,
}

/// A plan, with the columns that follows need.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = crate::db::schema::plans, check_for_backend(Pg))]
pub struct FollowedPlan {
    /// Its current name.
    pub name: String,
    /// Its status.
    pub status: plans::Status,
    /// The current revision.
    pub revision: i32,
    /// Length of the plan in days.
    pub duration_days: i32,
    /// Its cycle, which determines whether it repeats.
    pub cycle: plans::Cycle,
    /// A live plan's first day.
    pub start_date: Option<NaiveDate>,
}

impl FollowedPlan {
    /// The plan's length, and whether it repeats.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        self.cycle.schedule(self.duration_days)
    }
}

/// Condition that a follow is running.
macro_rules! running {
    () => {
        follows::status.eq_any(Status::RUNNING)
    };
}

/// Selects follows with the plan's name at their start. A revision's name never changes, so a follow on a live channel
/// changes only by its own events.
macro_rules! named_follows {
    ($gym:expr) => {
        follows::table
            .inner_join(
                plan_revisions::table.on(plan_revisions::plan_id
                    .eq(follows::plan_id)
                    .and(plan_revisions::revision.eq(follows::revision))),
            )
            .filter(follows::gym_id.eq($gym).and(plan_revisions::gym_id.eq($gym)))
            .select((
                follows::id,
                follows::member_id,
                follows::plan_id,
                plan_revisions::name,
                follows::revision,
                follows::status,
                follows::start_date,
                follows::time_zone,
            ))
    };
}

/// Finds a follow.
pub async fn find(conn: &mut AsyncPgConnection, gym: GymId, id: FollowId) -> QueryResult<Option<Follow>> {
    named_follows!(gym)
        .filter(follows::id.eq(id))
        .first(conn)
        .await
        .optional()
}

/// Finds a member's running follow.
pub async fn current(conn: &mut AsyncPgConnection, gym: GymId, member: AccountId) -> QueryResult<Option<Follow>> {
    named_follows!(gym)
        .filter(follows::member_id.eq(member))
        .filter(running!())
        .first(conn)
        .await
        .optional()
}

/// Lists the running follows of members.
pub async fn current_of(conn: &mut AsyncPgConnection, gym: GymId, members: &[AccountId]) -> QueryResult<Vec<Follow>> {
    named_follows!(gym)
        .filter(follows::member_id.eq_any(members))
        .filter(running!())
        .load(conn)
        .await
}

/// Lists a member's follows before the cursor, newest first.
pub async fn list(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    member: AccountId,
    before: Option<FollowId>,
    limit: i64,
) -> QueryResult<Vec<Follow>> {
    let mut query = named_follows!(gym).filter(follows::member_id.eq(member)).into_boxed();
    if let Some(before) = before {
        query = query.filter(follows::id.lt(before));
    }
    query.order(follows::id.desc()).limit(limit).load(conn).await
}

/// Inserts a follow. Returns false if the member already has a running follow.
pub async fn insert(conn: &mut AsyncPgConnection, follow: &NewFollow) -> QueryResult<bool> {
    let rows = diesel::insert_into(follows::table)
        .values(follow)
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    Ok(rows == 1)
}

/// Sets the status of a locked follow.
pub async fn set_status(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    id: FollowId,
    status: Status,
    ended_at: Option<DateTime<Utc>>,
) -> QueryResult<()> {
    diesel::update(follows::table.filter(follows::gym_id.eq(gym).and(follows::id.eq(id))))
        .set((follows::status.eq(status.name()), follows::ended_at.eq(ended_at)))
        .execute(conn)
        .await?;
    Ok(())
}

/// Locks a follow until the transaction ends. Returns its member and its status.
pub async fn lock(conn: &mut AsyncPgConnection, gym: GymId, id: FollowId) -> QueryResult<Option<(AccountId, Status)>> {
    follows::table
        .filter(follows::gym_id.eq(gym).and(follows::id.eq(id)))
        .select((follows::member_id, follows::status))
        .for_no_key_update()
        .first(conn)
        .await
        .optional()
}

/// A running follow, with the columns that determine the plan day of a date.
#[derive(Clone, Debug, QueryableByName)]
#[diesel(check_for_backend(Pg))]
pub struct ScheduledFollow {
    /// The follow.
    #[diesel(embed)]
    pub follow: RunningFollow,
    /// The plan's version.
    #[diesel(sql_type = BigInt)]
    pub plan_version: i64,
    #[diesel(sql_type = Integer)]
    duration_days: i32,
    #[diesel(sql_type = Text)]
    cycle: plans::Cycle,
    /// Minutes after midnight at which the gym's day begins.
    #[diesel(sql_type = Integer)]
    pub day_start: i32,
}

impl ScheduledFollow {
    /// The plan's length, and whether it repeats.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        self.cycle.schedule(self.duration_days)
    }
}

/// Locks the running follows of members in the order of follow ids, and reads the schedules of their plans.
pub async fn lock_scheduled(
    conn: &AsyncPgConnection,
    gym: GymId,
    members: &[AccountId],
) -> QueryResult<Vec<ScheduledFollow>> {
    load_scheduled(conn, LOCK_SCHEDULED, gym, members).await
}

/// Like [`lock_scheduled`], but skips follows that another transaction has locked.
pub async fn lock_scheduled_if_free(
    conn: &AsyncPgConnection,
    gym: GymId,
    members: &[AccountId],
) -> QueryResult<Vec<ScheduledFollow>> {
    load_scheduled(conn, LOCK_SCHEDULED_IF_FREE, gym, members).await
}

macro_rules! lock_scheduled {
    ($otherwise:literal) => {
        statement(concat!(
            "SELECT f.id, f.member_id, f.plan_id, f.status, f.start_date, f.time_zone, p.version AS plan_version,
                    p.duration_days, p.cycle, g.day_start
             FROM follows f JOIN plans p ON p.id = f.plan_id JOIN gyms g ON g.id = f.gym_id
             WHERE f.gym_id = $ AND f.member_id = ANY($) AND f.status IN ('active', 'paused')
             ORDER BY f.id FOR NO KEY UPDATE OF f",
            $otherwise
        ))
    };
}

const LOCK_SCHEDULED: Statement = lock_scheduled!("");
const LOCK_SCHEDULED_IF_FREE: Statement = lock_scheduled!(" SKIP LOCKED");

async fn load_scheduled(
    mut conn: &AsyncPgConnection,
    sql: Statement,
    gym: GymId,
    members: &[AccountId],
) -> QueryResult<Vec<ScheduledFollow>> {
    sql.bind::<SqlUuid, _>(gym)
        .bind::<Array<SqlUuid>, _>(members)
        .load(&mut conn)
        .await
}

/// Locks those of the follows that are running, in the order of ids.
pub async fn lock_running_by_id(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    ids: &[FollowId],
) -> QueryResult<Vec<RunningFollow>> {
    follows::table
        .filter(follows::gym_id.eq(gym).and(follows::id.eq_any(ids)))
        .filter(running!())
        .order(follows::id)
        .select(RunningFollow::as_select())
        .for_no_key_update()
        .load(conn)
        .await
}

/// A running follow of a fixed plan, with the columns that determine its end.
#[derive(Clone, Debug, Queryable)]
pub struct EndingFollow {
    /// Its id.
    pub id: FollowId,
    /// The gym.
    pub gym_id: GymId,
    /// The plan's first day.
    pub start_date: NaiveDate,
    /// The member's time zone.
    pub time_zone: String,
    /// Length of the plan in days.
    pub duration_days: i32,
    /// Its cycle, which determines whether it repeats.
    pub cycle: plans::Cycle,
    /// Minutes after midnight at which the gym's day begins.
    pub day_start: i32,
}

/// Lists the running follows of fixed plans whose last day is over in the time zone that is furthest ahead. In the
/// member's own time zone it may not be over yet. Needs the system role.
pub async fn ending(conn: &mut AsyncPgConnection, now: DateTime<Utc>) -> QueryResult<Vec<EndingFollow>> {
    // No time zone is more than 14 hours ahead of UTC.
    let latest_today = (now + TimeDelta::hours(14)).date_naive();
    let last_day_over = sql::<Bool>("follows.start_date + plans.duration_days <= ").bind::<Date, _>(latest_today);
    follows::table
        .inner_join(plan_rows::table.on(plan_rows::id.eq(follows::plan_id)))
        .inner_join(gyms::table.on(gyms::id.eq(follows::gym_id)))
        .filter(running!())
        .filter(plan_rows::cycle.eq(plans::Cycle::Fixed))
        .filter(last_day_over)
        .order(follows::id)
        .select((
            follows::id,
            follows::gym_id,
            follows::start_date,
            follows::time_zone,
            plan_rows::duration_days,
            plan_rows::cycle,
            gyms::day_start,
        ))
        .load(conn)
        .await
}

/// Reads a plan and locks its row, so that nobody can archive or edit it until the transaction ends.
pub async fn hold_plan(conn: &mut AsyncPgConnection, gym: GymId, plan: PlanId) -> QueryResult<Option<FollowedPlan>> {
    plan_rows::table
        .filter(plan_rows::gym_id.eq(gym).and(plan_rows::id.eq(plan)))
        .select(FollowedPlan::as_select())
        .for_share()
        .first(conn)
        .await
        .optional()
}

/// Reads a plan without a lock.
pub async fn plan(conn: &mut AsyncPgConnection, gym: GymId, plan: PlanId) -> QueryResult<Option<FollowedPlan>> {
    plan_rows::table
        .filter(plan_rows::gym_id.eq(gym).and(plan_rows::id.eq(plan)))
        .select(FollowedPlan::as_select())
        .first(conn)
        .await
        .optional()
}
