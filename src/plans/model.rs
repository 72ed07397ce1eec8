//! The plan as the API shows it and as edits work on it: Plan → Day → Meal → Item, with what each holds.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::LazyLock;

use chrono::{DateTime, NaiveDate, Utc};
use diesel::prelude::{AsChangeset, Insertable, Queryable, Selectable};
use serde::Serialize;
use utoipa::ToSchema;

use super::words::{Cycle, Goal, Kind, Slot, Source, Status, Visibility};
use crate::db::schema::plans;
use crate::http::etag::Shape;
use crate::ids::{AccountId, DayId, FoodId, ItemId, MealId, PlanId};
use liveplan_nutrition::nutrients::{Nutrients, Totals};

/// A food's allergens by code, each `contains`, `traces` or `absent`; a missing one is unknown.
pub type Allergens = BTreeMap<String, String>;

/// What a plan's day aims at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = plans, check_for_backend(diesel::pg::Pg), treat_none_as_null = true)]
#[schema(as = PlanTarget)]
pub struct Target {
    /// Energy in thousandths of a kilocalorie.
    #[diesel(column_name = target_energy_mkcal)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub energy_mkcal: Option<i64>,
    /// Protein in milligrams.
    #[diesel(column_name = target_protein_mg)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub protein_mg: Option<i64>,
    /// Carbohydrate in milligrams.
    #[diesel(column_name = target_carbohydrate_mg)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub carbohydrate_mg: Option<i64>,
    /// Fat in milligrams.
    #[diesel(column_name = target_fat_mg)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub fat_mg: Option<i64>,
}

/// A plan without its tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = plans, check_for_backend(diesel::pg::Pg), treat_none_as_null = true)]
pub struct PlanSummary {
    /// Identifier.
    pub id: PlanId,
    /// What it is for its followers.
    pub kind: Kind,
    /// What it is meant to reach.
    pub goal: Goal,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// What a day aims at.
    #[diesel(embed)]
    pub target: Target,
    /// Days, 1 to 84.
    pub duration_days: i32,
    /// How they follow one another.
    pub cycle: Cycle,
    /// Where it is in its life.
    pub status: Status,
    /// Whom it is shown to.
    pub visibility: Visibility,
    /// Where it comes from.
    pub source: Source,
    /// Who wrote it.
    pub author_id: AccountId,
    /// A live plan's first day.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub start_date: Option<NaiveDate>,
    /// Counts every write; `"<version>"` is the `ETag`.
    pub version: i64,
    /// The current published revision; 0 before the first publication.
    pub revision: i32,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// When it was last written.
    pub updated_at: DateTime<Utc>,
}

/// A plan with its tree. Nutrients are sums of the items', so that meals add up to their day and days to the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Plan {
    /// The plan itself; its fields are the plan's own in JSON.
    #[serde(flatten)]
    pub summary: PlanSummary,
    /// The sum of all days.
    pub nutrients: Nutrients,
    /// Its days in order.
    pub days: Vec<Day>,
}

/// Raise it where plans are written as JSON in another way that their schema does not show, such as other rounding or another
/// order. Tags and caches of before are worth nothing then.
const WRITING: u32 = 1;

/// How this build writes plans as JSON.
pub static SHAPE: LazyLock<Shape> = LazyLock::new(|| Shape::of::<Plan>(WRITING));

/// A day of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Day {
    /// Identifier, the same over revisions.
    pub id: DayId,
    /// 1 for the first.
    pub number: i32,
    /// Title; empty where it has none.
    pub title: String,
    /// The sum of its meals.
    pub nutrients: Nutrients,
    /// Its meals in order.
    pub meals: Vec<Meal>,
}

/// A meal of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Meal {
    /// Identifier, the same over revisions.
    pub id: MealId,
    /// Its place in the day.
    pub slot: Slot,
    /// Title.
    pub title: String,
    /// Minutes after midnight where the follower is; absent where the plan names no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub time_min: Option<i32>,
    /// Meals are ordered by it, then by identifier.
    pub position: i32,
    /// What to know when preparing it.
    pub notes: String,
    /// The sum of its items.
    pub nutrients: Nutrients,
    /// Its items in order.
    pub items: Vec<Item>,
}

/// An amount of a food in a meal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Item {
    /// Identifier, the same over revisions.
    pub id: ItemId,
    /// Items are ordered by it, then by identifier.
    pub position: i32,
    /// The food.
    pub food_id: FoodId,
    /// The food's English name when the item was written.
    pub name_en: String,
    /// The food's Spanish name when the item was written.
    pub name_es: String,
    /// Thousandths of a unit.
    pub quantity_milli: i64,
    /// `g`, or the name of a portion of the food.
    pub unit: String,
    /// Weight in thousandths of a gram.
    pub grams_milli: i64,
    /// What it holds.
    pub nutrients: Nutrients,
    /// The food's allergens when the item was written.
    #[schema(value_type = BTreeMap<String, String>)]
    pub allergens: Allergens,
    /// What 100 g of the food held when the item was written.
    #[serde(skip)]
    pub per_100g: Nutrients,
}

impl Deref for Plan {
    type Target = PlanSummary;
    fn deref(&self) -> &PlanSummary {
        &self.summary
    }
}

impl Plan {
    /// Orders everything and adds it up again, after its items have changed.
    pub fn settle(&mut self) {
        self.days.sort_by_key(|day| day.number);
        let mut total = Totals::default();
        for day in &mut self.days {
            total += &day.settle();
        }
        self.nutrients = total.nutrients();
    }

    /// The day of that number.
    #[must_use]
    pub fn day(&self, number: i32) -> Option<&Day> {
        self.days.iter().find(|day| day.number == number)
    }

    /// A meal on any day.
    #[must_use]
    pub fn meal(&self, id: MealId) -> Option<&Meal> {
        self.meals().find(|meal| meal.id == id)
    }

    /// The meals of all days.
    pub fn meals(&self) -> impl Iterator<Item = &Meal> {
        self.days.iter().flat_map(|day| &day.meals)
    }
}

impl Day {
    fn settle(&mut self) -> Totals {
        self.meals.sort_by_key(|meal| (meal.position, meal.id));
        let mut total = Totals::default();
        for meal in &mut self.meals {
            total += &meal.settle();
        }
        self.nutrients = total.nutrients();
        total
    }

    /// The sum of its meals, to go on adding.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.meals
            .iter()
            .flat_map(|meal| &meal.items)
            .map(|item| (item.grams_milli, &item.nutrients))
            .collect()
    }
}

impl Meal {
    fn settle(&mut self) -> Totals {
        self.items.sort_by_key(|item| (item.position, item.id));
        let total = self.totals();
        self.nutrients = total.nutrients();
        total
    }

    /// The sum of its items, to go on adding or to take a part of.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.items
            .iter()
            .map(|item| (item.grams_milli, &item.nutrients))
            .collect()
    }
}
