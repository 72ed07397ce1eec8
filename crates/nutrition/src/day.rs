//! One day of a follow: its planned meals, the member's completions, and the sums of both.

use std::collections::{BTreeMap, BTreeSet};

use crate::nutrients::{Nutrients, Totals};
use crate::portion::CompletionStatus;

/// A meal that the plan has on the day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMeal {
    /// Title.
    pub title: String,
    /// Nutrients of the full portion.
    pub totals: Totals,
}

/// A tick: what a member, or a trainer on their behalf, recorded for a meal. `By` is the caller's type for actor and
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick<By> {
    /// Eaten, partial or skipped.
    pub status: CompletionStatus,
    /// The eaten portion, in thousandths.
    pub portion_permille: i32,
    /// Actor and time.
    pub by: By,
}

/// A completion: the latest tick of a meal, with a copy of the meal's title and nutrients. Later edits of the plan or
/// of a food do not change the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed<By> {
    /// The latest tick.
    pub tick: Tick<By>,
    /// The copied title.
    pub title: String,
    /// The copied nutrients of the full portion.
    pub planned: Totals,
    /// The plan revision that title and nutrients were copied from.
    pub plan_revision: i32,
}

/// Error: the plan does not have the meal on this day, and the meal has no completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOnDay;

/// One day of a follow. `Meal` is the type of meal ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day<Meal, By> {
    /// The plan revision of `meals`.
    pub revision: i32,
    /// Planned meals; empty on a date outside the plan.
    pub meals: BTreeMap<Meal, PlannedMeal>,
    /// Completions. Their meals may have been removed from the plan since.
    pub completed: BTreeMap<Meal, Completed<By>>,
}

/// The sums of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaySums {
    /// Planned meals, plus completed meals that were removed from the plan since.
    pub meals_planned: i32,
    /// Meals eaten, in whole or in part.
    pub meals_done: i32,
    /// Meals skipped.
    pub meals_skipped: i32,
    /// Nutrients of the meals on the plan.
    pub planned: Nutrients,
    /// Nutrients eaten.
    pub eaten: Nutrients,
}

impl<Meal: Copy + Ord, By> Day<Meal, By> {
    /// Ticks a meal. Returns false if the completion already has this status and portion, from any actor. The last tick
    /// wins.
    ///
    /// A meal that was eaten keeps the nutrients of that tick: if the portion is corrected after an edit of the plan,
    /// the food on the plate stays the same. A skipped meal takes the plan's current nutrients at its next tick.
    ///
    /// # Errors
    /// [`NotOnDay`].
    pub fn tick(&mut self, meal: Meal, tick: Tick<By>) -> Result<bool, NotOnDay> {
        let planned = self.meals.get(&meal);
        match (self.completed.get_mut(&meal), planned) {
            (Some(there), _)
                if (there.tick.status, there.tick.portion_permille) == (tick.status, tick.portion_permille) =>
            {
                return Ok(false);
            }
            (Some(there), None) => there.tick = tick,
            (Some(there), Some(_)) if there.tick.portion_permille > 0 => there.tick = tick,
            (_, Some(planned)) => {
                let completed = Completed {
                    tick,
                    title: planned.title.clone(),
                    planned: planned.totals.clone(),
                    plan_revision: self.revision,
                };
                self.completed.insert(meal, completed);
            }
            (None, None) => return Err(NotOnDay),
        }
        Ok(true)
    }

    /// Removes a meal's completion. Returns false if there is none.
    ///
    /// # Errors
    /// [`NotOnDay`].
    pub fn undo(&mut self, meal: Meal) -> Result<bool, NotOnDay> {
        if self.completed.remove(&meal).is_some() {
            Ok(true)
        } else if self.meals.contains_key(&meal) {
            Ok(false)
        } else {
            Err(NotOnDay)
        }
    }

    /// Computes the day's sums.
    #[must_use]
    pub fn sums(&self) -> DaySums {
        let mut planned = Totals::default();
        for meal in self.meals.values() {
            planned += &meal.totals;
        }
        let mut eaten = Totals::default();
        for meal in self.completed.values() {
            eaten += &meal.planned.scale(meal.tick.portion_permille);
        }
        let all: BTreeSet<_> = self.meals.keys().chain(self.completed.keys()).collect();
        let skipped = self
            .completed
            .values()
            .filter(|c| c.tick.status == CompletionStatus::Skipped)
            .count();
        DaySums {
            meals_planned: count(all.len()),
            meals_done: count(self.completed.len() - skipped),
            meals_skipped: count(skipped),
            planned: planned.nutrients(),
            eaten: eaten.nutrients(),
        }
    }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::portion::CompletionStatus as Status;

    fn meal(title: &str, energy: i64) -> PlannedMeal {
        let food = Nutrients {
            energy_mkcal: Some(energy),
            ..Nutrients::default()
        };
        PlannedMeal {
            title: title.to_owned(),
            totals: [(100_000, &food)].into_iter().collect(),
        }
    }

    fn tick(status: Status, portion_permille: i32) -> Tick<()> {
        Tick {
            status,
            portion_permille,
            by: (),
        }
    }

