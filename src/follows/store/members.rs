//! The facts about members that following needs: which day it is for them, and on whose rosters they are.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::dsl::auto_type;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, JoinOnDsl as _, OptionalExtension as _, QueryDsl as _,
    QueryResult, Queryable,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::db::schema::{accounts, assignments, gyms, memberships};
use crate::gyms::store::counts;
use crate::ids::{AccountId, GymId};

/// Zones and day start that decide which day it is for a member.
#[derive(Clone, Debug, Queryable)]
pub struct MemberTime {
    /// The account's zone, where it has set one.
    pub account_zone: Option<String>,
    /// The gym's zone.
    pub gym_zone: String,
    /// Minutes after midnight at which the gym's day begins.
    pub day_start: i32,
}

/// Locks members' places in the gym, in the order of their accounts, so that the start of a follow and that of an
/// assignment take turns.
pub async fn lock_members(conn: &mut AsyncPgConnection, gym: GymId, members: &[AccountId]) -> QueryResult<()> {
    let _: Vec<AccountId> = memberships::table
        .filter(memberships::gym_id.eq(gym).and(memberships::account_id.eq_any(members)))
        .order(memberships::account_id)
        .select(memberships::account_id)
        .for_no_key_update()
        .load(conn)
        .await?;
    Ok(())
}

/// Minutes after midnight at which the gym's day begins.
pub async fn day_start(conn: &mut AsyncPgConnection, gym: GymId) -> QueryResult<i32> {
    gyms::table.find(gym).select(gyms::day_start).first(conn).await
}

/// What decides which day it is for an account of the gym; none for an account that is not of the gym.
pub async fn member_time(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    member: AccountId,
) -> QueryResult<Option<MemberTime>> {
    memberships::table
        .inner_join(accounts::table)
        .inner_join(gyms::table)
        .filter(memberships::gym_id.eq(gym).and(memberships::account_id.eq(member)))
        .select((accounts::time_zone, gyms::time_zone, gyms::day_start))
        .first(conn)
        .await
        .optional()
}

/// Whether an assignment is on its trainer's roster. It is from the moment that it is there: comparing its beginning with
/// the instant of a change would leave it out where the change began before it and waited for it. One whose end was told
/// is over, also for such a change.
#[auto_type]
fn on_roster(now: DateTime<Utc>) -> _ {
    let open = assignments::until.is_null().or(assignments::until.gt(now));
    assignments::closed.eq(false).and(open)
}

/// The trainers on whose rosters members are.
pub async fn trainers_of(
    mut conn: &AsyncPgConnection,
    gym: GymId,
    members: &[AccountId],
    now: DateTime<Utc>,
) -> QueryResult<HashMap<AccountId, Vec<AccountId>>> {
    let rows: Vec<(AccountId, AccountId)> = assignments::table
        .filter(assignments::gym_id.eq(gym).and(assignments::member_id.eq_any(members)))
        .filter(on_roster(now))
        .select((assignments::member_id, assignments::trainer_id))
        .distinct()
        .order((assignments::member_id, assignments::trainer_id))
        .load(&mut conn)
        .await?;
    let mut trainers: HashMap<AccountId, Vec<AccountId>> = HashMap::new();
    for (member, trainer) in rows {
        trainers.entry(member).or_default().push(trainer);
    }
    Ok(trainers)
}

/// A trainer's members: account, name and since when, by assignment.
pub async fn members_of(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    trainer: AccountId,
    now: DateTime<Utc>,
) -> QueryResult<Vec<(AccountId, String, DateTime<Utc>)>> {
    assignments::table
        .inner_join(accounts::table.on(accounts::id.eq(assignments::member_id)))
        .filter(assignments::gym_id.eq(gym).and(assignments::trainer_id.eq(trainer)))
        .filter(on_roster(now))
        .order(assignments::since)
        .select((assignments::member_id, accounts::name, assignments::since))
        .load(conn)
        .await
}

/// When a trainer's assignment to a member ends: none where there is no assignment, `Some(None)` for an open one.
pub async fn assigned_until(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    trainer: AccountId,
    member: AccountId,
    now: DateTime<Utc>,
) -> QueryResult<Option<Option<DateTime<Utc>>>> {
    let ends: Vec<Option<DateTime<Utc>>> = assignments::table
        .filter(assignments::gym_id.eq(gym).and(assignments::trainer_id.eq(trainer)))
        .filter(assignments::member_id.eq(member))
        .filter(counts(now))
        .select(assignments::until)
        .load(conn)
        .await?;
    // An open one outlasts all others.
    Ok(ends
        .into_iter()
        .max_by_key(|until| until.unwrap_or(DateTime::<Utc>::MAX_UTC)))
}
