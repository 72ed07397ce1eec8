//! Daily progress: one row of sums for each day of a follow.

use chrono::NaiveDate;
use diesel::Selectable;
use diesel::deserialize::Queryable;
use diesel::pg::Pg;
use liveplan_nutrition::day::DaySums;
use liveplan_nutrition::nutrients::Nutrients;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::db::json::Json;
use crate::db::schema::daily_progress;

/// Daily progress: the sums of one day of a follow, written in the transaction of each tick. The planned sums are those
/// of the plan at the last tick of that day; an edit of the plan reaches the row with the next tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, Queryable, Selectable)]
#[diesel(table_name = daily_progress, check_for_backend(Pg))]
pub struct Progress {
    /// The date.
    pub date: NaiveDate,
    /// Planned meals, plus completed meals that were removed from the plan since.
    pub meals_planned: i32,
    /// Meals eaten, in whole or in part.
    pub meals_done: i32,
    /// Meals skipped.
    pub meals_skipped: i32,
    /// Nutrients of the meals on the plan.
    #[diesel(deserialize_as = Json<Nutrients>)]
    pub planned: Nutrients,
    /// Nutrients eaten.
    #[diesel(deserialize_as = Json<Nutrients>)]
    pub eaten: Nutrients,
}

impl Progress {
    /// Builds the row of a date.
    #[must_use]
    pub fn new(date: NaiveDate, sums: DaySums) -> Self {
        Self {
            date,
            meals_planned: sums.meals_planned,
            meals_done: sums.meals_done,
            meals_skipped: sums.meals_skipped,
            planned: sums.planned,
            eaten: sums.eaten,
        }
    }

    /// Builds the entry of this day on live channels, where the date is its key.
    #[must_use]
    pub fn entry(&self) -> Value {
        json!(ProgressState {
            meals_planned: self.meals_planned,
            meals_done: self.meals_done,
            meals_skipped: self.meals_skipped,
            planned: &self.planned,
            eaten: &self.eaten,
        })
    }
}

/// Daily progress on live channels, where the date is its key.
#[derive(Serialize, ToSchema)]
pub struct ProgressState<'a> {
    /// Planned meals, plus completed meals that were removed from the plan since.
    meals_planned: i32,
    /// Meals eaten, in whole or in part.
    meals_done: i32,
    /// Meals skipped.
    meals_skipped: i32,
    /// Nutrients of the meals on the plan.
    planned: &'a Nutrients,
    /// Nutrients eaten.
    eaten: &'a Nutrients,
}

/// Builds the daily progress of a live channel, by date.
#[must_use]
pub fn rows<'a>(rows: impl IntoIterator<Item = &'a Progress>) -> Value {
    rows.into_iter()
        .map(|row| (row.date.to_string(), row.entry()))
        .collect::<Map<_, _>>()
        .into()
}
