//! Foods: searched and read by everybody, the gym's own written by those who plan.

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
use crate::error::{Error, Result};
use crate::events::Tx;
use crate::http::{Body, Page, PageQuery};
use crate::idempotency::{Answer, IdempotencyKey, once};
use crate::ids::FoodId;

/// Those who add foods.
const WRITES: [Role; 3] = [Role::Manager, Role::Nutritionist, Role::Trainer];
/// Those who change everybody's.
const EDITS_ALL: [Role; 2] = [Role::Manager, Role::Nutritionist];

/// Routes.
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
    /// Words of a name in either language, or a barcode. Without it, all foods by identifier.
    q: Option<String>,
    /// Items a page, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// `next_cursor` of the page before. A search has one page.
    cursor: Option<Uuid>,
}

/// Search foods, the shared ones and the gym's own, best first.
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

/// Add a food of the gym's own. What cannot be true of 100 g of a food is refused. For managers, nutritionists, trainers.
#[utoipa::path(
    tag = "foods",
    request_body = NewFood,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe")),
    responses(
        (status = 201, body = Food),
        (status = 401, description = "not signed in"),
        (status = 403, description = "not for this role"),
        (status = 422, description = "a field is not acceptable; `violations` lists all that is wrong with amounts"),
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

/// Change a food of the gym's own. Plans keep what they took from it. Trainers change those that they added.
#[utoipa::path(
    tag = "foods",
    request_body = FoodPatch,
    params(("food" = FoodId, Path)),
    responses(
        (status = 200, body = Food),
        (status = 401, description = "not signed in"),
        (status = 403, description = "a shared food, somebody else's, or not for this role"),
        (status = 404, description = "no such food"),
        (status = 422, description = "a field is not acceptable; `violations` lists all that is wrong with amounts"),
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

/// Remove a food of the gym's own. Plans keep what they took from it. Trainers remove those that they added.
#[utoipa::path(
    tag = "foods",
    params(("food" = FoodId, Path)),
    responses(
        (status = 204, description = "removed"),
        (status = 401, description = "not signed in"),
        (status = 403, description = "a shared food, somebody else's, or not for this role"),
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

/// A food of the gym's own that the caller may change, held until the change ends.
async fn lock_own(tx: &mut Tx, caller: &Caller, food: FoodId) -> Result<Food> {
    let gym = tx.gym;
    let author = store::lock_author(tx, gym, food).await?;
    // Read after it was locked; a food of nobody in this gym is another's or shared.
    let food = read(tx, food).await?;
    caller.require(&WRITES)?;
    let author = author.ok_or_else(Error::forbidden)?;
    if author != caller.account {
        caller.require(&EDITS_ALL)?;
    }
    Ok(food)
}
