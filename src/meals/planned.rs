//! A cache of the meals on the days of plans. A version of a plan never changes, and the statement that locks a follow
//! returns the version of its plan, so most ticks need not read the day's meals and items.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::ids::{GymId, PlanId};
use crate::plans::day::{self, DayMeal};

/// Maximum cached items; one takes about 1 KB.
const ITEMS: u64 = 20_000;
/// Typical number of items on a day.
const USUAL: u64 = 20;

/// A day of a version of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PlanDay {
    /// The plan.
    pub plan: PlanId,
    /// The plan's version.
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

/// The days that recent ticks have used.
pub(super) struct PlannedDays(Cache<PlanDay, Arc<[DayMeal]>, ByItems>);

impl Default for PlannedDays {
    fn default() -> Self {
        let days = usize::try_from(ITEMS / USUAL).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(days, ITEMS, ByItems))
    }
}

impl PlannedDays {
    /// The meals of days, by plan and day number. Days that are not in the cache are read from the current version of
    /// their plan.
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
