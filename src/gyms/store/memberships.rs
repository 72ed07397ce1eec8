//! Rows of memberships.

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
    /// As others of the gym may know it.
    #[must_use]
    pub fn known_to_the_gym(self) -> Self {
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

/// Which of these accounts are, or were, in the gym.
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

/// A gym of this slug with the first of its active owners. As the system.
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
