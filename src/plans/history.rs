//! Writes a tree so that every revision stays readable: a changed row ends at the new revision, and its successor
//! begins there. A draft has no revisions yet, so its rows are replaced.

use std::collections::BTreeMap;

use diesel::sql_types::{Array, Integer, Uuid as SqlUuid};
use diesel::{ExpressionMethods as _, QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde_json::json;
use uuid::Uuid;

use super::model::{Item, Plan};
use super::words::Slot;
use crate::db::json::Json;
use crate::db::schema::{plan_days, plan_items, plan_meals};
use crate::ids::{DayId, GymId, ItemId, MealId, PlanId};

/// Rows per statement: Postgres accepts at most 65,535 parameters, and an item has 14.
const BATCH: usize = 1000;

/// The revision under which a draft's rows are written: the one that its publication will make.
pub const DRAFT: i32 = 1;

/// A meal's columns, without its identifier.
type MealState<'a> = (DayId, Slot, &'a str, Option<i32>, i32, &'a str);

/// The plan being written, and the revision to write.
#[derive(Clone, Copy)]
struct At {
    gym: GymId,
    plan: PlanId,
    revision: i32,
}

/// Writes the difference from `before`, effective from `revision` on. `before` is `None` for a new plan.
pub async fn save(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    before: Option<&Plan>,
    after: &Plan,
    revision: i32,
) -> QueryResult<()> {
    let at = At {
        gym,
        plan: after.id,
        revision,
    };
    let (closed, written) = difference(&before.map(days).unwrap_or_default(), days(after));
    close(conn, "plan_days", at, closed.iter().map(|id| id.0).collect()).await?;
    insert_days(conn, at, &written).await?;
    let (closed, written) = difference(&before.map(meals).unwrap_or_default(), meals(after));
    close(conn, "plan_meals", at, closed.iter().map(|id| id.0).collect()).await?;
    insert_meals(conn, at, &written).await?;
    let (closed, written) = difference(&before.map(items).unwrap_or_default(), items(after));
    close(conn, "plan_items", at, closed.iter().map(|id| id.0).collect()).await?;
    insert_items(conn, at, &written).await
}

fn days(plan: &Plan) -> BTreeMap<DayId, (i32, &str)> {
    plan.days
        .iter()
        .map(|day| (day.id, (day.number, day.title.as_str())))
        .collect()
}

fn meals(plan: &Plan) -> BTreeMap<MealId, MealState<'_>> {
    let mut meals = BTreeMap::new();
    for day in &plan.days {
        for meal in &day.meals {
            let state = (
                day.id,
                meal.slot,
                meal.title.as_str(),
                meal.time_min,
                meal.position,
                meal.notes.as_str(),
            );
            meals.insert(meal.id, state);
        }
    }
    meals
}

fn items(plan: &Plan) -> BTreeMap<ItemId, (MealId, &Item)> {
    plan.meals()
        .flat_map(|meal| meal.items.iter().map(|item| (item.id, (meal.id, item))))
        .collect()
}

/// The identifiers of rows that end, and the rows that begin.
fn difference<K: Ord + Copy, V: PartialEq>(before: &BTreeMap<K, V>, after: BTreeMap<K, V>) -> (Vec<K>, Vec<(K, V)>) {
    let closed = before
        .iter()
        .filter(|(id, state)| after.get(id) != Some(state))
        .map(|(id, _)| *id)
        .collect();
    let written = after
        .into_iter()
        .filter(|(id, state)| before.get(id) != Some(state))
        .collect();
    (closed, written)
}

/// Ends the current rows of `ids`. A row that began in the same revision was never visible and is deleted.
async fn close(conn: &mut AsyncPgConnection, table: &str, at: At, ids: Vec<Uuid>) -> QueryResult<()> {
    if ids.is_empty() {
        return Ok(());
    }
    diesel::sql_query(format!(
        "WITH unseen AS (
             DELETE FROM {table}
             WHERE gym_id = $1 AND plan_id = $2 AND id = ANY($3) AND to_rev IS NULL AND from_rev >= $4)
         UPDATE {table} SET to_rev = $4
         WHERE gym_id = $1 AND plan_id = $2 AND id = ANY($3) AND to_rev IS NULL AND from_rev < $4"
    ))
    .bind::<SqlUuid, _>(at.gym)
    .bind::<SqlUuid, _>(at.plan)
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Integer, _>(at.revision)
    .execute(conn)
    .await
    .map(drop)
}

async fn insert_days(conn: &mut AsyncPgConnection, at: At, rows: &[(DayId, (i32, &str))]) -> QueryResult<()> {
    use plan_days as t;
    for batch in rows.chunks(BATCH) {
        let values = batch.iter().map(|(id, (number, title))| {
            (
                t::id.eq(*id),
                t::from_rev.eq(at.revision),
                t::gym_id.eq(at.gym),
                t::plan_id.eq(at.plan),
                t::number.eq(*number),
                t::title.eq(*title),
            )
        });
        diesel::insert_into(t::table)
            .values(values.collect::<Vec<_>>())
            .execute(conn)
            .await?;
    }
    Ok(())
}

async fn insert_meals(conn: &mut AsyncPgConnection, at: At, rows: &[(MealId, MealState<'_>)]) -> QueryResult<()> {
    use plan_meals as t;
    for batch in rows.chunks(BATCH) {
        let values = batch.iter().map(|(id, (day, slot, title, time_min, position, notes))| {
            (
                t::id.eq(*id),
                t::from_rev.eq(at.revision),
                t::gym_id.eq(at.gym),
                t::plan_id.eq(at.plan),
                t::day_id.eq(*day),
                t::slot.eq(*slot),
                t::title.eq(*title),
                t::time_min.eq(*time_min),
                t::position.eq(*position),
                t::notes.eq(*notes),
            )
        });
        diesel::insert_into(t::table)
            .values(values.collect::<Vec<_>>())
            .execute(conn)
            .await?;
    }
    Ok(())
}

async fn insert_items(conn: &mut AsyncPgConnection, at: At, rows: &[(ItemId, (MealId, &Item))]) -> QueryResult<()> {
    use plan_items as t;
    for batch in rows.chunks(BATCH) {
        let values = batch.iter().map(|(id, (meal, item))| {
            (
                t::id.eq(*id),
                t::from_rev.eq(at.revision),
                t::gym_id.eq(at.gym),
                t::plan_id.eq(at.plan),
                t::meal_id.eq(*meal),
                t::position.eq(item.position),
                t::food_id.eq(item.food_id),
                t::name_en.eq(&item.name_en),
                t::name_es.eq(&item.name_es),
                t::per_100g.eq(Json(&item.per_100g)),
                t::allergens.eq(json!(item.allergens)),
                t::quantity_milli.eq(item.quantity_milli),
                t::unit.eq(&item.unit),
                t::grams_milli.eq(item.grams_milli),
            )
        });
        diesel::insert_into(t::table)
            .values(values.collect::<Vec<_>>())
            .execute(conn)
            .await?;
    }
    Ok(())
}
