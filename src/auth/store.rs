//! Rows and SQL of accounts. An account belongs to no gym: creating one and finding one by email need the system role
//! (`App::system`). An email identifies an account within a gym only.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Nullable, Text, Uuid as SqlUuid};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult, Queryable,
    QueryableByName, Selectable, SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Serialize;
use utoipa::ToSchema;

use super::email::Email;
use crate::db::schema::accounts;
use crate::error::Lang;
use crate::ids::AccountId;

/// An account, as its owner may see it.
#[derive(Clone, Debug, Queryable, Selectable, Serialize, ToSchema)]
#[diesel(table_name = accounts)]
pub struct Account {
    /// Its identifier.
    pub id: AccountId,
    /// Email address in lower case.
    pub email: String,
    /// The person's name.
    pub name: String,
    /// Preferred language.
    #[schema(value_type = Lang)]
    pub locale: String,
    /// IANA time zone; absent if the account uses its gym's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub time_zone: Option<String>,
}

/// An account to create.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// The email that signs in; see [`credentials`].
    pub email: Email,
    /// The person's name.
    pub name: String,
    /// Preferred language.
    pub locale: Lang,
    /// Result of [`super::password::hash`].
    pub password_hash: String,
}

/// Creates an account. Other accounts may have the same email. Needs the system role.
pub async fn create_account(
    conn: &mut AsyncPgConnection,
    new: &NewAccount,
    now: DateTime<Utc>,
) -> QueryResult<AccountId> {
    diesel::insert_into(accounts::table)
        .values((
            accounts::id.eq(AccountId::new()),
            accounts::email.eq(new.email.as_str()),
            accounts::password_hash.eq(&new.password_hash),
            accounts::name.eq(&new.name),
            accounts::locale.eq(new.locale.tag()),
            accounts::created_at.eq(now),
        ))
        .returning(accounts::id)
        .get_result(conn)
        .await
}

/// Finds the account that signs in with an email. Returns its id and password hash. Needs the system role.
///
/// Several accounts may have the email, because nothing proves whose it is. The named gym has at most one of them whose
/// membership has not ended, and that one comes first; then one whose membership of that gym has ended; then those with
/// a current membership of any gym; and the oldest of several. It is always one account, so that a sign-in verifies one
/// password and its duration reveals nothing.
pub async fn credentials(
    conn: &mut AsyncPgConnection,
    email: &Email,
    gym: Option<&str>,
) -> QueryResult<Option<(AccountId, String)>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        id: AccountId,
        #[diesel(sql_type = Text)]
        password_hash: String,
    }
    let row: Option<Row> = diesel::sql_query(
        "SELECT a.id, a.password_hash FROM accounts a
         LEFT JOIN (memberships m JOIN gyms g ON g.id = m.gym_id AND g.slug = $2) ON m.account_id = a.id
         WHERE a.email = $1
         ORDER BY m.status IS NULL, m.status = 'ended',
                  NOT EXISTS (SELECT FROM memberships o WHERE o.account_id = a.id AND o.status <> 'ended'),
                  a.created_at, a.id
         LIMIT 1",
    )
    .bind::<Text, _>(email.as_str())
    .bind::<Nullable<Text>, _>(gym)
    .get_result(conn)
    .await
    .optional()?;
    Ok(row.map(|row| (row.id, row.password_hash)))
}

/// Locks the account's row until the transaction ends, so that its memberships, its password and its reset links change
/// in turn. It comes before locks of the account's memberships and links. Does nothing for an account that does not
/// exist. Needs the system role.
pub async fn hold_account(conn: &mut AsyncPgConnection, account: AccountId) -> QueryResult<()> {
    let _: Option<AccountId> = accounts::table
        .find(account)
        .select(accounts::id)
        .for_no_key_update()
        .first(conn)
        .await
        .optional()?;
    Ok(())
}

/// Replaces the password hash, whatever it was, for a person who proved themselves with a reset link. Needs the system
/// role.
pub async fn reset_password(conn: &mut AsyncPgConnection, account: AccountId, hash: &str) -> QueryResult<()> {
    diesel::update(accounts::table.find(account))
        .set(accounts::password_hash.eq(hash))
        .execute(conn)
        .await?;
    Ok(())
}

/// Reads an account's password hash. Needs the system role.
pub async fn password_hash(conn: &mut AsyncPgConnection, account: AccountId) -> QueryResult<String> {
    accounts::table
        .find(account)
        .select(accounts::password_hash)
        .first(conn)
        .await
}

/// Locks the account's row, so that its password cannot change until the transaction ends. Returns false if the
/// password no longer has this hash. Needs the system role.
pub async fn hold_password(conn: &mut AsyncPgConnection, account: AccountId, hash: &str) -> QueryResult<bool> {
    let held: Option<AccountId> = accounts::table
        .filter(accounts::id.eq(account).and(accounts::password_hash.eq(hash)))
        .select(accounts::id)
        .for_share()
        .first(conn)
        .await
        .optional()?;
    Ok(held.is_some())
}

/// Replaces the password hash. Returns false if the current hash is no longer `old_hash`. Needs the system role.
pub async fn set_password(
    conn: &mut AsyncPgConnection,
    account: AccountId,
    old_hash: &str,
    new_hash: &str,
) -> QueryResult<bool> {
    let account = accounts::table.filter(accounts::id.eq(account).and(accounts::password_hash.eq(old_hash)));
    let changed = diesel::update(account)
        .set(accounts::password_hash.eq(new_hash))
        .execute(conn)
        .await?;
    Ok(changed == 1)
}

/// Reads an account.
pub async fn account(conn: &mut AsyncPgConnection, account: AccountId) -> QueryResult<Account> {
    accounts::table
        .find(account)
        .select(Account::as_select())
        .first(conn)
        .await
}
