//! Gyms, and the rows of who belongs to them. [`create`] makes one with its first owner. What people do with memberships is
//! above, in [`crate::members`].

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

/// A gym and its first owner.
#[derive(Clone)]
pub struct NewGym {
    /// Its name in addresses and at sign-in.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// IANA name.
    pub time_zone: String,
    /// `es` or `en`.
    pub locale: String,
    /// Email of the first owner; one who has an account already keeps it, with its password.
    pub owner_email: String,
    /// Name of the first owner.
    pub owner_name: String,
    /// Password of the first owner.
    pub password: String,
}

/// Makes a gym with its first owner and its log.
///
/// # Errors
/// 422 for what cannot be taken, 409 where the slug is taken.
pub async fn create(app: &App, new: NewGym) -> Result<GymId> {
    let slug = new.slug.trim().to_lowercase();
    rules::check_slug(&slug)?;
    rules::check_name("name", &new.name)?;
    rules::check_name("owner_name", &new.owner_name)?;
    rules::check_time_zone(&new.time_zone)?;
    password::check_length("password", &new.password)?;
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
            format!("there is a gym called {} already", gym.slug),
            format!("ya hay un gimnasio llamado {}", gym.slug),
        ))),
    })
    .await
}

/// The gym of a slug and its first owner; made, of what was checked before, where there is none. As the system.
///
/// # Errors
/// Those of the database; 409 for a gym of that slug that nobody owns.
pub async fn find_or_insert(app: &App, gym: &Gym, owner: &NewAccount) -> Result<(GymId, AccountId)> {
    let now = app.clock.now();
    app.system(async |conn| {
        if let Some(owner) = insert(conn, gym, owner, now).await? {
            return Ok((gym.id, owner));
        }
        store::find_owner(conn, &gym.slug).await?.ok_or_else(|| {
            Error::conflict((
                format!("nobody owns the gym called {}", gym.slug),
                format!("nadie es propietario del gimnasio llamado {}", gym.slug),
            ))
        })
    })
    .await
}

/// Makes a gym with its log and its first owner; none where the slug is taken.
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

/// The account of an email, made where there is none; and whether it was made. One that is there stays as it is. As the
/// system.
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
        .ok_or_else(|| anyhow::anyhow!("an account came and went").into())
}
