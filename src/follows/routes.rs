//! Routes of follows.

use actix_web::{get, post, web};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::rules::Action;
use super::{Beginning, Follow, store};
use crate::app::App;
use crate::auth::Caller;
use crate::budget::Permit;
use crate::error::{Error, Result};
use crate::http::{Body, Page, PageQuery, bounds};
use crate::idempotency::{Answer, IdempotencyKey, once};
use crate::ids::{AccountId, FollowId, PlanId};
use crate::{assignments, plans};

/// A follow to start.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FollowPlan {
    /// The first day, from 31 days before today to 366 days after it; today by default. A live plan starts on its own
    /// date.
    start_date: Option<NaiveDate>,
    /// The member's IANA time zone; by default the account's, or else the gym's.
    time_zone: Option<String>,
    /// The member for whom an assigned trainer acts; the caller by default.
    member_id: Option<AccountId>,
}

/// Follow a published plan.
///
/// A trainer who starts a follow for a member must be able to read the plan. From then on the member can read it too.
#[utoipa::path(tag = "follows", request_body = FollowPlan,
    params(("Idempotency-Key" = Option<String>, Header, description = "a retry gets the first response")),
    responses((status = 201, body = Follow), (status = 403, description = "the caller may not do this"),
        (status = 404, description = "no such plan or member"),
        (status = 409, description = "the plan is not published, or the member already follows a plan"),
        (status = 422, description = "the time zone or the date is invalid")))]
#[post("/plans/{plan}/follow")]
pub(super) async fn follow_plan(
    app: web::Data<App>,
    caller: Caller,
    plan: web::Path<PlanId>,
    key: IdempotencyKey,
    Body(body): Body<FollowPlan>,
) -> Result<Answer> {
    let plan = plan.into_inner();
    body.start_date
        .map(|date| bounds::date("start_date", date))
        .transpose()?;
    app.change(&caller, async move |tx| {
        let member = body.member_id.unwrap_or(caller.account);
        let now = tx.now;
        if !plans::may_read(tx, &caller, plan, now).await? {
            return Err(Error::forbidden());
        }
        assignments::require_act_for(tx, &caller, member, now).await?;
        once(tx, &key, "plan.follow", &(plan, &body), 201, async |tx| {
            let (start_date, time_zone) = (body.start_date, body.time_zone.clone());
            super::start(
                tx,
                &Beginning {
                    member,
                    plan,
                    start_date,
                    time_zone,
                },
            )
            .await
        })
        .await
    })
    .await
}

/// Filter and page of a list of follows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FollowsQuery {
    /// The member; the caller by default.
    member: Option<AccountId>,
    /// Items per page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the previous page.
    cursor: Option<FollowId>,
}

/// List a member's follows, newest first.
#[utoipa::path(tag = "follows", params(FollowsQuery),
    responses((status = 200, body = Page<Follow>), (status = 403, description = "the caller may not see this member"),
        (status = 404, description = "no such member")))]
#[get("/follows")]
pub(super) async fn list_follows(
    app: web::Data<App>,
    caller: Caller,
    _permit: Permit,
    query: web::Query<FollowsQuery>,
) -> Result<web::Json<Page<Follow>>> {
    let member = query.member.unwrap_or(caller.account);
    let limit = PageQuery {
        limit: query.limit,
        cursor: None,
    }
    .limit()?;
    let follows = app
        .read(&caller, async |conn| {
            assignments::require_watch(conn, &caller, member, app.clock.now()).await?;
            Ok(store::list(conn, caller.gym, member, query.cursor, limit + 1).await?)
        })
        .await?;
    Ok(web::Json(Page::cut(follows, limit, |follow| follow.id.0)))
}

/// Pause a follow.
#[utoipa::path(tag = "follows",
    params(("Idempotency-Key" = Option<String>, Header, description = "a retry gets the first response")),
    responses((status = 200, body = Follow), (status = 403, description = "the caller may not do this"),
        (status = 404, description = "no such follow"), (status = 409, description = "the follow is not active")))]
#[post("/follows/{follow}/pause")]
pub(super) async fn pause_follow(
    app: web::Data<App>,
    caller: Caller,
    follow: web::Path<FollowId>,
    key: IdempotencyKey,
) -> Result<Answer> {
    apply(&app, caller, follow.into_inner(), key, Action::Pause).await
}

/// Resume a paused follow.
#[utoipa::path(tag = "follows",
    params(("Idempotency-Key" = Option<String>, Header, description = "a retry gets the first response")),
    responses((status = 200, body = Follow), (status = 403, description = "the caller may not do this"),
        (status = 404, description = "no such follow"), (status = 409, description = "the follow is not paused")))]
#[post("/follows/{follow}/resume")]
pub(super) async fn resume_follow(
    app: web::Data<App>,
    caller: Caller,
    follow: web::Path<FollowId>,
    key: IdempotencyKey,
) -> Result<Answer> {
    apply(&app, caller, follow.into_inner(), key, Action::Resume).await
}

/// Abandon a follow.
#[utoipa::path(tag = "follows",
    params(("Idempotency-Key" = Option<String>, Header, description = "a retry gets the first response")),
    responses((status = 200, body = Follow), (status = 403, description = "the caller may not do this"),
        (status = 404, description = "no such follow"), (status = 409, description = "the follow has ended")))]
#[post("/follows/{follow}/abandon")]
pub(super) async fn abandon_follow(
    app: web::Data<App>,
    caller: Caller,
    follow: web::Path<FollowId>,
    key: IdempotencyKey,
) -> Result<Answer> {
    apply(&app, caller, follow.into_inner(), key, Action::Abandon).await
}

async fn apply(app: &App, caller: Caller, follow: FollowId, key: IdempotencyKey, action: Action) -> Result<Answer> {
    app.change(&caller, async move |tx| {
        let request = (follow, action.name());
        once(tx, &key, "follow", &request, 200, async |tx| {
            super::apply(tx, &caller, follow, action).await
        })
        .await
    })
    .await
}
