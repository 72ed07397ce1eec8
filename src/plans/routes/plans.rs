//! Routes for plans: list, create, read with the whole tree, change, delete.

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, web};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{CREATIONS, Counted, Tagged, not_modified, tagged, tagged_bytes, tagged_list};
use crate::app::App;
use crate::auth::Caller;
use crate::budget::Permit;
use crate::cache::Ready;
use crate::error::{Error, Result};
use crate::http::etag::{Coding, Stamp};
use crate::http::{Body, IfMatch, Page, PageQuery, etag};
use crate::idempotency::{IdempotencyKey, once, to_json};
use crate::ids::PlanId;
use crate::plans::edit::{self, Edit};
use crate::plans::model::SHAPE;
use crate::plans::{Kind, NewPlan, Plan, PlanPatch, PlanSummary, Status};
use crate::plans::{access, find_readable, lookups, plan_edits, store, tree};

/// Mounts the routes.
pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list_plans)
        .service(create_plan)
        .service(find_plan)
        .service(update_plan)
        .service(delete_plan);
}

/// Filters for the list of plans.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct PlanQuery {
    /// Only plans with this status.
    status: Option<Status>,
    /// Only plans of this kind.
    kind: Option<Kind>,
    /// Plans per page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the previous page.
    cursor: Option<uuid::Uuid>,
}

/// List the plans that the caller may read, oldest first
#[utoipa::path(
    tag = "plans",
    params(
        PlanQuery,
        ("If-None-Match" = Option<String>, Header, description = "the ETag of an earlier answer"),
    ),
    responses(
        (status = 200, description = "plans without their trees; the ETag hashes the list", body = Page<PlanSummary>),
        (status = 304, description = "not modified"),
        (status = 403, description = "the caller's role may not do this"),
    ),
    security(("bearer" = []))
)]
#[get("/plans")]
async fn list_plans(
    app: web::Data<App>,
    caller: Caller,
    _permit: Permit,
    query: web::Query<PlanQuery>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    access::require_reader(&caller)?;
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let limit = page.limit()?;
    let filter = store::Filter {
        status: query.status,
        kind: query.kind,
        after: PlanId(page.after()),
        limit: limit + 1,
    };
    let now = app.clock.now();
    let plans = app
        .read(&caller, async |conn| {
            Ok(store::list(conn, caller.gym, access::readable(&caller, now), &filter).await?)
        })
        .await?;
    tagged_list(&request, &Page::cut(plans, limit, |plan| plan.id.0))
}

/// Create a plan: a draft with empty days
#[utoipa::path(
    tag = "plans",
    request_body = NewPlan,
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeated key returns the first answer")),
    responses(
        (status = 201, description = "the draft", body = Plan),
        (status = 400, description = "malformed JSON, or an unknown field"),
        (status = 403, description = "the caller's role may not do this"),
        (status = 422, description = "a field is invalid"),
        (status = 429, description = "more than ten new plans within an hour; see the `RateLimit` header"),
    ),
    security(("bearer" = []))
)]
#[post("/plans")]
async fn create_plan(app: web::Data<App>, caller: Caller, key: IdempotencyKey, body: Body<NewPlan>) -> Result<Counted> {
    access::require_author(&caller)?;
    let new = body.0;
    let (answer, left) = app
        .change(&caller, async move |tx| {
            let mut left = None;
            let answer = once(tx, &key, "create_plan", &new, 201, async |tx| {
                let plan = new.clone().make(caller.account, tx.now)?;
                left = CREATIONS.take(tx).await?;
                plan_edits::insert(tx, &plan).await?;
                Ok(plan)
            })
            .await?;
            Ok((answer, left))
        })
        .await?;
    Ok(Counted(Tagged(answer), left))
}

