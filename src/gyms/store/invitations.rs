//! Rows and SQL of invitations.

use chrono::{DateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult, Queryable,
    Selectable, SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Roles;
use crate::auth::link::{self, Secret};
use crate::db::schema::invitations;
use crate::error::Lang;
use crate::ids::{AccountId, GymId, InvitationId};

/// An invitation that nobody has accepted, as the gym's staff may see it. It has only what the inviter wrote, so that it
/// shows nothing about an account with the same email.
#[derive(Clone, Debug, Queryable, Selectable, Serialize, ToSchema)]
#[diesel(table_name = invitations)]
pub struct Invitation {
    /// Its identifier.
    pub id: InvitationId,
    /// Email address that the inviter wrote.
    pub email: String,
    /// Name that the inviter wrote.
    pub name: String,
    /// Roles that the membership will have.
    #[diesel(deserialize_as = Vec<Option<String>>)]
    pub roles: Roles,
    /// Language of the invited person.
    #[schema(value_type = Lang)]
    pub locale: String,
    /// The account that made or last renewed it; absent if it was the server's operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub invited_by: Option<AccountId>,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// When its link stops working. It can be renewed afterwards too.
    pub expires_at: DateTime<Utc>,
}

/// An invitation to create.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// Email address in the form of [`crate::auth::Email`].
    pub email: String,
    /// The person's name.
    pub name: String,
    /// Language of the person.
    pub locale: Lang,
    /// Roles of the membership.
    pub roles: Roles,
    /// The account that invites; `None` for the operator.
    pub invited_by: Option<AccountId>,
}

/// Creates an invitation whose link has this secret. Returns `None` if the gym has an open one for the email.
pub async fn create(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    new: &NewInvitation,
    secret: &Secret,
    now: DateTime<Utc>,
) -> QueryResult<Option<Invitation>> {
    diesel::insert_into(invitations::table)
        .values((
            invitations::id.eq(InvitationId::new()),
            invitations::gym_id.eq(gym),
            invitations::email.eq(&new.email),
            invitations::name.eq(&new.name),
            invitations::locale.eq(new.locale.tag()),
            invitations::roles.eq(new.roles.names()),
            invitations::secret_hash.eq(secret.hash()),
            invitations::invited_by.eq(new.invited_by),
            invitations::created_at.eq(now),
            invitations::expires_at.eq(now + link::LIFE),
        ))
        .on_conflict_do_nothing()
        .returning(Invitation::as_returning())
        .get_result(conn)
        .await
        .optional()
}

/// Lists open invitations in the order of their ids, after one id.
pub async fn list(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    after: InvitationId,
    limit: i64,
) -> QueryResult<Vec<Invitation>> {
    invitations::table
        .filter(invitations::gym_id.eq(gym).and(invitations::ended_at.is_null()))
        .filter(invitations::id.gt(after))
        .order(invitations::id)
        .limit(limit)
        .select(Invitation::as_select())
        .load(conn)
        .await
}

/// Finds an open invitation, expired or not, and locks its row until the transaction ends.
pub async fn lock(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    invitation: InvitationId,
) -> QueryResult<Option<Invitation>> {
    invitations::table
        .find(invitation)
        .filter(invitations::gym_id.eq(gym).and(invitations::ended_at.is_null()))
        .select(Invitation::as_select())
        .for_no_key_update()
        .first(conn)
        .await
        .optional()
}

/// Gives an invitation a new secret, a new inviter and a new expiry. Its old link no longer works.
pub async fn renew(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    invitation: InvitationId,
    invited_by: AccountId,
    secret: &Secret,
    now: DateTime<Utc>,
) -> QueryResult<Invitation> {
    diesel::update(invitations::table.find(invitation).filter(invitations::gym_id.eq(gym)))
        .set((
            invitations::secret_hash.eq(secret.hash()),
            invitations::invited_by.eq(invited_by),
            invitations::expires_at.eq(now + link::LIFE),
        ))
        .returning(Invitation::as_returning())
        .get_result(conn)
        .await
}

/// Ends open invitations without a membership.
pub async fn revoke(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    ids: &[InvitationId],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let open = invitations::table
        .filter(invitations::gym_id.eq(gym).and(invitations::id.eq_any(ids)))
        .filter(invitations::ended_at.is_null());
    diesel::update(open)
        .set(invitations::ended_at.eq(now))
        .execute(conn)
        .await?;
    Ok(())
}

/// Lists the open invitations that an account made, and locks their rows until the transaction ends.
pub async fn lock_made_by(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    account: AccountId,
) -> QueryResult<Vec<Invitation>> {
    invitations::table
        .filter(invitations::gym_id.eq(gym).and(invitations::invited_by.eq(account)))
        .filter(invitations::ended_at.is_null())
        .order(invitations::id)
        .select(Invitation::as_select())
        .for_no_key_update()
        .load(conn)
        .await
}

/// Finds the open invitation of a gym for an email.
pub async fn find_open(conn: &mut AsyncPgConnection, gym: GymId, email: &str) -> QueryResult<Option<InvitationId>> {
    invitations::table
        .filter(invitations::gym_id.eq(gym).and(invitations::email.eq(email)))
        .filter(invitations::ended_at.is_null())
        .select(invitations::id)
        .first(conn)
        .await
        .optional()
}

/// Finds the invitation of a link that still works, with its gym. Needs the system role.
pub async fn find(
    conn: &mut AsyncPgConnection,
    secret: &Secret,
    now: DateTime<Utc>,
) -> QueryResult<Option<(GymId, Invitation)>> {
    invitations::table
        .filter(invitations::secret_hash.eq(secret.hash()))
        .filter(invitations::ended_at.is_null().and(invitations::expires_at.gt(now)))
        .select((invitations::gym_id, Invitation::as_select()))
        .first(conn)
        .await
        .optional()
}

/// Uses a link up, and locks its row until the transaction ends. Returns its gym and invitation, or `None` if the link no
/// longer works. Needs the system role.
pub async fn take(
    conn: &mut AsyncPgConnection,
    secret: &Secret,
    now: DateTime<Utc>,
) -> QueryResult<Option<(GymId, Invitation)>> {
    let open = invitations::table
        .filter(invitations::secret_hash.eq(secret.hash()))
        .filter(invitations::ended_at.is_null().and(invitations::expires_at.gt(now)));
    diesel::update(open)
        .set(invitations::ended_at.eq(now))
        .returning((invitations::gym_id, Invitation::as_returning()))
        .get_result(conn)
        .await
        .optional()
}

/// Records which account joined. Needs the system role.
pub async fn record_acceptance(
    conn: &mut AsyncPgConnection,
    invitation: InvitationId,
    account: AccountId,
) -> QueryResult<()> {
    diesel::update(invitations::table.find(invitation))
        .set(invitations::accepted_by.eq(account))
        .execute(conn)
        .await?;
    Ok(())
}
