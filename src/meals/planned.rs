//! The meals that plans have on their days, kept in memory. What a version of a plan says never changes, and the statement
//! that locks a follow tells its plan's version, so a tick need not read the day's meals and items again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::ids::{GymId, PlanId};
use crate::plans::day::{self, DayMeal};

/// Items that are kept at most; one takes about a kilobyte.
const ITEMS: u64 = 20_000;
/// Items of a day, about.
const USUAL: u64 = 20;

/// A day of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PlanDay {
    /// The plan.
    pub plan: PlanId,
    /// In which version.
    pub version: i64,
    /// The day's number.
    pub number: i32,
}

#[derive(Clone, Debug)]
struct ByItems;

impl Weighter<PlanDay, Arc<[DayMeal]>> for ByItems {
    fn weight(&self, _: &PlanDay, meals: &Arc<[DayMeal]>) -> u64 {
        meals.iter().map(|m| 1 + m.meal.items.len() as u64).sum()
    }
}

/// The days that ticks have needed lately.
pub(super) struct PlannedDays(Cache<PlanDay, Arc<[DayMeal]>, ByItems>);

impl Default for PlannedDays {
    fn default() -> Self {
        let days = usize::try_from(ITEMS / USUAL).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(days, ITEMS, ByItems))
    }
}

impl PlannedDays {
    /// The meals of days, by plan and number. What is not at hand is read as the plans are now.
    pub(super) async fn read(
        &self,
        conn: &AsyncPgConnection,
        gym: GymId,
        days: &BTreeSet<PlanDay>,
    ) -> QueryResult<HashMap<(PlanId, i32), Arc<[DayMeal]>>> {
        let mut found = HashMap::new();
        let (mut plans, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        for day in days {
            if let Some(meals) = self.0.get(day) {
                found.insert((day.plan, day.number), meals);
            } else {
                plans.insert(day.plan);
                numbers.insert(day.number);
            }
        }
        if plans.is_empty() {
            return Ok(found);
        }
        let (plans, numbers): (Vec<_>, Vec<_>) = (plans.into_iter().collect(), numbers.into_iter().collect());
        let mut read: HashMap<PlanDay, Vec<DayMeal>> = HashMap::new();
        for meal in day::current(conn, gym, &plans, &numbers).await? {
            let day = PlanDay {
                plan: meal.plan,
                version: meal.version,
                number: meal.number,
            };
            read.entry(day).or_default().push(meal);
        }
        for (day, meals) in read {
            let meals: Arc<[DayMeal]> = meals.into();
            self.0.insert(day, meals.clone());
            found.entry((day.plan, day.number)).or_insert(meals);
        }
        Ok(found)
    }
}
