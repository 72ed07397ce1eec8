//! Rows and SQL of assignments.

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
    /// The trainer.
    pub trainer_id: AccountId,
    /// The member.
    pub member_id: AccountId,
    /// Start of the assignment.
    pub since: DateTime<Utc>,
    /// End of the assignment; absent if it is open-ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub until: Option<DateTime<Utc>>,
}

/// Condition that an assignment is in force: it is not closed, and its end has not passed. Rights, rosters and lists
/// all use this one definition. It does not compare `since`: an assignment starts with the change that creates it, and
/// a change that waited for that one can have an earlier `now`.
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

/// Returns the pairs (trainer, member) of these trainers and members that have an assignment in force.
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

/// Filter and page of a list of assignments.
#[derive(Clone, Copy, Debug, Default)]
pub struct AssignmentsWanted {
    /// Only those of this trainer.
    pub trainer: Option<AccountId>,
    /// Only those to this member.
    pub member: Option<AccountId>,
    /// The last assignment of the previous page; nil for the first page.
    pub after: uuid::Uuid,
    /// Maximum number of rows.
    pub limit: i64,
}

/// Lists assignments in force, oldest first.
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

/// Which assignments to end.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// This one.
    One(AssignmentId),
    /// All of a trainer.
    OfTrainer(AccountId),
    /// All to a member.
    OfMember(AccountId),
}

/// Ends and closes the selected assignments that are in force, and returns them.
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

/// Lists gyms with assignments whose end has passed and that are not closed yet. Needs the system role.
pub async fn gyms_with_due(conn: &mut AsyncPgConnection, now: DateTime<Utc>) -> QueryResult<Vec<GymId>> {
    assignments::table
        .filter(assignments::closed.eq(false).and(assignments::until.le(now)))
        .select(assignments::gym_id)
        .distinct()
        .load(conn)
        .await
}

/// Closes the assignments whose end has passed, and returns them.
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

/// Returns the assigned trainers of each of these members.
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

/// Lists a trainer's assigned members (account, name, start of the assignment), in the order of the starts.
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

/// Returns when a trainer's assignment to a member ends: `None` without an assignment, `Some(None)` for an open-ended
/// one.
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
    // An open-ended assignment outlasts all others.
    Ok(ends
        .into_iter()
        .max_by_key(|until| until.unwrap_or(DateTime::<Utc>::MAX_UTC)))
}
