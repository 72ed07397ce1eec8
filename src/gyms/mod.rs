//! Gyms, and the rows of their memberships and invitations. [`create`] creates a gym and invites its first owner, and
//! [`accept`] makes the holder of an invitation's link a member. The routes of memberships and invitations are in
//! [`crate::members`].

pub mod routes;
pub mod rules;
pub mod store;

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;

use crate::app::App;
use crate::auth::link::Secret;
use crate::auth::store::{self as accounts, NewAccount};
use crate::auth::{Email, Role, Roles, Status, resets};
use crate::error::{Code, Error, Lang, Result};
use crate::events::log;
use crate::ids::{AccountId, GymId, InvitationId};

pub use routes::routes;
use rules::Standing;
pub use store::Gym;
use store::invitations::{self, NewInvitation};

/// A gym to create, and its first owner to invite.
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
    /// Email of the first owner, for the invitation. It identifies nobody: whoever opens the link becomes the owner.
    pub owner_email: String,
    /// Name of the first owner, for the invitation.
    pub owner_name: String,
}

/// Creates a gym with its log, and an invitation for its first owner. Returns the gym and the secret of the
/// invitation's link.
///
/// # Errors
/// 422 for an invalid field, 409 if the slug is taken.
pub async fn create(app: &App, new: NewGym) -> Result<(GymId, Secret)> {
    let slug = new.slug.trim().to_lowercase();
    rules::check_slug(&slug)?;
    rules::check_name("name", &new.name)?;
    rules::check_time_zone(&new.time_zone)?;
    let locale = language("locale", &new.locale)?;
    let owner = owner_invitation(&new.owner_email, &new.owner_name, locale)?;
    let gym = Gym {
        id: GymId::new(),
        slug,
        name: new.name.trim().to_owned(),
        time_zone: new.time_zone,
        locale: locale.tag().to_owned(),
        day_start: 0,
    };
    let now = app.clock.now();
    app.system(async |conn| {
        if !insert_gym(conn, &gym, now).await? {
            return Err(Error::conflict((
                format!("There is already a gym called {}.", gym.slug),
                format!("Ya existe un gimnasio llamado {}.", gym.slug),
            )));
        }
        Ok((gym.id, invite(conn, gym.id, &owner, now).await?))
    })
    .await
}

/// Invites an owner on the operator's behalf, for a gym whose first owner has lost the link or whose owners are gone. An
/// open invitation for the same email is replaced. Returns the secret of the link.
///
/// # Errors
/// 422 for an invalid field, 404 if there is no gym with this slug.
pub async fn invite_owner(app: &App, slug: &str, email: &str, name: &str, locale: &str) -> Result<Secret> {
    let owner = owner_invitation(email, name, language("locale", locale)?)?;
    let now = app.clock.now();
    app.system(async |conn| {
        let gym = store::gym_of_slug(conn, slug).await?;
        let gym = gym.ok_or_else(|| Error::not_found("gym"))?;
        if let Some(open) = invitations::find_open(conn, gym, &owner.email).await? {
            invitations::revoke(conn, gym, &[open], now).await?;
        }
        invite(conn, gym, &owner, now).await
    })
    .await
}

fn language(field: &str, tag: &str) -> Result<Lang> {
    match tag {
        "es" => Ok(Lang::Es),
        "en" => Ok(Lang::En),
        _ => Err(Error::invalid(field, ("es or en", "es o en"))),
    }
}

fn owner_invitation(email: &str, name: &str, locale: Lang) -> Result<NewInvitation> {
    rules::check_name("owner_name", name)?;
    Ok(NewInvitation {
        email: Email::parse(email)?.as_str().to_owned(),
        name: name.trim().to_owned(),
        locale,
        roles: [Role::Owner].into_iter().collect(),
        invited_by: None,
    })
}

async fn invite(conn: &mut AsyncPgConnection, gym: GymId, new: &NewInvitation, now: DateTime<Utc>) -> Result<Secret> {
    let secret = Secret::random();
    let made = invitations::create(conn, gym, new, &secret, now).await?;
    made.map(|_| secret).ok_or_else(|| Error::new(Code::AlreadyInvited))
}

