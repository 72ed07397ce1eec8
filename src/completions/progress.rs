//! What a member's day came to: the daily row.

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

/// A day of a follow in sums, written in the transaction of each tick. What was planned is as the plan was at the last
/// tick of that day: an edit of the plan reaches the row with the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, Queryable, Selectable)]
#[diesel(table_name = daily_progress, check_for_backend(Pg))]
pub struct Progress {
    /// The day.
    pub date: NaiveDate,
    /// Meals on the plan, with those that were ticked and have left it since.
    pub meals_planned: i32,
    /// Meals eaten, wholly or in part.
    pub meals_done: i32,
    /// Meals skipped.
    pub meals_skipped: i32,
    /// What the plan's day holds.
    #[diesel(deserialize_as = Json<Nutrients>)]
    pub planned: Nutrients,
    /// What was eaten.
    #[diesel(deserialize_as = Json<Nutrients>)]
    pub eaten: Nutrients,
}

impl Progress {
    /// The row of a date.
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

    /// The entry of this day on live channels, where the day is the key.
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

/// A day of a follow in sums, as live channels show it: the day is its key.
#[derive(Serialize, ToSchema)]
pub struct ProgressState<'a> {
    /// Meals on the plan, with those that were ticked and have left it since.
    meals_planned: i32,
    /// Meals eaten, wholly or in part.
    meals_done: i32,
    /// Meals skipped.
    meals_skipped: i32,
    /// What the plan's day holds.
    planned: &'a Nutrients,
    /// What was eaten.
    eaten: &'a Nutrients,
}

/// Daily rows as live channels show them, by date.
#[must_use]
pub fn rows<'a>(rows: impl IntoIterator<Item = &'a Progress>) -> Value {
    rows.into_iter()
        .map(|row| (row.date.to_string(), row.entry()))
        .collect::<Map<_, _>>()
        .into()
}
