//! Accounts. One belongs to no gym: finding it by its email and making it need the system's scope.

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

/// An account as its owner reads it.
#[derive(Clone, Debug, Queryable, Selectable, Serialize, ToSchema)]
#[diesel(table_name = accounts)]
pub struct Account {
    /// Its identifier.
    pub id: AccountId,
    /// Lower case.
    pub email: String,
    /// The person's name.
    pub name: String,
    /// Preferred language.
    #[schema(value_type = Lang)]
    pub locale: String,
    /// IANA name; absent where the gym's is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub time_zone: Option<String>,
}

/// What an account is made of.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its email.
    pub email: Email,
    /// The person's name.
    pub name: String,
    /// Preferred language.
    pub locale: Lang,
    /// From [`super::password::hash`].
    pub password_hash: String,
}

/// Makes an account; none where the email is taken. As the system.
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

/// Whose email it is, and the hash of their password. As the system.
pub async fn credentials(conn: &mut AsyncPgConnection, email: &Email) -> QueryResult<Option<(AccountId, String)>> {
    accounts::table
        .filter(accounts::email.eq(email.as_str()))
        .select((accounts::id, accounts::password_hash))
        .first(conn)
        .await
        .optional()
}

/// The hash of an account's password.
pub async fn password_hash(conn: &mut AsyncPgConnection, account: AccountId) -> QueryResult<String> {
    accounts::table
        .find(account)
        .select(accounts::password_hash)
        .first(conn)
        .await
}

/// Holds the password as it is until the transaction ends; false where it is no longer the one that has this hash.
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

/// Sets a new password; false where the old one is no longer the one that has this hash.
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

/// An account.
pub async fn account(conn: &mut AsyncPgConnection, account: AccountId) -> QueryResult<Account> {
    accounts::table
        .find(account)
        .select(Account::as_select())
        .first(conn)
        .await
}
