//! Gyms, who belongs to them and which trainer watches whom.
//!
//! Other nouns ask [`may_watch`] and [`rights_to_act`] who may see and act for a member ([`require_watch`] and
//! [`require_act_for`] answer as a route should), and [`store::is_assigned`]. [`create`] makes a gym, [`members::add`] adds people to
//! it, [`assignments::start`] assigns them.
//! [`assignments::tend`] closes assignments that have come to their end.

pub mod assignments;
pub mod members;
pub mod routes;
pub mod rules;
pub mod store;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;

use crate::app::App;
use crate::auth::store::{self as accounts, Gym, NewAccount};
use crate::auth::{Caller, Email, Role, Status, password};
use crate::error::{Error, Lang, Result};
use crate::events::log;
use crate::ids::{AccountId, GymId};

pub use routes::routes;
use rules::Standing;

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
async fn find_or_create_account(
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

/// Whether the caller may see a member's plan and progress: the member, managers, nutritionists, assigned trainers.
pub async fn may_watch(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    member: AccountId,
    now: DateTime<Utc>,
) -> Result<bool> {
    if caller.account == member {
        return Ok(true);
    }
    if caller.roles.any(&[Role::Manager, Role::Nutritionist]) {
        return Ok(store::find_membership(conn, caller.gym, member).await?.is_some());
    }
    is_assigned_trainer(conn, caller, member, now).await
}

/// Refuses who may not see a member: 404 where there is no such person in the gym, else 403.
pub async fn require_watch(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    member: AccountId,
    now: DateTime<Utc>,
) -> Result<()> {
    if may_watch(conn, caller, member, now).await? {
        return Ok(());
    }
    match store::find_membership(conn, caller.gym, member).await? {
        Some(_) => Err(Error::forbidden()),
        None => Err(Error::not_found("member")),
    }
}

/// Refuses who may not act for a member: 404 where there is no such person in the gym, else 403.
pub async fn require_act_for(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    member: AccountId,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut rights = rights_to_act(conn, caller.gym, &[(*caller, member)], now).await?;
    rights.pop().unwrap_or_else(|| Err(Error::forbidden()))
}

/// Whether each of these callers of one gym may follow, complete and weigh in for a member: the member, and assigned
/// trainers. 404 where there is no such person in the gym, else 403.
pub async fn rights_to_act(
    conn: &AsyncPgConnection,
    gym: GymId,
    asked: &[(Caller, AccountId)],
    now: DateTime<Utc>,
) -> Result<Vec<Result<()>>> {
    let for_others = asked.iter().filter(|(caller, member)| caller.account != *member);
    let (trainers, members): (Vec<_>, Vec<_>) = for_others
        .filter(|(caller, _)| caller.roles.has(Role::Trainer))
        .map(|(caller, member)| (caller.account, *member))
        .unzip();
    let pairs = if trainers.is_empty() {
        HashSet::new()
    } else {
        store::assigned_pairs(conn, gym, &trainers, &members, now).await?
    };
    let may = |caller: &Caller, member: AccountId| {
        if caller.account == member {
            caller.roles.has(Role::Member)
        } else {
            pairs.contains(&(caller.account, member))
        }
    };
    let refused: Vec<_> = asked.iter().filter(|(c, m)| !may(c, *m)).map(|(_, m)| *m).collect();
    let known = if refused.is_empty() {
        HashSet::new()
    } else {
        store::known_members(conn, gym, &refused).await?
    };
    let right = |(caller, member): &(Caller, AccountId)| match may(caller, *member) {
        true => Ok(()),
        false if known.contains(member) => Err(Error::forbidden()),
        false => Err(Error::not_found("member")),
    };
    Ok(asked.iter().map(right).collect())
}

async fn is_assigned_trainer(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    member: AccountId,
    now: DateTime<Utc>,
) -> Result<bool> {
    Ok(caller.roles.has(Role::Trainer) && store::is_assigned(conn, caller.gym, caller.account, member, now).await?)
}