/// Read a plan with its whole tree
#[utoipa::path(
    tag = "plans",
    params(
        ("plan" = PlanId, Path),
        ("If-None-Match" = Option<String>, Header, description = "the ETag of an earlier answer"),
    ),
    responses(
        (status = 200, description = "the plan; the ETag covers its version and representation", body = Plan),
        (status = 304, description = "not modified"),
        (status = 403, description = "the caller may not read this plan"),
        (status = 404, description = "no such plan in this gym"),
    ),
    security(("bearer" = []))
)]
#[get("/plans/{plan}")]
async fn find_plan(
    app: web::Data<App>,
    caller: Caller,
    plan: web::Path<PlanId>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    let seen = lookups::version(&app, &caller, *plan).await?;
    let stamp = Stamp {
        version: seen.version,
        shape: *SHAPE,
        epoch: seen.epoch,
    };
    let tag = stamp.tag(Coding::of(&request));
    if etag::none_match(&request, &tag) {
        return Ok(not_modified(tag));
    }
    if let Some(ready) = app.cache.plan(caller.gym, *plan, stamp).await {
        return tagged_bytes(&request, stamp, ready).await;
    }
    // Check the right again: this read uses another snapshot than the lookup above.
    let now = app.clock.now();
    let plan = app
        .read(&caller, async |conn| {
            let summary = find_readable(conn, &caller, *plan, now).await?;
            Ok(tree::current(conn, caller.gym, summary).await?)
        })
        .await?;
    let ready = Ready::from(Bytes::from(to_json(&plan)?));
    // If the log's epoch was rotated since the lookup, this entry is filed under the old epoch, which nobody asks for:
    // it only wastes memory.
    let stamp = Stamp {
        version: plan.version,
        ..stamp
    };
    let ready = app.cache.put_plan(caller.gym, plan.id, stamp, ready);
    tagged_bytes(&request, stamp, ready).await
}

/// Change a plan's own fields; a change of a published plan makes a new revision
#[utoipa::path(
    tag = "plans",
    request_body = PlanPatch,
    params(("plan" = PlanId, Path), ("If-Match" = String, Header, description = "the ETag of the plan as last read")),
    responses(
        (status = 200, description = "the plan as it is now", body = Plan),
        (status = 403, description = "the caller may not change this plan"),
        (status = 404, description = "no such plan in this gym"),
        (status = 409, description = "the plan is archived"),
        (status = 412, description = "the plan has changed since; `ETag` holds the current version"),
        (status = 422, description = "a field is invalid"),
        (status = 428, description = "the `If-Match` header is missing"),
    ),
    security(("bearer" = []))
)]
#[patch("/plans/{plan}")]
async fn update_plan(
    app: web::Data<App>,
    caller: Caller,
    plan: web::Path<PlanId>,
    version: IfMatch,
    body: Body<PlanPatch>,
) -> Result<HttpResponse> {
    let (plan, patch) = (*plan, body.0);
    let plan = app
        .change(&caller, async move |tx| {
            let mut edit = Edit::begin(tx, &caller, plan, &version).await?;
            patch.clone().apply(&mut edit.plan)?;
            edit.save(tx, "plan.revised").await
        })
        .await?;
    Ok(tagged(plan.version, &plan))
}

/// Delete a draft
#[utoipa::path(
    tag = "plans",
    params(("plan" = PlanId, Path), ("If-Match" = String, Header, description = "the ETag of the plan as last read")),
    responses(
        (status = 204, description = "deleted"),
        (status = 403, description = "the caller may not change this plan"),
        (status = 404, description = "no such plan in this gym"),
        (status = 409, description = "the plan has been published"),
        (status = 412, description = "the plan has changed since; `ETag` holds the current version"),
        (status = 428, description = "the `If-Match` header is missing"),
    ),
    security(("bearer" = []))
)]
#[delete("/plans/{plan}")]
async fn delete_plan(
    app: web::Data<App>,
    caller: Caller,
    plan: web::Path<PlanId>,
    version: IfMatch,
) -> Result<HttpResponse> {
    let plan = *plan;
    app.change(&caller, async move |tx| {
        let locked = edit::lock(tx, &caller, plan, &version).await?;
        if locked.status != Status::Draft || locked.revision > 0 {
            return Err(Error::conflict((
                "A plan that was published stays readable. Archive it instead.",
                "Un plan que se publicó sigue siendo legible. Archívalo en su lugar.",
            )));
        }
        Ok(store::delete(tx, caller.gym, plan).await?)
    })
    .await?;
    Ok(HttpResponse::NoContent().finish())
}
