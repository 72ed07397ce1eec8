//! Routes for the items of a meal: create, change, delete.

use actix_web::{HttpResponse, delete, patch, post, web};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{PlanWritten, Tagged, tagged};
use crate::app::App;
use crate::auth::Caller;
use crate::error::Result;
use crate::http::{Body, IfMatch};
use crate::idempotency::{IdempotencyKey, once};
use crate::ids::{ItemId, MealId, PlanId};
use crate::plans::edit::Edit;
use crate::plans::ingredients;
use crate::plans::{Item, ItemPatch, NewItem, Plan};

/// Mounts the routes.
pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(create_item).service(update_item).service(delete_item);
}

/// An item, and the plan's version at which it looked like this.
#[derive(Serialize, ToSchema)]
struct PlanItem {
    /// The plan's version; `"<version>"` is its `ETag`.
    version: i64,
    /// The plan's current revision; 0 for a draft.
    revision: i32,
    /// The item.
    item: Item,
}

impl PlanItem {
    fn of(plan: &Plan, day: i32, meal: MealId, item: ItemId) -> Result<Self> {
        let item = plan.meal_of(day, meal)?.item(item)?.clone();
        Ok(Self {
            version: plan.version,
            revision: plan.revision,
            item,
        })
    }
}

/// Add an item to a meal
#[utoipa::path(
    tag = "plans",
    request_body = NewItem,
    params(
        ("plan" = PlanId, Path),
        ("day" = i32, Path, description = "1 for the first"),
        ("meal" = MealId, Path),
        ("If-Match" = String, Header, description = "the ETag of the plan as last read"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeated key returns the first answer"),
    ),
    responses(
        (status = 201, description = "the item", body = PlanItem),
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
#[post("/plans/{plan}/days/{day}/meals/{meal}/items")]
async fn create_item(
    app: web::Data<App>,
    caller: Caller,
    ids: web::Path<(PlanId, i32, MealId)>,
    version: IfMatch,
    key: IdempotencyKey,
    body: Body<NewItem>,
) -> Result<Tagged> {
    let ((plan, day, meal), new) = (*ids, body.0);
    let answer = app
        .change(&caller, async move |tx| {
            once(
                tx,
                &key,
                &format!("create_item {plan} {day} {meal}"),
                &new,
                201,
                async |tx| {
                    let mut edit = Edit::begin(tx, &caller, plan, &version).await?;
                    let pantry = ingredients::stock(tx, caller.gym, vec![new.food_id]).await?;
                    let item = edit.plan.add_item(day, meal, &new, &pantry)?;
                    PlanItem::of(&edit.save(tx, "item.added").await?, day, meal, item)
                },
            )
            .await
        })
        .await?;
    Ok(Tagged(answer))
}

/// Change the food, the amount or the position of an item
#[utoipa::path(
    tag = "plans",
    request_body = ItemPatch,
    params(
        ("plan" = PlanId, Path),
        ("day" = i32, Path, description = "1 for the first"),
        ("meal" = MealId, Path),
        ("item" = ItemId, Path),
        ("If-Match" = String, Header, description = "the ETag of the plan as last read"),
    ),
    responses(
        (status = 200, description = "the item as it is now", body = PlanItem),
        (status = 400, description = "malformed JSON, or an unknown field"),
        (status = 403, description = "the caller may not change this plan"),
        (status = 404, description = "no such plan in this gym, or no such day, meal or item of it"),
        (status = 409, description = "the plan is archived"),
        (status = 412, description = "the plan has changed since; `ETag` holds the current version"),
        (status = 422, description = "a field is invalid"),
        (status = 428, description = "the `If-Match` header is missing"),
    ),
    security(("bearer" = []))
)]
#[patch("/plans/{plan}/days/{day}/meals/{meal}/items/{item}")]
async fn update_item(
    app: web::Data<App>,
    caller: Caller,
    ids: web::Path<(PlanId, i32, MealId, ItemId)>,
    version: IfMatch,
    body: Body<ItemPatch>,
) -> Result<HttpResponse> {
    let ((plan, day, meal, item), patch) = (*ids, body.0);
    let written = app
        .change(&caller, async move |tx| {
            let mut edit = Edit::begin(tx, &caller, plan, &version).await?;
            let foods = patch.foods(edit.plan.meal_of(day, meal)?.item(item)?);
            let pantry = ingredients::stock(tx, caller.gym, foods).await?;
            edit.plan.update_item(day, meal, item, &patch, &pantry)?;
            PlanItem::of(&edit.save(tx, "item.updated").await?, day, meal, item)
        })
        .await?;
    Ok(tagged(written.version, &written))
}

/// Remove an item
#[utoipa::path(
    tag = "plans",
    params(
        ("plan" = PlanId, Path),
        ("day" = i32, Path, description = "1 for the first"),
        ("meal" = MealId, Path),
        ("item" = ItemId, Path),
        ("If-Match" = String, Header, description = "the ETag of the plan as last read"),
    ),
    responses(
        (status = 200, description = "removed", body = PlanWritten),
        (status = 403, description = "the caller may not change this plan"),
        (status = 404, description = "no such plan in this gym, or no such day, meal or item of it"),
        (status = 409, description = "the plan is archived"),
        (status = 412, description = "the plan has changed since; `ETag` holds the current version"),
        (status = 428, description = "the `If-Match` header is missing"),
    ),
    security(("bearer" = []))
)]
#[delete("/plans/{plan}/days/{day}/meals/{meal}/items/{item}")]
async fn delete_item(
    app: web::Data<App>,
    caller: Caller,
    ids: web::Path<(PlanId, i32, MealId, ItemId)>,
    version: IfMatch,
) -> Result<HttpResponse> {
    let (plan, day, meal, item) = *ids;
    let written = app
        .change(&caller, async move |tx| {
            let mut edit = Edit::begin(tx, &caller, plan, &version).await?;
            edit.plan.remove_item(day, meal, item)?;
            Ok(PlanWritten::from(&edit.save(tx, "item.removed").await?))
        })
        .await?;
    Ok(tagged(written.version, &written))
}