    fn day(energies: &[i64]) -> (Day<u32, ()>, Vec<u32>) {
        let ids: Vec<u32> = (0..).take(energies.len()).collect();
        let meals = ids
            .iter()
            .zip(energies)
            .map(|(id, energy)| (*id, meal("Lunch", *energy)))
            .collect();
        (
            Day {
                revision: 1,
                meals,
                completed: BTreeMap::new(),
            },
            ids,
        )
    }

    fn energy(day: &Day<u32, ()>) -> Option<i64> {
        day.sums().eaten.energy_mkcal
    }

    #[test]
    fn repeating_a_tick_changes_nothing() {
        let (mut day, ids) = day(&[400]);
        assert_eq!(day.tick(ids[0], tick(Status::Eaten, 1000)), Ok(true));
        let once = day.clone();
        assert_eq!(day.tick(ids[0], tick(Status::Eaten, 1000)), Ok(false));
        assert_eq!(day, once);
    }

    #[test]
    fn a_partial_meal_counts_with_its_portion() {
        let (mut day, ids) = day(&[401, 1000]);
        day.tick(ids[0], tick(Status::Partial, 500)).expect("on the day");
        assert_eq!(energy(&day), Some(201));
        day.tick(ids[1], tick(Status::Skipped, 0)).expect("on the day");
        let progress = day.sums();
        assert_eq!(
            (progress.meals_planned, progress.meals_done, progress.meals_skipped),
            (2, 1, 1)
        );
        assert_eq!(
            (progress.planned.energy_mkcal, progress.eaten.energy_mkcal),
            (Some(1401), Some(201))
        );
    }

    #[test]
    fn an_eaten_meal_keeps_the_nutrients_of_its_first_tick() {
        let (mut day, ids) = day(&[400]);
        day.tick(ids[0], tick(Status::Eaten, 1000)).expect("on the day");
        day.revision = 2;
        day.meals.insert(ids[0], meal("Dinner", 900));
        day.tick(ids[0], tick(Status::Partial, 500)).expect("on the day");
        assert_eq!((energy(&day), day.completed[&ids[0]].plan_revision), (Some(200), 1));
        day.meals.clear();
        day.tick(ids[0], tick(Status::Partial, 250))
            .expect("it was ticked before");
        assert_eq!((energy(&day), day.sums().meals_planned), (Some(100), 1));
        assert_eq!(day.undo(ids[0]), Ok(true));
        assert_eq!(day.tick(ids[0], tick(Status::Eaten, 1000)), Err(NotOnDay));
        assert_eq!(day.undo(ids[0]), Err(NotOnDay));
    }

    #[test]
    fn a_skipped_meal_takes_the_current_nutrients_when_it_is_eaten_after_all() {
        let (mut day, ids) = day(&[400]);
        day.tick(ids[0], tick(Status::Skipped, 0)).expect("on the day");
        day.revision = 2;
        day.meals.insert(ids[0], meal("Dinner", 900));
        day.tick(ids[0], tick(Status::Eaten, 1000)).expect("on the day");
        assert_eq!((energy(&day), day.completed[&ids[0]].plan_revision), (Some(900), 2));
    }

    #[test]
    fn a_meal_of_another_day_is_refused() {
        let (mut day, _) = day(&[400]);
        assert_eq!(day.tick(u32::MAX, tick(Status::Eaten, 1000)), Err(NotOnDay));
        assert_eq!(day.undo(u32::MAX), Err(NotOnDay));
    }

    fn any_act() -> impl Strategy<Value = Option<(Status, i32)>> {
        prop_oneof![
            Just(None),
            Just(Some((Status::Eaten, 1000))),
            Just(Some((Status::Skipped, 0))),
            (1_i32..1000).prop_map(|part| Some((Status::Partial, part))),
        ]
    }

    proptest! {
        #[test]
        fn the_sums_follow_from_the_last_tick_of_each_meal(
            energies in proptest::collection::vec(0_i64..2_000_000, 1..8),
            acts in proptest::collection::vec((0_usize..8, any_act()), 0..40),
        ) {
            let (mut day, ids) = day(&energies);
            let mut last = vec![None; ids.len()];
            for (index, act) in acts {
                let index = index % ids.len();
                let changed = match act {
                    Some((status, part)) => day.tick(ids[index], tick(status, part)),
                    None => day.undo(ids[index]),
                };
                prop_assert_eq!(changed, Ok(last[index] != act));
                last[index] = act;
            }
            let said: Vec<_> = last.iter().zip(&energies).filter_map(|(l, e)| Some(((*l)?, *e))).collect();
            let expected: i64 = said.iter().map(|((_, part), e)| (e * i64::from(*part) + 500) / 1000).sum();
            let progress = day.sums();
            prop_assert_eq!(progress.eaten.energy_mkcal.unwrap_or(0), expected);
            prop_assert_eq!(progress.meals_planned, count(ids.len()));
            let skipped = said.iter().filter(|((s, _), _)| *s == Status::Skipped).count();
            prop_assert_eq!(progress.meals_skipped, count(skipped));
            prop_assert_eq!(progress.meals_done, count(said.len() - skipped));
        }
    }
}
