//! Routes for the meals of a day: create, read, change, delete.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{PlanWritten, Tagged, tagged};
use crate::app::App;
use crate::auth::Caller;
use crate::error::Result;
use crate::http::{Body, IfMatch};
use crate::idempotency::{IdempotencyKey, once};
use crate::ids::{MealId, PlanId};
use crate::plans::edit::Edit;
use crate::plans::{Meal, MealPatch, NewMeal, Plan};
use crate::plans::{find_readable, ingredients, meal_edits, tree};

/// Mounts the routes.
pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(create_meal)
        .service(find_meal)
        .service(update_meal)
        .service(delete_meal);
}

/// A meal, and the plan's version at which it looked like this.
#[derive(Serialize, ToSchema)]
struct PlanMeal {
    /// The plan's version; `"<version>"` is its `ETag`.
    version: i64,
    /// The plan's current revision; 0 for a draft.
    revision: i32,
    /// The meal.
    meal: Meal,
}

impl PlanMeal {
    fn of(plan: &Plan, day: i32, meal: MealId) -> Result<Self> {
        let meal = plan.meal_of(day, meal)?.clone();
        Ok(Self {
            version: plan.version,
            revision: plan.revision,
            meal,
        })
    }
}

/// Add a meal to a day
#[utoipa::path(
    tag = "plans",
    request_body = NewMeal,
    params(
        ("plan" = PlanId, Path),
        ("day" = i32, Path, description = "1 for the first"),
        ("If-Match" = String, Header, description = "the ETag of the plan as last read"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeated key returns the first answer"),
    ),
    responses(
        (status = 201, description = "the meal", body = PlanMeal),
        (status = 400, description = "malformed JSON, or an unknown field"),
        (status = 403, description = "the caller may not change this plan"),
        (status = 404, description = "no such plan in this gym, or no such day of it"),
        (status = 409, description = "the plan is archived"),
        (status = 412, description = "the plan has changed since; `ETag` holds the current version"),
        (status = 422, description = "a field is invalid"),
        (status = 428, description = "the `If-Match` header is missing"),
    ),
    security(("bearer" = []))
)]
#[post("/plans/{plan}/days/{day}/meals")]
async fn create_meal(
    app: web::Data<App>,
    caller: Caller,
    ids: web::Path<(PlanId, i32)>,
    version: IfMatch,
    key: IdempotencyKey,
    body: Body<NewMeal>,
) -> Result<Tagged> {
    let ((plan, day), new) = (*ids, body.0);
    let answer = app
        .change(&caller, async move |tx| {
            once(tx, &key, &format!("create_meal {plan} {day}"), &new, 201, async |tx| {
                let mut edit = Edit::begin(tx, &caller, plan, &version).await?;
                let pantry = ingredients::stock(tx, caller.gym, meal_edits::foods(&new.items)).await?;
                let meal = edit.plan.add_meal(day, &new, &pantry)?;
                PlanMeal::of(&edit.save(tx, "meal.added").await?, day, meal)
            })
            .await
        })
        .await?;
    Ok(Tagged(answer))
}

/// Read a meal with its items
#[utoipa::path(
    tag = "plans",
    params(
        ("plan" = PlanId, Path),
        ("day" = i32, Path, description = "1 for the first"),
        ("meal" = MealId, Path),
    ),
    responses(
        (status = 200, description = "the meal", body = PlanMeal),
        (status = 403, description = "the caller may not read this plan"),
        (status = 404, description = "no such plan in this gym, or no such day or meal of it"),
    ),
    security(("bearer" = []))
)]
#[get("/plans/{plan}/days/{day}/meals/{meal}")]
async fn find_meal(app: web::Data<App>, caller: Caller, ids: web::Path<(PlanId, i32, MealId)>) -> Result<HttpResponse> {
    let (plan, day, meal) = *ids;
    let now = app.clock.now();
    let found = app
        .read(&caller, async |conn| {
            let summary = find_readable(conn, &caller, plan, now).await?;
            PlanMeal::of(&tree::current(conn, caller.gym, summary).await?, day, meal)
        })
        .await?;
    Ok(tagged(found.version, &found))
}

/// Change a meal; `items` replaces all items
#[utoipa::path(
    tag = "plans",
    request_body = MealPatch,
    params(
        ("plan" = PlanId, Path),
        ("day" = i32, Path, description = "1 for the first"),
        ("meal" = MealId, Path),
        ("If-Match" = String, Header, description = "the ETag of the plan as last read"),
    ),
    responses(
        (status = 200, description = "the meal as it is now", body = PlanMeal),
        (status = 400, description = "malformed JSON, or an unknown field"),
        (status = 403, description = "the caller may not change this plan"),
        (status = 404, description = "no such plan in this gym, or no such day or meal of it"),
        (status = 409, description = "the plan is archived"),
        (status = 412, description = "the plan has changed since; `ETag` holds the current version"),
        (status = 422, description = "a field is invalid"),
        (status = 428, description = "the `If-Match` header is missing"),
    ),
    security(("bearer" = []))
)]
#[patch("/plans/{plan}/days/{day}/meals/{meal}")]
async fn update_meal(
    app: web::Data<App>,
    caller: Caller,
    ids: web::Path<(PlanId, i32, MealId)>,
    version: IfMatch,
    body: Body<MealPatch>,
) -> Result<HttpResponse> {
    let ((plan, day, meal), patch) = (*ids, body.0);
    let written = app
        .change(&caller, async move |tx| {
            let mut edit = Edit::begin(tx, &caller, plan, &version).await?;
            let foods = patch.items.as_deref().map(meal_edits::foods).unwrap_or_default();
            let pantry = ingredients::stock(tx, caller.gym, foods).await?;
            edit.plan.update_meal(day, meal, &patch, &pantry)?;
            PlanMeal::of(&edit.save(tx, "meal.updated").await?, day, meal)
        })
        .await?;
    Ok(tagged(written.version, &written))
}

/// Remove a meal with its items
#[utoipa::path(
    tag = "plans",
    params(
        ("plan" = PlanId, Path),
        ("day" = i32, Path, description = "1 for the first"),
        ("meal" = MealId, Path),
        ("If-Match" = String, Header, description = "the ETag of the plan as last read"),
    ),
    responses(
        (status = 200, description = "removed", body = PlanWritten),
        (status = 403, description = "the caller may not change this plan"),
        (status = 404, description = "no such plan in this gym, or no such day or meal of it"),
        (status = 409, description = "the plan is archived"),
        (status = 412, description = "the plan has changed since; `ETag` holds the current version"),
        (status = 428, description = "the `If-Match` header is missing"),
    ),
    security(("bearer" = []))
)]
#[delete("/plans/{plan}/days/{day}/meals/{meal}")]
async fn delete_meal(
    app: web::Data<App>,
    caller: Caller,
    ids: web::Path<(PlanId, i32, MealId)>,
    version: IfMatch,
) -> Result<HttpResponse> {
    let (plan, day, meal) = *ids;
    let written = app
        .change(&caller, async move |tx| {
            let mut edit = Edit::begin(tx, &caller, plan, &version).await?;
            edit.plan.remove_meal(day, meal)?;
            Ok(PlanWritten::from(&edit.save(tx, "meal.removed").await?))
        })
        .await?;
    Ok(tagged(written.version, &written))
}
