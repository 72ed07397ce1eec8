//! Routes of memberships: list and add people, and change their roles and status. A change also ends the sessions and
//! assignments that the new roles or status no longer allow.

mod store;

use actix_web::{get, patch, post, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::app::App;
use crate::assignments;
use crate::assignments::store::Ending;
use crate::auth::access;
use crate::auth::sessions::{self, Reason};
use crate::auth::store::NewAccount;
use crate::auth::{Caller, Email, Role, Roles, Status, password};
use crate::db;
use crate::error::{Code, Error, Lang, Result};
use crate::events::Tx;
use crate::gyms::find_or_create_account;
use crate::gyms::rules::{self, Standing};
use crate::gyms::store as gyms;
use crate::gyms::store::Membership;
use crate::http::{Body, Page, PageQuery};
use crate::idempotency::{Answer, IdempotencyKey, once};
use crate::ids::AccountId;
use crate::rosters;
use store::MembersWanted;

/// Roles that manage memberships.
const RUNS: [Role; 2] = [Role::Owner, Role::Manager];
/// Roles that see every membership of the gym.
const SEES_ALL: [Role; 3] = [Role::Owner, Role::Manager, Role::Nutritionist];

/// Mounts the routes.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(list_memberships)
        .service(create_membership)
        .service(find_membership)
        .service(update_membership);
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct MembershipsQuery {
    /// Only memberships with this role.
    role: Option<Role>,
    /// Items per page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the previous page.
    cursor: Option<Uuid>,
}

/// List the gym's memberships, without those that have ended. Trainers see themselves and their assigned members.
#[utoipa::path(
    tag = "gym",
    params(MembershipsQuery),
    responses(
        (status = 200, body = Page<Membership>),
        (status = 401, description = "not signed in"),
        (status = 403, description = "only for owners, managers, nutritionists and trainers"),
    ),
    security(("bearer" = []))
)]
#[get("/memberships")]
async fn list_memberships(
    app: web::Data<App>,
    caller: Caller,
    query: web::Query<MembershipsQuery>,
) -> Result<web::Json<Page<Membership>>> {
    let sees_all = caller.roles.any(&SEES_ALL);
    if !sees_all {
        caller.require(&[Role::Trainer])?;
    }
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let (limit, now) = (page.limit()?, app.clock.now());
    let wanted = MembersWanted {
        role: query.role,
        of_trainer: (!sees_all).then_some(caller.account),
        after: page.after(),
        limit: limit + 1,
    };
    let members = app
        .read(&caller, async |conn| {
            Ok(store::list_memberships(conn, caller.gym, wanted, now).await?)
        })
        .await?;
    Ok(web::Json(Page::cut(members, limit, |m| m.account_id.0)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMembership {
    email: String,
    name: String,
    /// 8 to 256 characters. Used only if the email has no account yet.
    #[schema(format = Password)]
    password: String,
    roles: Roles,
    /// Language of a new account; the gym's language by default.
    locale: Option<Lang>,
}

/// The part of a request that is compared under an idempotency key. It leaves out the password, because the stored
/// fingerprint must not help to guess it.
#[derive(Serialize)]
struct Request<'a> {
    email: &'a str,
    name: &'a str,
    roles: Roles,
    locale: Option<Lang>,
}

/// Add a person. A new email gets an account, and its membership is active at once. An email that has an account gets
/// an invitation: the account keeps its name and password, and the person accepts by signing in to this gym. For owners
/// and managers; only owners add owners.
#[utoipa::path(
    tag = "gym",
    request_body = NewMembership,
    params(("Idempotency-Key" = Option<String>, Header, description = "a retry gets the first response")),
    responses(
        (status = 201, body = Membership),
        (status = 401, description = "not signed in"),
        (status = 403, description = "not an owner or manager"),
        (status = 409, description = "already_member"),
        (status = 422, description = "a field is invalid"),
    ),
    security(("bearer" = []))
)]
#[post("/memberships")]
async fn create_membership(
    app: web::Data<App>,
    caller: Caller,
    key: IdempotencyKey,
    body: Body<NewMembership>,
) -> Result<Answer> {
    caller.require(&RUNS)?;
    let NewMembership {
        email,
        name,
        password,
        roles,
        locale,
    } = body.0;
    let email = Email::parse(&email)?;
    rules::check_name("name", &name)?;
    rules::roles_not_empty(roles)?;
    password::check("password", &password, &[&name, email.as_str()])?;
    if roles.has(Role::Owner) {
        caller.require(&[Role::Owner])?;
    }
    let name = name.trim().to_owned();
    let password_hash = password::hash(password).await?;
    app.change(&caller, async move |tx| {
        let request = Request {
            email: email.as_str(),
            name: &name,
            roles,
            locale,
        };
        once(tx, &key, "create_membership", &request, 201, async |tx| {
            let locale = match locale {
                Some(locale) => locale,
                None => gyms_language(tx).await?,
            };
            let account = NewAccount {
                email: email.clone(),
                name: name.clone(),
                locale,
                password_hash: password_hash.clone(),
            };
            add(tx, &account, roles).await
        })
        .await
    })
    .await
}

