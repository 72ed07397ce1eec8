//! Rows of gyms, memberships and assignments.

use chrono::{DateTime, Utc};
use diesel::dsl::{auto_type, exists};
use diesel::{
    AsChangeset, BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _,
    PgArrayExpressionMethods as _, QueryDsl as _, QueryResult, Queryable, Selectable, SelectableHelper as _, select,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Serialize;
use utoipa::ToSchema;

use super::rules::Standing;
use crate::auth::store::Gym;
use crate::auth::{Role, Roles, Status};
use crate::db::schema::{accounts, assignments, gyms, memberships};
use crate::ids::{AccountId, AssignmentId, GymId};

/// Makes a gym; false where the slug is taken. As the system.
pub async fn insert_gym(conn: &mut AsyncPgConnection, gym: &Gym, now: DateTime<Utc>) -> QueryResult<bool> {
    let inserted = diesel::insert_into(gyms::table)
        .values((
            gyms::id.eq(gym.id),
            gyms::slug.eq(&gym.slug),
            gyms::name.eq(&gym.name),
            gyms::time_zone.eq(&gym.time_zone),
            gyms::locale.eq(&gym.locale),
            gyms::day_start.eq(gym.day_start),
            gyms::created_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    Ok(inserted == 1)
}

/// A gym.
pub async fn find_gym(conn: &mut AsyncPgConnection, gym: GymId) -> QueryResult<Gym> {
    gyms::table.find(gym).select(Gym::as_select()).first(conn).await
}

/// A change of a gym; what is none stays.
#[derive(AsChangeset, Clone, Debug, PartialEq, Eq)]
#[diesel(table_name = gyms)]
pub struct GymChange {
    /// Its name.
    pub name: Option<String>,
    /// IANA name.
    pub time_zone: Option<String>,
    /// Preferred language.
    pub locale: Option<&'static str>,
    /// Minutes after midnight.
    pub day_start: Option<i32>,
}

/// Changes a gym, where there is something to change.
pub async fn update_gym(conn: &mut AsyncPgConnection, gym: GymId, change: &GymChange) -> QueryResult<()> {
    let update = diesel::update(gyms::table.find(gym)).set(change).execute(conn).await;
    // Diesel refuses an update that sets nothing.
    match update {
        Ok(_) | Err(diesel::result::Error::QueryBuilderError(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A person in a gym.
#[derive(Clone, Debug, Queryable, Serialize, ToSchema)]
pub struct Membership {
    /// Whose.
    pub account_id: AccountId,
    /// Their email.
    pub email: String,
    /// Their name; the email until an invitation is accepted, since no gym learns a name by inviting an address.
    pub name: String,
    /// Roles in the gym.
    #[diesel(deserialize_as = Vec<Option<String>>)]
    pub roles: Roles,
    /// How it stands.
    #[diesel(deserialize_as = String)]
    pub status: Status,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

impl Membership {
    fn known_to_the_gym(self) -> Self {
        if self.status == Status::Invited {
            Self {
                name: self.email.clone(),
                ..self
            }
        } else {
            self
        }
    }

    /// What of it gives access.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            roles: self.roles,
            status: self.status,
        }
    }
}

/// Adds a membership.
pub async fn insert_membership(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    account: AccountId,
    standing: Standing,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(memberships::table)
        .values((
            memberships::gym_id.eq(gym),
            memberships::account_id.eq(account),
            memberships::roles.eq(standing.roles.names()),
            memberships::status.eq(standing.status.name()),
            memberships::created_at.eq(now),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Sets roles and status, so that tokens given before are worth nothing.
pub async fn update_membership(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    account: AccountId,
    standing: Standing,
) -> QueryResult<()> {
    diesel::update(memberships::table.find((gym, account)))
        .set((
            memberships::roles.eq(standing.roles.names()),
            memberships::status.eq(standing.status.name()),
            memberships::access_version.eq(memberships::access_version + 1),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// One membership.
pub async fn find_membership(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    account: AccountId,
) -> QueryResult<Option<Membership>> {
    let found: Option<Membership> = memberships::table
        .inner_join(accounts::table)
        .filter(memberships::gym_id.eq(gym).and(memberships::account_id.eq(account)))
        .select(columns())
        .first(conn)
        .await
        .optional()?;
    Ok(found.map(Membership::known_to_the_gym))
}

#[auto_type]
fn columns() -> _ {
    (
        memberships::account_id,
        accounts::email,
        accounts::name,
        memberships::roles,
        memberships::status,
        memberships::created_at,
    )
}

/// Roles and status of a membership, held as they are until the transaction ends.
pub async fn lock_standing(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    account: AccountId,
) -> QueryResult<Option<Standing>> {
    let row: Option<(Vec<Option<String>>, String)> = memberships::table
        .find((gym, account))
        .select((memberships::roles, memberships::status))
        .for_no_key_update()
        .first(conn)
        .await
        .optional()?;
    Ok(row.map(|(roles, status)| Standing {
        roles: roles.into(),
        status: status.into(),
    }))
}

/// The active owners, held as they are until the transaction ends.
pub async fn lock_owners(conn: &mut AsyncPgConnection, gym: GymId) -> QueryResult<Vec<AccountId>> {
    memberships::table
        .filter(
            memberships::gym_id
                .eq(gym)
                .and(memberships::status.eq(Status::Active.name())),
        )
        .filter(memberships::roles.contains(vec![Some(Role::Owner.name())]))
        .order(memberships::account_id)
        .select(memberships::account_id)
        .for_no_key_update()
        .load(conn)
        .await
}

/// Which memberships to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct MembersWanted {
    /// Those with a role.
    pub role: Option<Role>,
    /// Those that a trainer is assigned to, and the trainer.
    pub of_trainer: Option<AccountId>,
    /// After this account.
    pub after: uuid::Uuid,
    /// How many.
    pub limit: i64,
}

/// Memberships that have not ended, by account.
pub async fn list_memberships(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    wanted: MembersWanted,
    now: DateTime<Utc>,
) -> QueryResult<Vec<Membership>> {
    let mut query = memberships::table
        .inner_join(accounts::table)
        .filter(
            memberships::gym_id
                .eq(gym)
                .and(memberships::status.ne(Status::Ended.name())),
        )
        .filter(memberships::account_id.gt(AccountId(wanted.after)))
        .order(memberships::account_id)
        .limit(wanted.limit)
        .select(columns())
        .into_boxed();
    if let Some(role) = wanted.role {
        query = query.filter(memberships::roles.contains(vec![Some(role.name())]));
    }
    if let Some(trainer) = wanted.of_trainer {
        let theirs = assignments::table
            .filter(assignments::gym_id.eq(gym).and(assignments::trainer_id.eq(trainer)))
            .filter(counts(now))
            .select(assignments::member_id);
        query = query.filter(
            memberships::account_id
                .eq(trainer)
                .or(memberships::account_id.eq_any(theirs)),
        );
    }
    let members: Vec<Membership> = query.load(conn).await?;
    Ok(members.into_iter().map(Membership::known_to_the_gym).collect())
}

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
    pub until: Option<DateTime<Utc>>,
}

/// Whether an assignment counts at an instant.
#[auto_type]
pub(crate) fn counts(now: DateTime<Utc>) -> _ {
    let open = assignments::until.is_null().or(assignments::until.gt(now));
    assignments::since.le(now).and(open)
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

/// The trainers assigned to a member.
pub async fn trainers_of(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    member: AccountId,
    now: DateTime<Utc>,
) -> QueryResult<Vec<AccountId>> {
    assignments::table
        .filter(assignments::gym_id.eq(gym).and(assignments::member_id.eq(member)))
        .filter(counts(now))
        .order(assignments::trainer_id)
        .select(assignments::trainer_id)
        .distinct()
        .load(conn)
        .await
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

/// Ends assignments that count, and returns them.
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
