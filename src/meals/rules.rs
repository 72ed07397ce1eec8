//! One day of a member's plan as ticks change it, and what a tick may say. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::day::DayMeal;
use super::progress::Progress;
use crate::foods::nutrients::Totals;
use crate::ids::{AccountId, MealId};
use crate::plans::Meal;

/// Thousandths of a whole portion.
pub const WHOLE_PORTION: i32 = 1000;

/// What became of a meal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, AsExpression, FromSqlRow)]
#[diesel(sql_type = diesel::sql_types::Text)]
#[serde(rename_all = "snake_case")]
#[schema(as = CompletionStatus)]
pub enum Status {
    /// It was eaten.
    Eaten,
    /// A part of it was eaten.
    Partial,
    /// It was left out.
    Skipped,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Eaten, Self::Partial, Self::Skipped];

    /// The name in the database and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eaten => "eaten",
            Self::Partial => "partial",
            Self::Skipped => "skipped",
        }
    }

    /// The event that tells of it.
    #[must_use]
    pub const fn event(self) -> &'static str {
        match self {
            Self::Eaten => "meal.completed",
            Self::Partial => "meal.partial",
            Self::Skipped => "meal.skipped",
        }
    }

    /// The portion that this status means, where the client's agrees with it: a part must be named, what was eaten is
    /// the whole, what was skipped nothing.
    ///
    /// # Errors
    /// What the portion may be, in English and Spanish.
    pub fn portion(self, given: Option<i32>) -> Result<i32, (&'static str, &'static str)> {
        match (self, given) {
            (Self::Eaten, None | Some(WHOLE_PORTION)) => Ok(WHOLE_PORTION),
            (Self::Partial, Some(part)) if (1..WHOLE_PORTION).contains(&part) => Ok(part),
            (Self::Skipped, None | Some(0)) => Ok(0),
            (Self::Eaten, _) => Err((
                "1000 or absent where the meal was eaten",
                "1000 o ausente si la comida se tomó entera",
            )),
            (Self::Partial, _) => Err((
                "1 to 999 where a part of the meal was eaten",
                "de 1 a 999 si se tomó una parte de la comida",
            )),
            (Self::Skipped, _) => Err((
                "0 or absent where the meal was skipped",
                "0 o ausente si la comida se saltó",
            )),
        }
    }
}

/// A meal of the plan's day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMeal {
    /// Its title.
    pub title: String,
    /// What it holds at full portion.
    pub totals: Totals,
}

/// Who says what of a meal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// What became of it.
    pub status: Status,
    /// The portion that goes with it.
    pub portion_permille: i32,
    /// Who says so.
    pub actor: AccountId,
    /// Whether the actor is the member's trainer.
    pub on_behalf: bool,
    /// When.
    pub at: DateTime<Utc>,
}

/// A meal that was ticked, with what it held then: neither an edit of the plan nor one of a food reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The last word.
    pub tick: Tick,
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

/// A day of a follow: what the plan says and what was ticked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// The plan's revision that `meals` is.
    pub revision: i32,
    /// The meals on the plan, by id; none outside of the plan.
    pub meals: BTreeMap<MealId, PlannedMeal>,
    /// The meals that were ticked. They may have left the plan since.
    pub completed: BTreeMap<MealId, Completed>,
}

impl Day {
    /// From the meals that the plan has on the day and those that were ticked.
    #[must_use]
    pub fn new(revision: i32, planned: &[DayMeal], completed: BTreeMap<MealId, Completed>) -> Self {
        let planned_meal = |meal: &Meal| PlannedMeal {
            title: meal.title.clone(),
            totals: meal.totals(),
        };
        Self {
            revision: planned.first().map_or(revision, |m| m.revision),
            meals: planned.iter().map(|m| (m.meal.id, planned_meal(&m.meal))).collect(),
            completed,
        }
    }

    /// Ticks a meal; false where it was ticked so before, by whomever. The last word wins.
    ///
    /// Something eaten keeps what it held when it was first ticked, so that correcting a portion after the plan has
    /// changed does not change what was on the plate. A skipped meal left nothing to keep.
    ///
    /// # Errors
    /// [`NotOnDay`].
    pub fn tick(&mut self, meal: MealId, tick: Tick) -> Result<bool, NotOnDay> {
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
    pub fn undo(&mut self, meal: MealId) -> Result<bool, NotOnDay> {
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
    pub fn progress(&self, date: NaiveDate) -> Progress {
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
            .filter(|c| c.tick.status == Status::Skipped)
            .count();
        Progress {
            date,
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
    use crate::foods::nutrients::Nutrients;

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

    fn tick(status: Status, portion_permille: i32) -> Tick {
        Tick {
            status,
            portion_permille,
            actor: AccountId::new(),
            on_behalf: false,
            at: DateTime::UNIX_EPOCH,
        }
    }

    fn day(energies: &[i64]) -> (Day, Vec<MealId>) {
        let ids: Vec<_> = energies.iter().map(|_| MealId::new()).collect();
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

    fn energy(day: &Day) -> Option<i64> {
        day.progress(NaiveDate::MIN).eaten.energy_mkcal
    }

    #[test]
    fn a_portion_agrees_with_its_status() {
        let cases = [
            (Status::Eaten, None, Some(1000)),
            (Status::Eaten, Some(1000), Some(1000)),
            (Status::Eaten, Some(999), None),
            (Status::Eaten, Some(1001), None),
            (Status::Partial, None, None),
            (Status::Partial, Some(0), None),
            (Status::Partial, Some(1), Some(1)),
            (Status::Partial, Some(999), Some(999)),
            (Status::Partial, Some(1000), None),
            (Status::Partial, Some(-5), None),
            (Status::Skipped, None, Some(0)),
            (Status::Skipped, Some(0), Some(0)),
            (Status::Skipped, Some(1), None),
        ];
        for (status, given, portion) in cases {
            assert_eq!(status.portion(given).ok(), portion, "{status:?} {given:?}");
        }
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
        let progress = day.progress(NaiveDate::MIN);
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
        assert_eq!(
            (energy(&day), day.progress(NaiveDate::MIN).meals_planned),
            (Some(100), 1)
        );
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
        assert_eq!(day.tick(MealId::new(), tick(Status::Eaten, 1000)), Err(NotOnDay));
        assert_eq!(day.undo(MealId::new()), Err(NotOnDay));
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
            let progress = day.progress(NaiveDate::MIN);
            prop_assert_eq!(progress.eaten.energy_mkcal.unwrap_or(0), expected);
            prop_assert_eq!(progress.meals_planned, count(ids.len()));
            let skipped = said.iter().filter(|((s, _), _)| *s == Status::Skipped).count();
            prop_assert_eq!(progress.meals_skipped, count(skipped));
            prop_assert_eq!(progress.meals_done, count(said.len() - skipped));
        }
    }
}
