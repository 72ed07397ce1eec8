//! Routes of memberships: list people, and change their roles and status. A change also ends the sessions, assignments
//! and one-time links that the new roles or status no longer allow. The routes of `invitations` and of links to set a
//! new password (`resets`) are modules of their own.

mod invitations;
mod resets;
mod store;

use actix_web::{get, patch, web};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::app::App;
use crate::assignments;
use crate::assignments::store::Ending;
use crate::auth::sessions::{self, Reason};
use crate::auth::store::{NewAccount, create_account};
use crate::auth::{Caller, Role, Roles, Status, access, resets as links};
use crate::budget::Permit;
use crate::db;
use crate::error::{Code, Error, Result};
use crate::events::Tx;
use crate::gyms::rules::{self, RUNS, Standing};
use crate::gyms::store as gyms;
use crate::gyms::store::Membership;
use crate::http::{Body, Page, PageQuery};
use crate::ids::AccountId;
use crate::rosters;
use store::MembersWanted;

/// Roles that see every membership of the gym.
const SEES_ALL: [Role; 3] = [Role::Owner, Role::Manager, Role::Nutritionist];

/// Mounts the routes.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(list_memberships)
        .service(find_membership)
        .service(update_membership);
    invitations::routes(config);
    resets::routes(config);
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
    _permit: Permit,
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

/// Creates an account and makes it a member of the transaction's gym, for the demo. A real person joins by accepting an
/// invitation ([`crate::gyms::accept`]).
pub async fn add(tx: &mut Tx, new: &NewAccount, roles: Roles) -> Result<AccountId> {
    let (gym, now) = (tx.gym, tx.now);
    let account = db::as_system(tx, async |conn| Ok(create_account(conn, new, now).await?)).await?;
    let standing = Standing {
        roles,
        status: Status::Active,
    };
    gyms::insert_membership(tx, gym, account, standing, now).await?;
    Ok(account)
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
    /// `active`, `suspended` or `ended`. An ended membership stays ended; invite the person again instead.
    status: Option<Status>,
}

/// Change roles or status. Access tokens issued before no longer work. Suspending or ending a membership signs the
/// person out, and removing a role ends the assignments that need it. For owners and managers. Only owners change
/// owners, and only owners give somebody the role manager, nutritionist or auditor. Nobody changes their own roles.
#[utoipa::path(
    tag = "gym",
    request_body = MembershipPatch,
    params(("account" = AccountId, Path)),
    responses(
        (status = 200, body = Membership),
        (status = 401, description = "not signed in"),
        (status = 403, description = "the caller may not make this change"),
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
            rules::may_change(caller.roles, account == caller.account, before, after)?;
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

/// Writes a change of a membership, and ends the links, sessions and assignments that it no longer allows.
async fn apply(tx: &mut Tx, account: AccountId, before: Standing, after: Standing) -> Result<()> {
    let (gym, now) = (tx.gym, tx.now);
    gyms::update_membership(tx, gym, account, after).await?;
    invitations::revoke_without_right(tx, account, after).await?;
    // In this order, as a reset takes its link before it ends the sessions.
    links::revoke_of(tx, gym, account, now).await?;
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
