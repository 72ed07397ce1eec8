//! Rows and SQL of accounts. An account belongs to no gym: creating one and finding one by email need the system role
//! (`App::system`).

use chrono::{DateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult, Queryable,
    Selectable, SelectableHelper as _,
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
    /// Its email.
    pub email: Email,
    /// The person's name.
    pub name: String,
    /// Preferred language.
    pub locale: Lang,
    /// Result of [`super::password::hash`].
    pub password_hash: String,
}

/// Creates an account; `None` if the email is taken. Needs the system role.
pub async fn create_account(
    conn: &mut AsyncPgConnection,
    new: &NewAccount,
    now: DateTime<Utc>,
) -> QueryResult<Option<AccountId>> {
    diesel::insert_into(accounts::table)
        .values((
            accounts::id.eq(AccountId::new()),
            accounts::email.eq(new.email.as_str()),
            accounts::password_hash.eq(&new.password_hash),
            accounts::name.eq(&new.name),
            accounts::locale.eq(new.locale.tag()),
            accounts::created_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .returning(accounts::id)
        .get_result(conn)
        .await
        .optional()
}

/// Finds an account by email. Returns its id and password hash. Needs the system role.
pub async fn credentials(conn: &mut AsyncPgConnection, email: &Email) -> QueryResult<Option<(AccountId, String)>> {
    accounts::table
        .filter(accounts::email.eq(email.as_str()))
        .select((accounts::id, accounts::password_hash))
        .first(conn)
        .await
        .optional()
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
