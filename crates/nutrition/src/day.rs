//! A day of a plan as members record it: which meals it has, what was said of them, and what that comes to.

use std::collections::{BTreeMap, BTreeSet};

use crate::nutrients::{Nutrients, Totals};
use crate::portion::CompletionStatus;

/// A meal of the plan's day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMeal {
    /// Its title.
    pub title: String,
    /// What it holds at full portion.
    pub totals: Totals,
}

/// What was said of a meal, and by whom: `By` is the caller's own account of who and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick<By> {
    /// What became of it.
    pub status: CompletionStatus,
    /// The portion that goes with it, in thousandths.
    pub portion_permille: i32,
    /// Who said so.
    pub by: By,
}

/// A meal that was ticked, with what it held then: neither an edit of the plan nor one of a food reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed<By> {
    /// The last word.
    pub tick: Tick<By>,
    /// The meal's title.
    pub title: String,
    /// What it held at full portion.
    pub planned: Totals,
    /// The plan's revision that it was read from.
    pub plan_revision: i32,
}

/// The meal is neither on the day nor was it ticked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOnDay;

/// A day of a plan that somebody follows. `Meal` identifies its meals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day<Meal, By> {
    /// The plan's revision that `meals` is.
    pub revision: i32,
    /// The meals on the plan; none outside of the plan.
    pub meals: BTreeMap<Meal, PlannedMeal>,
    /// The meals that were ticked. They may have left the plan since.
    pub completed: BTreeMap<Meal, Completed<By>>,
}

/// What a day comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaySums {
    /// Meals on the plan, with those that were ticked and have left it since.
    pub meals_planned: i32,
    /// Meals eaten, wholly or in part.
    pub meals_done: i32,
    /// Meals skipped.
    pub meals_skipped: i32,
    /// What the plan's day holds.
    pub planned: Nutrients,
    /// What was eaten.
    pub eaten: Nutrients,
}

impl<Meal: Copy + Ord, By> Day<Meal, By> {
    /// Ticks a meal; false where it was ticked so before, by whomever. The last word wins.
    ///
    /// Something eaten keeps what it held when it was first ticked, so that correcting a portion after the plan has
    /// changed does not change what was on the plate. A skipped meal left nothing to keep.
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

    /// Takes a tick back; false where there is none.
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

    /// The day's sums.
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
    fn the_same_tick_again_is_none() {
        let (mut day, ids) = day(&[400]);
        assert_eq!(day.tick(ids[0], tick(Status::Eaten, 1000)), Ok(true));
        let once = day.clone();
        assert_eq!(day.tick(ids[0], tick(Status::Eaten, 1000)), Ok(false));
        assert_eq!(day, once);
    }

    #[test]
    fn a_part_counts_as_that_part() {
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
    fn what_was_eaten_keeps_what_it_held() {
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
    fn what_was_skipped_is_read_anew_when_it_is_eaten_after_all() {
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
        fn the_days_sums_are_those_of_the_last_words(
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