/// Returns the demo's gym and its first owner. Creates both if there is no gym with this slug, and marks the gym as a
/// demo; the caller has checked the fields. Uses the system role.
///
/// # Errors
/// Database errors; 409 if the gym exists without an active owner.
pub async fn find_or_insert_demo(app: &App, gym: &Gym, owner: &NewAccount) -> Result<(GymId, AccountId)> {
    let now = app.clock.now();
    app.system(async |conn| {
        if let Some(owner) = insert(conn, gym, owner, now).await? {
            store::mark_demo(conn, gym.id).await?;
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
    if !insert_gym(conn, gym, now).await? {
        return Ok(None);
    }
    let account = accounts::create_account(conn, owner, now).await?;
    store::insert_membership(conn, gym.id, account, active([Role::Owner].into_iter().collect()), now).await?;
    Ok(Some(account))
}

/// Creates a gym with its log. Returns false if the slug is taken.
async fn insert_gym(conn: &mut AsyncPgConnection, gym: &Gym, now: DateTime<Utc>) -> Result<bool> {
    if !store::insert_gym(conn, gym, now).await? {
        return Ok(false);
    }
    log::create(conn, gym.id).await?;
    Ok(true)
}

fn active(roles: Roles) -> Standing {
    Standing {
        roles,
        status: Status::Active,
    }
}

/// The account that accepts an invitation.
#[derive(Clone, Copy, Debug)]
pub enum Joining<'a> {
    /// An account that the holder of the link has proved to be theirs, by an access token or a password.
    Existing(AccountId),
    /// An account to create.
    New(&'a NewAccount),
}

/// A membership that began by an invitation.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The invitation, which is used up.
    pub invitation: InvitationId,
    /// The gym.
    pub gym: GymId,
    /// The account that joined.
    pub account: AccountId,
    /// Slug of the gym.
    pub slug: String,
}

impl Joined {
    /// Logs the acceptance. Call it after COMMIT.
    pub fn log(&self) {
        let Self {
            invitation,
            gym,
            account,
            ..
        } = self;
        tracing::info!(invitation.id = %invitation, gym.id = %gym, account.id = %account, "invitation accepted");
    }
}

/// Uses the link of an invitation up, and makes the account a member with the invitation's roles. A membership that has
/// ended begins again. Needs the system role.
///
/// Reset links of the account are revoked: those who made them control the account's other gym, and not this one.
///
/// # Errors
/// [`Code::LinkInvalid`]; [`Code::AlreadyMember`] if the account belongs to the gym; [`Code::EmailInUse`] if another
/// account of the gym has its email.
pub async fn accept(
    conn: &mut AsyncPgConnection,
    secret: &Secret,
    joining: Joining<'_>,
    now: DateTime<Utc>,
) -> Result<Joined> {
    let taken = invitations::take(conn, secret, now).await?;
    let (gym, invitation) = taken.ok_or_else(|| Error::new(Code::LinkInvalid))?;
    let slug = store::lock_gym(conn, gym).await?;
    let (account, email) = match joining {
        Joining::Existing(account) => {
            accounts::hold_account(conn, account).await?;
            (account, accounts::account(conn, account).await?.email)
        }
        Joining::New(new) => {
            let account = accounts::create_account(conn, new, now).await?;
            (account, new.email.as_str().to_owned())
        }
    };
    if let Some(other) = store::find_by_email(conn, gym, &email).await? {
        let code = if other == account {
            Code::AlreadyMember
        } else {
            Code::EmailInUse
        };
        return Err(Error::new(code));
    }
    let standing = active(invitation.roles);
    match store::lock_standing(conn, gym, account).await? {
        None => store::insert_membership(conn, gym, account, standing, now).await?,
        Some(_) => store::update_membership(conn, gym, account, standing).await?,
    }
    resets::revoke_for(conn, account, now).await?;
    invitations::record_acceptance(conn, invitation.id, account).await?;
    Ok(Joined {
        invitation: invitation.id,
        gym,
        account,
        slug,
    })
}
