//! The meals of plan days, for many plans in one statement. A statement sees one snapshot, so all rows
//! come from one revision even while somebody edits the plan.

use std::collections::HashMap;

use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, JoinOnDsl as _, QueryDsl as _, QueryResult,
    SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::Meal;
use super::tree::{self, ItemRow, MealRow};
use crate::db::schema::{plan_days, plan_items, plan_meals, plans};
use crate::ids::{GymId, MealId, PlanId};

/// A meal on a day of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayMeal {
    /// The plan.
    pub plan: PlanId,
    /// The revision that the meal was read from.
    pub revision: i32,
    /// The plan's version at that revision; 0 for a past state of the meal.
    pub version: i64,
    /// The day's number; 0 if the meal was read without its day.
    pub number: i32,
    /// The meal with its items.
    pub meal: Meal,
}

/// A plan, its revision and version, a day's number, a meal of that day, and one of the meal's items.
pub(crate) type Row = (PlanId, i32, i64, i32, MealRow, Option<ItemRow>);

/// Finds the current meals of these plans on the days with these numbers.
pub async fn current(
    mut conn: &AsyncPgConnection,
    gym: GymId,
    plan_ids: &[PlanId],
    numbers: &[i32],
) -> QueryResult<Vec<DayMeal>> {
    let meals = plan_meals::plan_id
        .eq(plan_days::plan_id)
        .and(plan_meals::day_id.eq(plan_days::id))
        .and(plan_meals::to_rev.is_null());
    let items = plan_items::plan_id
        .eq(plan_meals::plan_id)
        .and(plan_items::meal_id.eq(plan_meals::id))
        .and(plan_items::to_rev.is_null());
    let rows: Vec<Row> = plan_days::table
        .inner_join(plans::table.on(plans::id.eq(plan_days::plan_id)))
        .inner_join(plan_meals::table.on(meals))
        .left_join(plan_items::table.on(items))
        .filter(plan_days::gym_id.eq(gym).and(plan_days::to_rev.is_null()))
        .filter(plan_days::plan_id.eq_any(plan_ids))
        .filter(plan_days::number.eq_any(numbers))
        .select((
            plan_days::plan_id,
            plans::revision,
            plans::version,
            plan_days::number,
            MealRow::as_select(),
            Option::<ItemRow>::as_select(),
        ))
        .load(&mut conn)
        .await?;
    gather(rows)
}

/// Finds which of these meals belong to which plan, now or in any past revision.
pub async fn of_plans(
    mut conn: &AsyncPgConnection,
    gym: GymId,
    plan_ids: &[PlanId],
    meals: &[MealId],
) -> QueryResult<Vec<(PlanId, MealId)>> {
    plan_meals::table
        .filter(plan_meals::gym_id.eq(gym).and(plan_meals::plan_id.eq_any(plan_ids)))
        .filter(plan_meals::id.eq_any(meals))
        .select((plan_meals::plan_id, plan_meals::id))
        .distinct()
        .load(&mut conn)
        .await
}

/// Groups the joined rows into meals with their items, ordered by position.
pub(crate) fn gather(rows: Vec<Row>) -> QueryResult<Vec<DayMeal>> {
    let mut gathered: Vec<DayMeal> = Vec::new();
    let mut index: HashMap<MealId, usize> = HashMap::new();
    for (plan, revision, version, number, meal, row) in rows {
        let at = *index.entry(meal.id).or_insert_with(|| {
            gathered.push(DayMeal {
                plan,
                revision,
                version,
                number,
                meal: tree::meal(meal, Vec::new()),
            });
            gathered.len() - 1
        });
        if let Some(row) = row {
            gathered[at].meal.items.push(tree::item(row)?);
        }
    }
    for DayMeal { meal, .. } in &mut gathered {
        meal.items.sort_by_key(|item| (item.position, item.id));
        meal.nutrients = meal.totals().nutrients();
    }
    gathered.sort_by_key(|m| (m.plan, m.number, m.meal.position, m.meal.id));
    Ok(gathered)
}
