//! Rows and SQL of memberships.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use diesel::dsl::auto_type;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, PgArrayExpressionMethods as _,
    QueryDsl as _, QueryResult, Queryable,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{Role, Roles, Status};
use crate::db::schema::{accounts, gyms, memberships};
use crate::gyms::rules::Standing;
use crate::ids::{AccountId, GymId};

/// A person's membership of a gym.
#[derive(Clone, Debug, Queryable, Serialize, ToSchema)]
pub struct Membership {
    /// The person's account.
    pub account_id: AccountId,
    /// The person's email address.
    pub email: String,
    /// The person's name.
    pub name: String,
    /// Roles in the gym.
    #[diesel(deserialize_as = Vec<Option<String>>)]
    pub roles: Roles,
    /// Status of the membership.
    #[diesel(deserialize_as = String)]
    pub status: Status,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
}

impl Membership {
    /// The roles and the status.
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

/// Sets roles and status, and raises the access version, so that access tokens issued before no longer work.
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

/// Finds a membership of any status.
pub async fn find_membership(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    account: AccountId,
) -> QueryResult<Option<Membership>> {
    memberships::table
        .inner_join(accounts::table)
        .filter(memberships::gym_id.eq(gym).and(memberships::account_id.eq(account)))
        .select(columns())
        .first(conn)
        .await
        .optional()
}

/// Returns those of the accounts that have a membership of the gym, of any status.
pub async fn known_members(
    mut conn: &AsyncPgConnection,
    gym: GymId,
    accounts: &[AccountId],
) -> QueryResult<HashSet<AccountId>> {
    let found: Vec<AccountId> = memberships::table
        .filter(
            memberships::gym_id
                .eq(gym)
                .and(memberships::account_id.eq_any(accounts)),
        )
        .select(memberships::account_id)
        .load(&mut conn)
        .await?;
    Ok(found.into_iter().collect())
}

/// The columns of a [`Membership`], over memberships and accounts.
#[auto_type]
pub(crate) fn columns() -> _ {
    (
        memberships::account_id,
        accounts::email,
        accounts::name,
        memberships::roles,
        memberships::status,
        memberships::created_at,
    )
}

/// Reads roles and status of a membership, and locks its row until the transaction ends.
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

/// Finds a gym by slug, with its first active owner. Needs the system role.
pub async fn find_owner(conn: &mut AsyncPgConnection, slug: &str) -> QueryResult<Option<(GymId, AccountId)>> {
    memberships::table
        .inner_join(gyms::table)
        .filter(gyms::slug.eq(slug).and(memberships::status.eq(Status::Active.name())))
        .filter(memberships::roles.contains(vec![Some(Role::Owner.name())]))
        .order((memberships::created_at, memberships::account_id))
        .select((memberships::gym_id, memberships::account_id))
        .first(conn)
        .await
        .optional()
}

/// Finds the account with an email whose membership of a gym has not ended. There is at most one.
pub async fn find_by_email(conn: &mut AsyncPgConnection, gym: GymId, email: &str) -> QueryResult<Option<AccountId>> {
    memberships::table
        .inner_join(accounts::table)
        .filter(memberships::gym_id.eq(gym).and(accounts::email.eq(email)))
        .filter(memberships::status.ne(Status::Ended.name()))
        .select(memberships::account_id)
        .first(conn)
        .await
        .optional()
}

/// Whether an account has a membership of another gym that has not ended. Needs the system role.
pub async fn belongs_elsewhere(conn: &mut AsyncPgConnection, gym: GymId, account: AccountId) -> QueryResult<bool> {
    let elsewhere = memberships::table
        .filter(memberships::account_id.eq(account).and(memberships::gym_id.ne(gym)))
        .filter(memberships::status.ne(Status::Ended.name()));
    diesel::select(diesel::dsl::exists(elsewhere)).get_result(conn).await
}

/// Lists the active owners, and locks their rows until the transaction ends.
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

/// The settings that determine a member's current date.
#[derive(Clone, Debug, Queryable)]
pub struct MemberTime {
    /// The account's time zone, if it has set one.
    pub account_zone: Option<String>,
    /// The gym's time zone.
    pub gym_zone: String,
    /// Minutes after midnight at which the gym's day begins.
    pub day_start: i32,
}

/// Locks the rows of memberships in the order of account ids, so that the start of a follow and the start of an
/// assignment cannot overlap.
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

/// Reads the settings that determine a member's current date; `None` if the account has no membership of the gym.
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
