//! Rows of assignments.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use diesel::dsl::{auto_type, exists, not};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, JoinOnDsl as _, QueryDsl as _, QueryResult, Queryable,
    Selectable, SelectableHelper as _, select,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::schema::{accounts, assignments};
use crate::ids::{AccountId, AssignmentId, GymId};

/// A trainer's assignment to a member.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Serialize, ToSchema)]
#[diesel(table_name = assignments)]
pub struct Assignment {
    /// Its identifier.
    pub id: AssignmentId,
    /// Who watches and adjusts.
    pub trainer_id: AccountId,
    /// Whom.
    pub member_id: AccountId,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when; absent for one without an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub until: Option<DateTime<Utc>>,
}

/// Whether an assignment counts: its end has not come, nor been told. The one definition of it: rights, rosters and lists all
/// ask here. Beginnings are not compared, since an assignment begins with the change that makes it, and a change that waited
/// for that one may have an earlier instant.
#[auto_type]
pub(crate) fn counts(now: DateTime<Utc>) -> _ {
    let open = assignments::until.is_null().or(assignments::until.gt(now));
    // Not `closed = $n`: a generic plan cannot use a partial index whose predicate is a parameter.
    not(assignments::closed).and(open)
}

/// Whether a trainer is assigned to a member.
pub async fn is_assigned(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    trainer: AccountId,
    member: AccountId,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let assigned = assignments::table
        .filter(assignments::gym_id.eq(gym).and(counts(now)))
        .filter(
            assignments::trainer_id
                .eq(trainer)
                .and(assignments::member_id.eq(member)),
        );
    select(exists(assigned)).get_result(conn).await
}

/// Which of these trainers are assigned to which of these members: pairs of trainer and member.
pub async fn assigned_pairs(
    mut conn: &AsyncPgConnection,
    gym: GymId,
    trainers: &[AccountId],
    members: &[AccountId],
    now: DateTime<Utc>,
) -> QueryResult<HashSet<(AccountId, AccountId)>> {
    let pairs: Vec<(AccountId, AccountId)> = assignments::table
        .filter(assignments::gym_id.eq(gym).and(counts(now)))
        .filter(assignments::trainer_id.eq_any(trainers))
        .filter(assignments::member_id.eq_any(members))
        .select((assignments::trainer_id, assignments::member_id))
        .load(&mut conn)
        .await?;
    Ok(pairs.into_iter().collect())
}

/// Adds an assignment.
pub async fn insert_assignment(conn: &mut AsyncPgConnection, gym: GymId, assignment: &Assignment) -> QueryResult<()> {
    diesel::insert_into(assignments::table)
        .values((
            assignments::id.eq(assignment.id),
            assignments::gym_id.eq(gym),
            assignments::trainer_id.eq(assignment.trainer_id),
            assignments::member_id.eq(assignment.member_id),
            assignments::since.eq(assignment.since),
            assignments::until.eq(assignment.until),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Which assignments to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct AssignmentsWanted {
    /// Those of a trainer.
    pub trainer: Option<AccountId>,
    /// Those to a member.
    pub member: Option<AccountId>,
    /// After this assignment.
    pub after: uuid::Uuid,
    /// How many.
    pub limit: i64,
}

/// Assignments that count, oldest first.
pub async fn list_assignments(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    wanted: AssignmentsWanted,
    now: DateTime<Utc>,
) -> QueryResult<Vec<Assignment>> {
    let mut query = assignments::table
        .filter(
            assignments::gym_id
                .eq(gym)
                .and(assignments::id.gt(AssignmentId(wanted.after))),
        )
        .filter(counts(now))
        .order(assignments::id)
        .limit(wanted.limit)
        .select(Assignment::as_select())
        .into_boxed();
    if let Some(trainer) = wanted.trainer {
        query = query.filter(assignments::trainer_id.eq(trainer));
    }
    if let Some(member) = wanted.member {
        query = query.filter(assignments::member_id.eq(member));
    }
    query.load(conn).await
}

/// Which assignments end.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// This one.
    One(AssignmentId),
    /// All of a trainer.
    OfTrainer(AccountId),
    /// All to a member.
    OfMember(AccountId),
}

/// Ends assignments that have not ended, and returns them.
pub async fn end_assignments(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    ending: Ending,
    now: DateTime<Utc>,
) -> QueryResult<Vec<Assignment>> {
    let (id, trainer, member) = match ending {
        Ending::One(id) => (Some(id), None, None),
        Ending::OfTrainer(trainer) => (None, Some(trainer), None),
        Ending::OfMember(member) => (None, None, Some(member)),
    };
    let mut query = diesel::update(assignments::table)
        .set((assignments::until.eq(now), assignments::closed.eq(true)))
        .filter(assignments::gym_id.eq(gym).and(counts(now)))
        .returning(Assignment::as_returning())
        .into_boxed();
    if let Some(id) = id {
        query = query.filter(assignments::id.eq(id));
    }
    if let Some(trainer) = trainer {
        query = query.filter(assignments::trainer_id.eq(trainer));
    }
    if let Some(member) = member {
        query = query.filter(assignments::member_id.eq(member));
    }
    query.get_results(conn).await
}

/// Gyms with assignments whose end has come and was not told. As the system.
pub async fn gyms_with_due(conn: &mut AsyncPgConnection, now: DateTime<Utc>) -> QueryResult<Vec<GymId>> {
    assignments::table
        .filter(assignments::closed.eq(false).and(assignments::until.le(now)))
        .select(assignments::gym_id)
        .distinct()
        .load(conn)
        .await
}

/// Closes the assignments whose end has come, and returns them.
pub async fn close_due(conn: &mut AsyncPgConnection, gym: GymId, now: DateTime<Utc>) -> QueryResult<Vec<Assignment>> {
    let due = assignments::table
        .filter(assignments::gym_id.eq(gym).and(assignments::closed.eq(false)))
        .filter(assignments::until.le(now));
    diesel::update(due)
        .set(assignments::closed.eq(true))
        .returning(Assignment::as_returning())
        .get_results(conn)
        .await
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
        .filter(counts(now))
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
        .filter(counts(now))
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
