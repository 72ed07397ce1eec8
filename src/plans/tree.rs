//! Reads a plan with its whole tree: four queries whatever its size, assembled in memory.

use std::collections::HashMap;

use diesel::prelude::{Queryable, Selectable};
use diesel::{BoolExpressionMethods as _, ExpressionMethods as _, QueryDsl as _, QueryResult, SelectableHelper as _};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde_json::Value;

use super::model::{Allergens, Day, Item, Meal, Plan, PlanSummary};
use super::store;
use super::words::{Slot, Status};
use crate::db::json::Json;
use crate::db::schema::{plan_days, plan_items, plan_meals};
use crate::ids::{DayId, FoodId, GymId, ItemId, MealId, PlanId};
use liveplan_nutrition::nutrients::Nutrients;

/// A state of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// The current state, including a draft.
    Current,
    /// The current state, except a draft.
    Published,
    /// The state as of this revision.
    Number(i32),
}

/// A day's columns.
type DayRow = (DayId, i32, String);

/// A meal's columns.
#[derive(Queryable, Selectable)]
#[diesel(table_name = plan_meals, check_for_backend(diesel::pg::Pg))]
pub(crate) struct MealRow {
    pub(crate) id: MealId,
    day_id: DayId,
    slot: Slot,
    title: String,
    time_min: Option<i32>,
    position: i32,
    notes: String,
}

/// An item's columns.
#[derive(Queryable, Selectable)]
#[diesel(table_name = plan_items, check_for_backend(diesel::pg::Pg))]
pub(crate) struct ItemRow {
    id: ItemId,
    meal_id: MealId,
    position: i32,
    food_id: FoodId,
    name_en: String,
    name_es: String,
    #[diesel(deserialize_as = Json<Nutrients>)]
    per_100g: Nutrients,
    allergens: Value,
    quantity_milli: i64,
    unit: String,
    grams_milli: i64,
}

/// The rows of a plan that are current, or that were current in revision `$at`.
macro_rules! rows {
    ($table:ident, $gym:ident, $plan:ident, $at:ident) => {{
        let query = $table::table
            .filter($table::gym_id.eq($gym).and($table::plan_id.eq($plan)))
            .into_boxed();
        match $at {
            None => query.filter($table::to_rev.is_null()),
            Some(revision) => query
                .filter($table::from_rev.le(revision))
                .filter($table::to_rev.is_null().or($table::to_rev.gt(revision))),
        }
    }};
}

/// Reads a plan; none if the gym has no such plan, or the plan no such state.
pub async fn read(conn: &mut AsyncPgConnection, gym: GymId, plan: PlanId, at: Revision) -> QueryResult<Option<Plan>> {
    let Some(summary) = store::find(conn, gym, plan).await? else {
        return Ok(None);
    };
    match at {
        Revision::Published if summary.status == Status::Draft => Ok(None),
        Revision::Current | Revision::Published => current(conn, gym, summary).await.map(Some),
        Revision::Number(number) => past(conn, gym, summary, number).await,
    }
}

/// Adds the current tree to a plan whose row has been read.
pub async fn current(conn: &mut AsyncPgConnection, gym: GymId, summary: PlanSummary) -> QueryResult<Plan> {
    assemble(conn, gym, summary, None).await
}

/// Reads a plan as of a revision.
pub async fn past(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    summary: PlanSummary,
    revision: i32,
) -> QueryResult<Option<Plan>> {
    match store::at_revision(conn, gym, summary, revision).await? {
        Some(then) => assemble(conn, gym, then, Some(revision)).await.map(Some),
        None => Ok(None),
    }
}

async fn assemble(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    summary: PlanSummary,
    at: Option<i32>,
) -> QueryResult<Plan> {
    let plan = summary.id;
    // Polled together on one connection, the three queries are pipelined: one round trip.
    let (mut one, mut two, mut three) = (&*conn, &*conn, &*conn);
    let days = rows!(plan_days, gym, plan, at).select((plan_days::id, plan_days::number, plan_days::title));
    let meals = rows!(plan_meals, gym, plan, at).select(MealRow::as_select());
    let items = rows!(plan_items, gym, plan, at).select(ItemRow::as_select());
    let (days, meals, items): (Vec<DayRow>, Vec<MealRow>, Vec<ItemRow>) =
        futures_util::try_join!(days.load(&mut one), meals.load(&mut two), items.load(&mut three))?;

    let mut items_of: HashMap<MealId, Vec<Item>> = HashMap::new();
    for row in items {
        items_of.entry(row.meal_id).or_default().push(item(row)?);
    }
    let mut meals_of: HashMap<DayId, Vec<Meal>> = HashMap::new();
    for row in meals {
        let items = items_of.remove(&row.id).unwrap_or_default();
        meals_of.entry(row.day_id).or_default().push(meal(row, items));
    }
    let days = days.into_iter().map(|(id, number, title)| {
        let meals = meals_of.remove(&id).unwrap_or_default();
        Day {
            id,
            number,
            title,
            nutrients: Nutrients::default(),
            meals,
        }
    });
    let mut plan = Plan {
        days: days.collect(),
        nutrients: Nutrients::default(),
        summary,
    };
    plan.settle();
    Ok(plan)
}

/// A meal with its items; its nutrients are not summed yet.
pub(crate) fn meal(row: MealRow, items: Vec<Item>) -> Meal {
    Meal {
        id: row.id,
        slot: row.slot,
        title: row.title,
        time_min: row.time_min,
        position: row.position,
        notes: row.notes,
        nutrients: Nutrients::default(),
        items,
    }
}

/// An item with its nutrients.
pub(crate) fn item(row: ItemRow) -> QueryResult<Item> {
    let allergens: Allergens =
        serde_json::from_value(row.allergens).map_err(|e| diesel::result::Error::DeserializationError(e.into()))?;
    Ok(Item {
        id: row.id,
        position: row.position,
        food_id: row.food_id,
        name_en: row.name_en,
        name_es: row.name_es,
        quantity_milli: row.quantity_milli,
        unit: row.unit,
        grams_milli: row.grams_milli,
        nutrients: Nutrients::for_grams(&row.per_100g, row.grams_milli),
        allergens,
        per_100g: row.per_100g,
    })
}
