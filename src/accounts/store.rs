//! SQL of an account's memberships.

use diesel::sql_types::Bool;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, IntoSql as _, OptionalExtension as _, QueryDsl as _,
    QueryResult, Queryable, Selectable, SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::auth::{Roles, Status};
use crate::db::schema::{gyms, memberships};
use crate::gyms::Gym;
use crate::ids::{AccountId, GymId};

/// An account's membership, with its gym.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = memberships)]
pub struct Belonging {
    /// The gym.
    #[diesel(embed)]
    pub gym: Gym,
    /// Roles in the gym.
    #[diesel(deserialize_as = Vec<Option<String>>)]
    pub roles: Roles,
    /// Status of the membership.
    #[diesel(deserialize_as = String)]
    pub status: Status,
    /// See [`crate::auth::access::AccessClaim`].
    pub access_version: i64,
}

/// Lists an account's memberships of any status, oldest first; those of demo gyms only if `in_demo`, which is whether
/// this server is a demo. The system role sees those of all gyms; the application role sees that of the transaction's
/// gym.
pub async fn belongings(
    conn: &mut AsyncPgConnection,
    account: AccountId,
    in_demo: bool,
) -> QueryResult<Vec<Belonging>> {
    memberships::table
        .inner_join(gyms::table)
        .filter(memberships::account_id.eq(account))
        .filter(gyms::demo.eq(false).or(in_demo.into_sql::<Bool>()))
        .order((memberships::created_at, gyms::slug))
        .select(Belonging::as_select())
        .load(conn)
        .await
}

/// Finds an account's membership of one gym, of any status. A demo gym is found only if `in_demo`.
pub async fn belonging(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    account: AccountId,
    in_demo: bool,
) -> QueryResult<Option<Belonging>> {
    memberships::table
        .inner_join(gyms::table)
        .filter(memberships::gym_id.eq(gym).and(memberships::account_id.eq(account)))
        .filter(gyms::demo.eq(false).or(in_demo.into_sql::<Bool>()))
        .select(Belonging::as_select())
        .first(conn)
        .await
        .optional()
}
