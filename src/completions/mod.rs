//! What was said of a plan's meals, and the daily rows that it adds up to: their rows and what live channels show of them. The
//! commands that change them are above, in [`crate::meals`]; the arithmetic of a day is [`liveplan_nutrition::day`].
//!
//! - [`store`]: reading; [`write`]: a batch's changes, in one statement. [`ticked`]: meals as the plan had them when ticked.
//! - [`progress`]: the daily row. [`by_date`], [`member_from`], [`roster_from`]: what screens get.

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

/// Who said something of a meal, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// Who says so.
    pub actor: AccountId,
    /// Whether the actor is the member's trainer.
    pub on_behalf: bool,
    /// When.
    pub at: DateTime<Utc>,
}

/// What was said of a meal.
pub type Tick = day::Tick<By>;
/// A meal that was ticked.
pub type Completed = day::Completed<By>;
/// A day of a follow.
pub type Day = day::Day<MealId, By>;

/// A day, from the meals that the plan has on it and those that were ticked. `revision` is the plan's where it has none.
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

/// Days before today that `member:` shows.
const MEMBER_DAYS: Days = Days::new(14);
/// Days before today that `roster:` shows.
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

/// A meal that was ticked, as live channels show it: day and meal are its keys.
#[derive(Serialize, ToSchema)]
pub struct CompletionState<'a> {
    /// What became of it.
    status: CompletionStatus,
    /// How much of it was eaten, in thousandths.
    portion_permille: i32,
    /// Its title when it was first ticked.
    title: &'a str,
    /// The plan's revision then.
    plan_revision: i32,
    /// Whether a trainer said so for the member.
    on_behalf: bool,
    /// When it was last said.
    at: DateTime<Utc>,
}

/// Completions as live channels show them: by date, then by meal.
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

/// The entry of a completion on live channels, where day and meal are keys.
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
