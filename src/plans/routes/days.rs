//! Routes for days. A plan's days are created and deleted with it; only their titles can change.

use actix_web::{HttpResponse, get, patch, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::tagged;
use crate::app::App;
use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::http::{Body, IfMatch};
use crate::ids::PlanId;
use crate::plans::edit::Edit;
use crate::plans::{Day, Plan, find_readable, tree};

/// Mounts the routes.
pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(find_day).service(update_day);
}

/// A day, and the plan's version at which it looked like this.
#[derive(Serialize, ToSchema)]
struct PlanDay {
    /// The plan's version; `"<version>"` is its `ETag`.
    version: i64,
    /// The plan's current revision; 0 for a draft.
    revision: i32,
    /// The day.
    day: Day,
}

impl PlanDay {
    fn of(plan: &Plan, day: i32) -> Result<Self> {
        let day = plan.day(day).cloned().ok_or_else(|| Error::not_found("day"))?;
        Ok(Self {
            version: plan.version,
            revision: plan.revision,
            day,
        })
    }
}

/// Changes to a day.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DayPatch {
    /// Up to 200 characters; an empty title removes it.
    title: Option<String>,
}

/// Read a day with its meals
#[utoipa::path(
    tag = "plans",
    params(("plan" = PlanId, Path), ("day" = i32, Path, description = "1 for the first")),
    responses(
        (status = 200, description = "the day", body = PlanDay),
        (status = 403, description = "the caller may not read this plan"),
        (status = 404, description = "no such plan in this gym, or no such day of it"),
    ),
    security(("bearer" = []))
)]
#[get("/plans/{plan}/days/{day}")]
async fn find_day(app: web::Data<App>, caller: Caller, ids: web::Path<(PlanId, i32)>) -> Result<HttpResponse> {
    let (plan, day) = *ids;
    let now = app.clock.now();
    let found = app
        .read(&caller, async |conn| {
            let summary = find_readable(conn, &caller, plan, now).await?;
            PlanDay::of(&tree::current(conn, caller.gym, summary).await?, day)
        })
        .await?;
    Ok(tagged(found.version, &found))
}

/// Give a day a title
#[utoipa::path(
    tag = "plans",
    request_body = DayPatch,
    params(
        ("plan" = PlanId, Path),
        ("day" = i32, Path, description = "1 for the first"),
        ("If-Match" = String, Header, description = "the ETag of the plan as last read"),
    ),
    responses(
        (status = 200, description = "the day as it is now", body = PlanDay),
        (status = 403, description = "the caller may not change this plan"),
        (status = 404, description = "no such plan in this gym, or no such day of it"),
        (status = 409, description = "the plan is archived"),
        (status = 412, description = "the plan has changed since; `ETag` holds the current version"),
        (status = 422, description = "a field is invalid"),
        (status = 428, description = "the `If-Match` header is missing"),
    ),
    security(("bearer" = []))
)]
#[patch("/plans/{plan}/days/{day}")]
async fn update_day(
    app: web::Data<App>,
    caller: Caller,
    ids: web::Path<(PlanId, i32)>,
    version: IfMatch,
    body: Body<DayPatch>,
) -> Result<HttpResponse> {
    let ((plan, day), patch) = (*ids, body.0);
    let written = app
        .change(&caller, async move |tx| {
            let mut edit = Edit::begin(tx, &caller, plan, &version).await?;
            match &patch.title {
                Some(title) => edit.plan.rename_day(day, title)?,
                None => drop(edit.plan.day_mut(day)?),
            }
            PlanDay::of(&edit.save(tx, "day.updated").await?, day)
        })
        .await?;
    Ok(tagged(written.version, &written))
}
