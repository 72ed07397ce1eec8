//! Gyms, and the rows of their memberships. [`create`] creates a gym with its first owner. The routes of memberships
//! are in [`crate::members`].

pub mod routes;
pub mod rules;
pub mod store;

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;

use crate::app::App;
use crate::auth::store::{self as accounts, NewAccount};
use crate::auth::{Email, Role, Status, password};
use crate::error::{Error, Lang, Result};
use crate::events::log;
use crate::ids::{AccountId, GymId};

pub use routes::routes;
use rules::Standing;
pub use store::Gym;

/// A gym to create, and its first owner.
#[derive(Clone)]
pub struct NewGym {
    /// Short name in URLs and at sign-in.
    pub slug: String,
    /// Full name.
    pub name: String,
    /// IANA time zone.
    pub time_zone: String,
    /// `es` or `en`.
    pub locale: String,
    /// Email of the first owner. If the email has an account already, the account stays as it is, with its password.
    pub owner_email: String,
    /// Name of the first owner.
    pub owner_name: String,
    /// Password of the first owner.
    pub password: String,
}

/// Creates a gym with its log and its first owner.
///
/// # Errors
/// 422 for an invalid field, 409 if the slug is taken.
pub async fn create(app: &App, new: NewGym) -> Result<GymId> {
    let slug = new.slug.trim().to_lowercase();
    rules::check_slug(&slug)?;
    rules::check_name("name", &new.name)?;
    rules::check_name("owner_name", &new.owner_name)?;
    rules::check_time_zone(&new.time_zone)?;
    password::check(
        "password",
        &new.password,
        &[&new.owner_name, &new.owner_email, &new.name],
    )?;
    let locale = match new.locale.as_str() {
        "es" => Lang::Es,
        "en" => Lang::En,
        _ => return Err(Error::invalid("locale", ("es or en", "es o en"))),
    };
    let owner = NewAccount {
        email: Email::parse(&new.owner_email)?,
        name: new.owner_name.trim().to_owned(),
        locale,
        password_hash: password::hash(new.password).await?,
    };
    let gym = Gym {
        id: GymId::new(),
        slug,
        name: new.name.trim().to_owned(),
        time_zone: new.time_zone,
        locale: locale.tag().to_owned(),
        day_start: 0,
    };
    let now = app.clock.now();
    app.system(async |conn| match insert(conn, &gym, &owner, now).await? {
        Some(_) => Ok(gym.id),
        None => Err(Error::conflict((
            format!("There is already a gym called {}.", gym.slug),
            format!("Ya existe un gimnasio llamado {}.", gym.slug),
        ))),
    })
    .await
}

/// Returns the gym with this slug and its first owner. Creates both if there is no such gym; the caller has checked the
/// fields. Uses the system role.
///
/// # Errors
/// Database errors; 409 if the gym exists without an active owner.
pub async fn find_or_insert(app: &App, gym: &Gym, owner: &NewAccount) -> Result<(GymId, AccountId)> {
    let now = app.clock.now();
    app.system(async |conn| {
        if let Some(owner) = insert(conn, gym, owner, now).await? {
            return Ok((gym.id, owner));
        }
        store::find_owner(conn, &gym.slug).await?.ok_or_else(|| {
            Error::conflict((
                format!("The gym called {} has no active owner.", gym.slug),
                format!("El gimnasio llamado {} no tiene ningún propietario activo.", gym.slug),
            ))
        })
    })
    .await
}

/// Creates a gym with its log and its first owner. Returns the owner; `None` if the slug is taken.
async fn insert(
    conn: &mut AsyncPgConnection,
    gym: &Gym,
    owner: &NewAccount,
    now: DateTime<Utc>,
) -> Result<Option<AccountId>> {
    if !store::insert_gym(conn, gym, now).await? {
        return Ok(None);
    }
    log::create(conn, gym.id).await?;
    let (account, _) = find_or_create_account(conn, owner, now).await?;
    let standing = Standing {
        roles: [Role::Owner].into_iter().collect(),
        status: Status::Active,
    };
    store::insert_membership(conn, gym.id, account, standing, now).await?;
    Ok(Some(account))
}

/// Finds the account with an email, or creates it. Returns it, and whether it was created. An existing account stays as
/// it is. Needs the system role.
pub async fn find_or_create_account(
    conn: &mut AsyncPgConnection,
    new: &NewAccount,
    now: DateTime<Utc>,
) -> Result<(AccountId, bool)> {
    if let Some(account) = accounts::create_account(conn, new, now).await? {
        return Ok((account, true));
    }
    let known = accounts::credentials(conn, &new.email).await?;
    known
        .map(|(account, _)| (account, false))
        .ok_or_else(|| anyhow::anyhow!("the account was deleted between insert and lookup").into())
}
