//! Routes for a plan's life cycle: publish, archive, duplicate.

use actix_web::{post, web};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{CREATIONS, Counted, Tagged};
use crate::app::App;
use crate::auth::Caller;
use crate::error::{Code, Error, Result};
use crate::http::IfMatch;
use crate::idempotency::{IdempotencyKey, once};
use crate::ids::PlanId;
use crate::plans::edit::{self, Edit};
use crate::plans::{Plan, Status};
use crate::plans::{access, find_readable, plan_edits, rules, store, tree};

/// Mounts the routes.
pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(publish_plan)
        .service(archive_plan)
        .service(duplicate_plan);
}

/// Publish a draft, so that members can follow it; publishing a published plan changes nothing
#[utoipa::path(
    tag = "plans",
    params(
        ("plan" = PlanId, Path),
        ("If-Match" = String, Header, description = "the ETag of the plan as last read"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeated key returns the first answer"),
    ),
    responses(
        (status = 200, description = "the published plan", body = Plan),
        (status = 403, description = "the caller may not change this plan"),
        (status = 404, description = "no such plan in this gym"),
        (status = 409, description = "`plan_empty` or `plan_archived`"),
        (status = 412, description = "the plan has changed since; `ETag` holds the current version"),
        (status = 428, description = "the `If-Match` header is missing"),
    ),
    security(("bearer" = []))
)]
#[post("/plans/{plan}/publish")]
async fn publish_plan(
    app: web::Data<App>,
    caller: Caller,
    plan: web::Path<PlanId>,
    version: IfMatch,
    key: IdempotencyKey,
) -> Result<Tagged> {
    let plan = *plan;
    let answer = app
        .change(&caller, async move |tx| {
            once(tx, &key, &format!("publish_plan {plan}"), &(), 200, async |tx| {
                let mut edit = Edit::begin(tx, &caller, plan, &version).await?;
                if rules::is_empty(&edit.plan) && edit.plan.status == Status::Draft {
                    return Err(Error::new(Code::PlanEmpty));
                }
                edit.plan.summary.status = Status::Published;
                edit.save(tx, "plan.published").await
            })
            .await
        })
        .await?;
    Ok(Tagged(answer))
}

/// Archive a published plan: nobody can change it or start following it any more
#[utoipa::path(
    tag = "plans",
    params(
        ("plan" = PlanId, Path),
        ("If-Match" = String, Header, description = "the ETag of the plan as last read"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeated key returns the first answer"),
    ),
    responses(
        (status = 200, description = "the archived plan", body = Plan),
        (status = 403, description = "the caller may not change this plan"),
        (status = 404, description = "no such plan in this gym"),
        (status = 409, description = "the plan is a draft"),
        (status = 412, description = "the plan has changed since; `ETag` holds the current version"),
        (status = 428, description = "the `If-Match` header is missing"),
    ),
    security(("bearer" = []))
)]
#[post("/plans/{plan}/archive")]
async fn archive_plan(
    app: web::Data<App>,
    caller: Caller,
    plan: web::Path<PlanId>,
    version: IfMatch,
    key: IdempotencyKey,
) -> Result<Tagged> {
    let plan = *plan;
    let answer = app
        .change(&caller, async move |tx| {
            once(tx, &key, &format!("archive_plan {plan}"), &(), 200, async |tx| {
                let locked = edit::lock(tx, &caller, plan, &version).await?;
                if locked.status == Status::Draft {
                    return Err(Error::conflict((
                        "Only a published plan can be archived. Delete the draft instead.",
                        "Solo se puede archivar un plan publicado. Borra el borrador en su lugar.",
                    )));
                }
                let mut edit = Edit::of(tx, &caller, locked).await?;
                edit.plan.summary.status = Status::Archived;
                edit.save(tx, "plan.archived").await
            })
            .await
        })
        .await?;
    Ok(Tagged(answer))
}

/// Copy a plan that the caller may read into a new draft of the caller's own
#[utoipa::path(
    tag = "plans",
    params(
        ("plan" = PlanId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeated key returns the first answer"),
    ),
    responses(
        (status = 201, description = "the draft, with new identifiers", body = Plan),
        (status = 403, description = "the caller may not read this plan"),
        (status = 404, description = "no such plan in this gym"),
        (status = 429, description = "more than ten new plans within an hour; see the `RateLimit` header"),
    ),
    security(("bearer" = []))
)]
#[post("/plans/{plan}/duplicate")]
async fn duplicate_plan(
    app: web::Data<App>,
    caller: Caller,
    plan: web::Path<PlanId>,
    key: IdempotencyKey,
) -> Result<Counted> {
    let plan = *plan;
    let (answer, left) = app
        .change(&caller, async move |tx| {
            let mut left = None;
            let answer = once(tx, &key, &format!("duplicate_plan {plan}"), &(), 201, async |tx| {
                let now = tx.now;
                find_readable(tx, &caller, plan, now).await?;
                access::require_author(&caller)?;
                let held = store::hold(tx, caller.gym, plan).await?;
                let original = held.ok_or_else(|| Error::not_found("plan"))?;
                let copy = tree::current(tx, caller.gym, original).await?.copy(caller.account, now);
                left = CREATIONS.take(tx).await?;
                plan_edits::insert(tx, &copy).await?;
                Ok(copy)
            })
            .await?;
            Ok((answer, left))
        })
        .await?;
    Ok(Counted(Tagged(answer), left))
}
