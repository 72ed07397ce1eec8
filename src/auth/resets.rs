//! Rows of one-time links with which a person sets a new password. Every change of the account's roles or memberships
//! revokes the open ones, so that a link never opens more than when it was made.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult,
    QueryableByName,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::link::{self, Secret};
use crate::db::schema::password_resets as resets;
use crate::ids::{AccountId, GymId};

/// The last link to set a new password that somebody made for an account, as the account may see it.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName, Serialize, ToSchema)]
pub struct ResetNotice {
    /// When the link was made.
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// Name of the person who made it; absent if it was the server's operator.
    #[diesel(sql_type = Nullable<Text>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub made_by: Option<String>,
    /// Name of the gym for which it was made.
    #[diesel(sql_type = Text)]
    pub gym: String,
    /// When a password was set with it; absent if it has not been used.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub used_at: Option<DateTime<Utc>>,
}

/// Stores a link for an account, and revokes the account's older ones. `made_by` is `None` for the operator. The caller
/// holds the account's row ([`super::store::hold_account`]). Needs the system role.
pub async fn create(
    conn: &mut AsyncPgConnection,
    (gym, account): (GymId, AccountId),
    made_by: Option<AccountId>,
    secret: &Secret,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    revoke_for(conn, account, now).await?;
    diesel::insert_into(resets::table)
        .values((
            resets::id.eq(Uuid::now_v7()),
            resets::gym_id.eq(gym),
            resets::account_id.eq(account),
            resets::secret_hash.eq(secret.hash()),
            resets::made_by.eq(made_by),
            resets::created_at.eq(now),
            resets::expires_at.eq(now + link::LIFE),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Finds the account of a link that still works, and the gym for which it was made. Needs the system role.
pub async fn find(
    conn: &mut AsyncPgConnection,
    secret: &Secret,
    now: DateTime<Utc>,
) -> QueryResult<Option<(GymId, AccountId)>> {
    resets::table
        .filter(resets::secret_hash.eq(secret.hash()))
        .filter(resets::used_at.is_null().and(resets::revoked_at.is_null()))
        .filter(resets::expires_at.gt(now))
        .select((resets::gym_id, resets::account_id))
        .first(conn)
        .await
        .optional()
}

/// Uses a link up. Returns false if it no longer works. Needs the system role.
pub async fn take(conn: &mut AsyncPgConnection, secret: &Secret, now: DateTime<Utc>) -> QueryResult<bool> {
    let link = resets::table
        .filter(resets::secret_hash.eq(secret.hash()))
        .filter(resets::used_at.is_null().and(resets::revoked_at.is_null()))
        .filter(resets::expires_at.gt(now));
    let taken = diesel::update(link).set(resets::used_at.eq(now)).execute(conn).await?;
    Ok(taken == 1)
}

/// Revokes the open links of an account, in every gym. Needs the system role.
pub async fn revoke_for(conn: &mut AsyncPgConnection, account: AccountId, now: DateTime<Utc>) -> QueryResult<()> {
    let open = resets::table
        .filter(resets::account_id.eq(account))
        .filter(resets::used_at.is_null().and(resets::revoked_at.is_null()));
    diesel::update(open)
        .set(resets::revoked_at.eq(now))
        .execute(conn)
        .await?;
    Ok(())
}

/// Revokes the open links that a gym's staff made for an account, and those that the account made for others.
pub async fn revoke_of(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    account: AccountId,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let open = resets::table
        .filter(resets::gym_id.eq(gym).and(resets::made_by.is_not_null()))
        .filter(resets::account_id.eq(account).or(resets::made_by.eq(account)))
        .filter(resets::used_at.is_null().and(resets::revoked_at.is_null()));
    diesel::update(open)
        .set(resets::revoked_at.eq(now))
        .execute(conn)
        .await?;
    Ok(())
}

/// The last link that was made for an account, in any gym, while its row is kept. Needs the system role.
pub async fn last(conn: &mut AsyncPgConnection, account: AccountId) -> QueryResult<Option<ResetNotice>> {
    diesel::sql_query(
        "SELECT r.created_at, maker.name AS made_by, g.name AS gym, r.used_at
         FROM password_resets r JOIN gyms g ON g.id = r.gym_id LEFT JOIN accounts maker ON maker.id = r.made_by
         WHERE r.account_id = $1 ORDER BY r.created_at DESC LIMIT 1",
    )
    .bind::<SqlUuid, _>(account)
    .get_result(conn)
    .await
    .optional()
}