async fn gyms_language(tx: &mut Tx) -> Result<Lang> {
    let gym = tx.gym;
    let gym = gyms::find_gym(tx, gym).await?;
    Ok(if gym.locale == Lang::Es.tag() {
        Lang::Es
    } else {
        Lang::En
    })
}

/// Adds a person to the transaction's gym. A person whose membership has ended is invited again.
///
/// # Errors
/// [`Code::AlreadyMember`].
pub async fn add(tx: &mut Tx, account: &NewAccount, roles: Roles) -> Result<Membership> {
    let (gym, now) = (tx.gym, tx.now);
    let (account, made) = db::as_system(tx, async |conn| find_or_create_account(conn, account, now).await).await?;
    let status = if made { Status::Active } else { Status::Invited };
    let standing = Standing { roles, status };
    match gyms::lock_standing(tx, gym, account).await? {
        None => gyms::insert_membership(tx, gym, account, standing, now).await?,
        Some(before) if before.status == Status::Ended => {
            gyms::update_membership(tx, gym, account, standing).await?;
        }
        Some(_) => return Err(Error::new(Code::AlreadyMember)),
    }
    gyms::find_membership(tx, gym, account)
        .await?
        .ok_or_else(|| Error::not_found("member"))
}

/// Read one membership of the gym.
#[utoipa::path(
    tag = "gym",
    params(("account" = AccountId, Path)),
    responses(
        (status = 200, body = Membership),
        (status = 401, description = "not signed in"),
        (status = 403, description = "the caller may not see this person"),
        (status = 404, description = "the gym has no such person"),
    ),
    security(("bearer" = []))
)]
#[get("/memberships/{account}")]
async fn find_membership(
    app: web::Data<App>,
    caller: Caller,
    path: web::Path<AccountId>,
) -> Result<web::Json<Membership>> {
    let (account, now) = (path.into_inner(), app.clock.now());
    let member = app
        .read(&caller, async |conn| {
            let member = gyms::find_membership(conn, caller.gym, account).await?;
            let member = member.ok_or_else(|| Error::not_found("member"))?;
            if !caller.roles.any(&SEES_ALL) && !assignments::may_watch(conn, &caller, account, now).await? {
                return Err(Error::forbidden());
            }
            Ok(member)
        })
        .await?;
    Ok(web::Json(member))
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MembershipPatch {
    roles: Option<Roles>,
    /// `active`, `suspended` or `ended`. An ended membership stays ended; add the person again instead.
    status: Option<Status>,
}

/// Change roles or status. Access tokens issued before no longer work. Suspending or ending a membership signs the
/// person out, and removing a role ends the assignments that need it. For owners and managers; only owners change
/// owners.
#[utoipa::path(
    tag = "gym",
    request_body = MembershipPatch,
    params(("account" = AccountId, Path)),
    responses(
        (status = 200, body = Membership),
        (status = 401, description = "not signed in"),
        (status = 403, description = "not an owner or manager, or not an owner although ownership changes"),
        (status = 404, description = "the gym has no such person"),
        (status = 409, description = "last_owner"),
        (status = 422, description = "a field is invalid"),
    ),
    security(("bearer" = []))
)]
#[patch("/memberships/{account}")]
async fn update_membership(
    app: web::Data<App>,
    caller: Caller,
    path: web::Path<AccountId>,
    body: Body<MembershipPatch>,
) -> Result<web::Json<Membership>> {
    caller.require(&RUNS)?;
    let (account, patch) = (path.into_inner(), body.0);
    let member = app
        .change(&caller, async move |tx| {
            let gym = tx.gym;
            // Lock the owners first and in one order: if two owners demote each other at once, one waits here.
            let owners = gyms::lock_owners(tx, gym).await?;
            let before = gyms::lock_standing(tx, gym, account)
                .await?
                .ok_or_else(|| Error::not_found("member"))?;
            let after = Standing {
                roles: patch.roles.unwrap_or(before.roles),
                status: patch.status.unwrap_or(before.status),
            };
            rules::may_change(caller.roles, before, after)?;
            if before.owns() && !after.owns() && owners.iter().all(|owner| *owner == account) {
                return Err(Error::new(Code::LastOwner));
            }
            if before != after {
                if account == caller.account {
                    access::hold_own(tx, &caller).await?;
                }
                apply(tx, account, before, after).await?;
            }
            gyms::find_membership(tx, gym, account)
                .await?
                .ok_or_else(|| Error::not_found("member"))
        })
        .await?;
    Ok(web::Json(member))
}

/// Writes a change of a membership, and ends the sessions and assignments that it no longer allows.
async fn apply(tx: &mut Tx, account: AccountId, before: Standing, after: Standing) -> Result<()> {
    let (gym, now) = (tx.gym, tx.now);
    gyms::update_membership(tx, gym, account, after).await?;
    if after.status != Status::Active {
        sessions::end_all(tx, account, None, Reason::Access, now).await?;
    }
    for (role, ending) in [
        (Role::Trainer, Ending::OfTrainer(account)),
        (Role::Member, Ending::OfMember(account)),
    ] {
        if before.keeps(role) && !after.keeps(role) {
            rosters::end(tx, ending).await?;
        }
    }
    tx.access_changed(account);
    Ok(())
}
