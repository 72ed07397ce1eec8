//! Routes for the published revisions of a plan: list them, and read the plan as of one.

use actix_web::{HttpResponse, get, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::app::App;
use crate::auth::Caller;
use crate::budget::Permit;
use crate::error::{Error, Result};
use crate::http::PageQuery;
use crate::ids::PlanId;
use crate::plans::store::RevisionSummary;
use crate::plans::{Plan, find_readable, store, tree};

/// Mounts the routes.
pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list_revisions).service(find_revision);
}

/// Paging for the list of revisions.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct RevisionQuery {
    /// Revisions per page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the previous page.
    cursor: Option<i32>,
}

/// A page of revisions.
#[derive(Serialize, ToSchema)]
struct RevisionPage {
    /// The revisions, newest first.
    items: Vec<RevisionSummary>,
    /// Cursor of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// List a plan's revisions, newest first
#[utoipa::path(
    tag = "plans",
    params(("plan" = PlanId, Path), RevisionQuery),
    responses(
        (status = 200, description = "revisions; none for a draft", body = RevisionPage),
        (status = 403, description = "the caller may not read this plan"),
        (status = 404, description = "no such plan in this gym"),
    ),
    security(("bearer" = []))
)]
#[get("/plans/{plan}/revisions")]
async fn list_revisions(
    app: web::Data<App>,
    caller: Caller,
    _permit: Permit,
    plan: web::Path<PlanId>,
    query: web::Query<RevisionQuery>,
) -> Result<web::Json<RevisionPage>> {
    let limit = PageQuery {
        limit: query.limit,
        cursor: None,
    }
    .limit()?;
    let now = app.clock.now();
    let mut items = app
        .read(&caller, async |conn| {
            let plan = find_readable(conn, &caller, *plan, now).await?;
            let before = query.cursor.unwrap_or(i32::MAX);
            Ok(store::list_revisions(conn, caller.gym, plan.id, before, limit + 1).await?)
        })
        .await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > size;
    items.truncate(size);
    let next_cursor = items.last().filter(|_| more).map(|last| last.revision.to_string());
    Ok(web::Json(RevisionPage { items, next_cursor }))
}

/// Read a plan as of a revision; the answer never changes
#[utoipa::path(
    tag = "plans",
    params(("plan" = PlanId, Path), ("revision" = i32, Path, description = "1 for the first publication")),
    responses(
        (status = 200, description = "the plan as of that revision", body = Plan),
        (status = 403, description = "the caller may not read this plan"),
        (status = 404, description = "no such plan in this gym, or no such revision of it"),
    ),
    security(("bearer" = []))
)]
#[get("/plans/{plan}/revisions/{revision}")]
async fn find_revision(
    app: web::Data<App>,
    caller: Caller,
    _permit: Permit,
    ids: web::Path<(PlanId, i32)>,
) -> Result<HttpResponse> {
    let (plan, revision) = *ids;
    let now = app.clock.now();
    let plan = app
        .read(&caller, async |conn| {
            let summary = find_readable(conn, &caller, plan, now).await?;
            let then = tree::past(conn, caller.gym, summary, revision).await?;
            then.ok_or_else(|| Error::not_found("revision"))
        })
        .await?;
    Ok(HttpResponse::Ok().json(plan))
}
