//! The plan as the API shows it and as edits change it: Plan → Day → Meal → Item, each with its nutrients.

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

/// A food's allergens by code, each `contains`, `traces` or `absent`; an allergen that is not listed is unknown.
pub type Allergens = BTreeMap<String, String>;

/// The nutrient target of a plan's day.
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
    /// How followers start it: template, plan or live.
    pub kind: Kind,
    /// The goal of the plan.
    pub goal: Goal,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// The nutrient target of a day.
    #[diesel(embed)]
    pub target: Target,
    /// Number of days, 1 to 84.
    pub duration_days: i32,
    /// How the days repeat.
    pub cycle: Cycle,
    /// Draft, published or archived.
    pub status: Status,
    /// Who may see it besides its followers.
    pub visibility: Visibility,
    /// How it was created.
    pub source: Source,
    /// The author's account.
    pub author_id: AccountId,
    /// The first day of a live plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub start_date: Option<NaiveDate>,
    /// Incremented by every write; `"<version>"` is the `ETag`.
    pub version: i64,
    /// The current published revision; 0 before the first publication.
    pub revision: i32,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// Time of the last write.
    pub updated_at: DateTime<Utc>,
}

/// A plan with its tree. Nutrients are summed from the items, so that meals add up to their day and days to the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Plan {
    /// The plan's own fields; in JSON they are fields of the plan itself.
    #[serde(flatten)]
    pub summary: PlanSummary,
    /// The sum of all days.
    pub nutrients: Nutrients,
    /// Days, by number.
    pub days: Vec<Day>,
}

/// Raise this when plans are serialised differently in a way that their schema does not show, such as another rounding
/// or order of fields. Raising it invalidates every `ETag` and cached plan of earlier builds.
const WRITING: u32 = 1;

/// The JSON form of plans that this build writes.
pub static SHAPE: LazyLock<Shape> = LazyLock::new(|| Shape::of::<Plan>(WRITING));

/// A day of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Day {
    /// Identifier; the same in all revisions.
    pub id: DayId,
    /// 1 for the first day.
    pub number: i32,
    /// Title; may be empty.
    pub title: String,
    /// The sum of its meals.
    pub nutrients: Nutrients,
    /// Meals, by position.
    pub meals: Vec<Meal>,
}

/// A meal of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Meal {
    /// Identifier; the same in all revisions.
    pub id: MealId,
    /// Its place in the day.
    pub slot: Slot,
    /// Title.
    pub title: String,
    /// Minutes after midnight in the follower's time zone; absent if the plan sets no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub time_min: Option<i32>,
    /// Meals are sorted by position, then by identifier.
    pub position: i32,
    /// Notes on preparation.
    pub notes: String,
    /// The sum of its items.
    pub nutrients: Nutrients,
    /// Items, by position.
    pub items: Vec<Item>,
}

/// An amount of a food in a meal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Item {
    /// Identifier; the same in all revisions.
    pub id: ItemId,
    /// Items are sorted by position, then by identifier.
    pub position: i32,
    /// The food.
    pub food_id: FoodId,
    /// The food's English name at the time the item was written.
    pub name_en: String,
    /// The food's Spanish name at the time the item was written.
    pub name_es: String,
    /// Thousandths of a unit.
    pub quantity_milli: i64,
    /// `g`, or the name of a portion of the food.
    pub unit: String,
    /// Weight in thousandths of a gram.
    pub grams_milli: i64,
    /// Nutrients of this amount.
    pub nutrients: Nutrients,
    /// The food's allergens at the time the item was written.
    #[schema(value_type = BTreeMap<String, String>)]
    pub allergens: Allergens,
    /// The food's nutrients per 100 g at the time the item was written.
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
    /// Sorts days, meals and items and recomputes all sums, after items have changed.
    pub fn settle(&mut self) {
        self.days.sort_by_key(|day| day.number);
        let mut total = Totals::default();
        for day in &mut self.days {
            total += &day.settle();
        }
        self.nutrients = total.nutrients();
    }

    /// Finds the day with this number.
    #[must_use]
    pub fn day(&self, number: i32) -> Option<&Day> {
        self.days.iter().find(|day| day.number == number)
    }

    /// Finds a meal on any day.
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

    /// The exact sum of its meals, for further addition.
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

    /// The exact sum of its items, for further addition or for taking a share of it.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.items
            .iter()
            .map(|item| (item.grams_milli, &item.nutrients))
            .collect()
    }
}
