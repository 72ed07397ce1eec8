//! Routes for foods: every role searches and reads; managers, nutritionists and trainers write the gym's own.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::draft::{FoodPatch, NewFood};
use super::model::Food;
use super::{search, store};
use crate::app::App;
use crate::auth::{Caller, Role};
use crate::budget::Permit;
use crate::error::{Error, Result};
use crate::events::Tx;
use crate::http::{Body, Page, PageQuery};
use crate::idempotency::{Answer, IdempotencyKey, once};
use crate::ids::FoodId;

/// Roles that may add foods and change the ones they added.
const WRITES: [Role; 3] = [Role::Manager, Role::Nutritionist, Role::Trainer];
/// Roles that may change every food of their gym.
const EDITS_ALL: [Role; 2] = [Role::Manager, Role::Nutritionist];

/// Mounts the routes.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(list_foods)
        .service(create_food)
        .service(find_food)
        .service(update_food)
        .service(delete_food);
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct FoodsQuery {
    /// Words of a name in either language, or a barcode. Without it, the answer lists all foods by identifier.
    q: Option<String>,
    /// Items per page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the previous page. A search has only one page.
    cursor: Option<Uuid>,
}

/// Search shared foods and the gym's own, best match first.
#[utoipa::path(
    tag = "foods",
    params(FoodsQuery),
    responses((status = 200, body = Page<Food>), (status = 401, description = "not signed in")),
    security(("bearer" = []))
)]
#[get("/foods")]
async fn list_foods(
    app: web::Data<App>,
    caller: Caller,
    _permit: Permit,
    query: web::Query<FoodsQuery>,
) -> Result<web::Json<Page<Food>>> {
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let limit = page.limit()?;
    let q = query.q.as_deref().unwrap_or_default().trim();
    let page = app
        .read(&caller, async |conn| {
            Ok(if q.is_empty() {
                let foods = store::list(conn, caller.gym, page.after(), limit + 1).await?;
                Page::cut(foods, limit, |food| food.id.0)
            } else {
                Page::all(search::search(conn, caller.gym, q, limit).await?)
            })
        })
        .await?;
    Ok(web::Json(page))
}

/// One food.
#[utoipa::path(
    tag = "foods",
    params(("food" = FoodId, Path)),
    responses(
        (status = 200, body = Food),
        (status = 401, description = "not signed in"),
        (status = 404, description = "no such food"),
    ),
    security(("bearer" = []))
)]
#[get("/foods/{food}")]
async fn find_food(app: web::Data<App>, caller: Caller, path: web::Path<FoodId>) -> Result<web::Json<Food>> {
    let food = app
        .read(&caller, async |conn| Ok(store::find(conn, caller.gym, *path).await?))
        .await?;
    food.map(web::Json).ok_or_else(|| Error::not_found("food"))
}

/// Add a food of the gym's own. Implausible amounts per 100 g are refused. For managers, nutritionists and trainers.
#[utoipa::path(
    tag = "foods",
    request_body = NewFood,
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeated key returns the first answer")),
    responses(
        (status = 201, body = Food),
        (status = 401, description = "not signed in"),
        (status = 403, description = "the caller's role may not add foods"),
        (status = 422, description = "a field is invalid; `violations` lists every implausible amount"),
    ),
    security(("bearer" = []))
)]
#[post("/foods")]
async fn create_food(app: web::Data<App>, caller: Caller, key: IdempotencyKey, body: Body<NewFood>) -> Result<Answer> {
    caller.require(&WRITES)?;
    let request = body.0;
    let columns = request.clone().check()?;
    app.change(&caller, async move |tx| {
        once(tx, &key, "create_food", &request, 201, async |tx| {
            let (gym, now, food) = (tx.gym, tx.now, FoodId::new());
            store::insert(tx, gym, (food, caller.account), &columns, now).await?;
            read(tx, food).await
        })
        .await
    })
    .await
}

/// Change a food of the gym's own. Plans keep what they copied from it. Trainers may change the foods that they added.
#[utoipa::path(
    tag = "foods",
    request_body = FoodPatch,
    params(("food" = FoodId, Path)),
    responses(
        (status = 200, body = Food),
        (status = 401, description = "not signed in"),
        (status = 403, description = "the food is shared or added by another, or the role may not change foods"),
        (status = 404, description = "no such food"),
        (status = 422, description = "a field is invalid; `violations` lists every implausible amount"),
    ),
    security(("bearer" = []))
)]
#[patch("/foods/{food}")]
async fn update_food(
    app: web::Data<App>,
    caller: Caller,
    path: web::Path<FoodId>,
    body: Body<FoodPatch>,
) -> Result<web::Json<Food>> {
    let (food, patch) = (*path, body.0);
    let food = app
        .change(&caller, async move |tx| {
            let before = lock_own(tx, &caller, food).await?;
            let columns = patch.clone().apply(before)?;
            let (gym, now) = (tx.gym, tx.now);
            store::update(tx, gym, food, columns, now).await?;
            read(tx, food).await
        })
        .await?;
    Ok(web::Json(food))
}

/// Remove a food of the gym's own. Plans keep what they copied from it. Trainers may remove the foods that they added.
#[utoipa::path(
    tag = "foods",
    params(("food" = FoodId, Path)),
    responses(
        (status = 204, description = "removed"),
        (status = 401, description = "not signed in"),
        (status = 403, description = "the food is shared or added by another, or the role may not remove foods"),
        (status = 404, description = "no such food"),
    ),
    security(("bearer" = []))
)]
#[delete("/foods/{food}")]
async fn delete_food(app: web::Data<App>, caller: Caller, path: web::Path<FoodId>) -> Result<HttpResponse> {
    let food = *path;
    app.change(&caller, async move |tx| {
        lock_own(tx, &caller, food).await?;
        let gym = tx.gym;
        Ok(store::delete(tx, gym, food).await?)
    })
    .await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn read(tx: &mut Tx, food: FoodId) -> Result<Food> {
    let gym = tx.gym;
    store::find(tx, gym, food)
        .await?
        .ok_or_else(|| Error::not_found("food"))
}

/// Locks a food of the gym's own until the change ends, if the caller may change it.
async fn lock_own(tx: &mut Tx, caller: &Caller, food: FoodId) -> Result<Food> {
    let gym = tx.gym;
    let author = store::lock_author(tx, gym, food).await?;
    // Read it after taking the lock. A food without an author here is shared; another gym's food is 404.
    let food = read(tx, food).await?;
    caller.require(&WRITES)?;
    let author = author.ok_or_else(Error::forbidden)?;
    if author != caller.account {
        caller.require(&EDITS_ALL)?;
    }
    Ok(food)
}
