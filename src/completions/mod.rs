//! Completions and daily progress: their rows, and their form on live channels. The commands that change them are in
//! [`crate::meals`]; the arithmetic of a day is in [`liveplan_nutrition::day`].
//!
//! - [`store`] reads the rows; [`write`](mod@write) writes a batch's changes in one statement; [`ticked`] reads meals as the plan
//!   had them when they were ticked.
//! - [`progress`] has the daily progress. [`by_date`], [`member_from`] and [`roster_from`] determine what live channels
//!   show.

pub mod progress;
pub mod store;
pub mod ticked;
pub mod write;

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, Utc};
use liveplan_nutrition::day::{self, PlannedMeal};
use liveplan_nutrition::portion::CompletionStatus;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::ids::{AccountId, MealId};
use crate::plans::Meal;
use crate::plans::day::DayMeal;

pub use progress::Progress;

/// The actor and time of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// The account that ticked.
    pub actor: AccountId,
    /// Whether the actor ticked as the member's trainer.
    pub on_behalf: bool,
    /// Time of the tick.
    pub at: DateTime<Utc>,
}

/// A tick, with its actor and time.
pub type Tick = day::Tick<By>;
/// A completion, with actor and time of its latest tick.
pub type Completed = day::Completed<By>;
/// A day of a follow.
pub type Day = day::Day<MealId, By>;

/// Builds a day from its planned meals and its completions. `revision` is the plan's, for a day without planned meals.
#[must_use]
pub fn day_of(revision: i32, planned: &[DayMeal], completed: BTreeMap<MealId, Completed>) -> Day {
    let planned_meal = |meal: &Meal| PlannedMeal {
        title: meal.title.clone(),
        totals: meal.totals(),
    };
    Day {
        revision: planned.first().map_or(revision, |m| m.revision),
        meals: planned.iter().map(|m| (m.meal.id, planned_meal(&m.meal))).collect(),
        completed,
    }
}

/// Number of days before today that `member:` shows.
const MEMBER_DAYS: Days = Days::new(14);
/// Number of days before today that `roster:` shows.
const ROSTER_DAYS: Days = Days::new(2);

/// The first date that `member:` shows.
#[must_use]
pub fn member_from(now: DateTime<Utc>) -> NaiveDate {
    now.date_naive() - MEMBER_DAYS
}

/// The first date that `roster:` shows.
#[must_use]
pub fn roster_from(now: DateTime<Utc>) -> NaiveDate {
    now.date_naive() - ROSTER_DAYS
}

/// A completion on live channels, where date and meal are its keys.
#[derive(Serialize, ToSchema)]
pub struct CompletionState<'a> {
    /// Whether the meal was eaten, eaten in part, or skipped.
    status: CompletionStatus,
    /// The eaten portion, in thousandths.
    portion_permille: i32,
    /// Title of the meal when its nutrients were copied.
    title: &'a str,
    /// Plan revision that title and nutrients were copied from.
    plan_revision: i32,
    /// Whether a trainer ticked the meal for the member.
    on_behalf: bool,
    /// Time of the latest tick.
    at: DateTime<Utc>,
}

/// Builds the completions of a live channel: by date, then by meal.
#[must_use]
pub fn by_date<'a>(completed: impl IntoIterator<Item = (NaiveDate, MealId, &'a Completed)>) -> Value {
    let mut dates: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (date, meal, completed) in completed {
        dates
            .entry(date.to_string())
            .or_default()
            .insert(meal.to_string(), entry(completed));
    }
    json!(dates)
}

/// Builds the entry of a completion on live channels, where date and meal are its keys.
fn entry(completed: &Completed) -> Value {
    json!(CompletionState {
        status: completed.tick.status,
        portion_permille: completed.tick.portion_permille,
        title: &completed.title,
        plan_revision: completed.plan_revision,
        on_behalf: completed.tick.by.on_behalf,
        at: completed.tick.by.at,
    })
}
