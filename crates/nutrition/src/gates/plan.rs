//! The plan as gates read it, and its facts: what they need to know of it, worked out once for all people.

use std::collections::BTreeMap;

use super::limits::Limits;
use crate::allergens::{Allergen, Allergens, Presence, worst};
use crate::nutrients::{Nutrient, Nutrients};
use crate::text::{has_words, plain};

/// A plan. `M` and `I` are the types of meal and item ids.
#[derive(Clone, Debug)]
pub struct Plan<'a, M, I> {
    /// Whether day 1 follows the last day.
    pub repeats: bool,
    /// Whether its goal is to lose fat. Where its energy cannot be compared, the goal counts.
    pub loses_fat: bool,
    /// Whether it leaves out a whole group of foods.
    pub excludes_food_group: bool,
    /// The energy that a day aims at, in thousandths of a kilocalorie. It counts for days without items.
    pub target_energy_mkcal: Option<i64>,
    /// The days.
    pub days: Vec<Day<'a, M, I>>,
}

/// A day of a plan.
#[derive(Clone, Debug)]
pub struct Day<'a, M, I> {
    /// 1 for the first day.
    pub number: i32,
    /// The meals, in any order.
    pub meals: Vec<Meal<'a, M, I>>,
}

/// A meal of a day.
#[derive(Clone, Debug)]
pub struct Meal<'a, M, I> {
    /// Its id.
    pub id: M,
    /// Minutes after midnight, if the plan sets a time.
    pub time_min: Option<i32>,
    /// The items.
    pub items: Vec<Item<'a, I>>,
}

/// An item of a meal: one food, and what may be eaten instead.
#[derive(Clone, Debug)]
pub struct Item<'a, I> {
    /// Its id.
    pub id: I,
    /// The food and its alternatives. Each gate counts the worst of them.
    pub choices: Vec<Choice<'a>>,
}

/// A food in its amount.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// English name.
    pub name_en: &'a str,
    /// Spanish name.
    pub name_es: &'a str,
    /// Nutrients of this amount.
    pub nutrients: &'a Nutrients,
    /// The food's allergens when the item was written.
    pub allergens: &'a Allergens,
    /// The food's allergens now, if it still exists. Both count together.
    pub allergens_now: Option<&'a Allergens>,
}

/// A sum of items with alternatives, some of whose amounts may not be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    /// With the smallest alternatives; what is not known counts as 0.
    pub low: i64,
    /// With the smallest alternatives whose amount is fully known; `None` if an item has none.
    pub sure: Option<i64>,
    /// With the largest alternatives; what is not known counts as 0.
    pub high: i64,
    /// Whether any amount is not fully known.
    pub open: bool,
}

/// How an amount compares with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The limit is kept, whatever is chosen.
    Keeps,
    /// It is not known whether the limit is kept. With what is known.
    Unknown(i64),
    /// There is a choice with which the limit is not kept. With its amount.
    Fails(i64),
}

impl Amount {
    const NOTHING: Self = Self::exactly(0);
    const UNKNOWN: Self = Self {
        low: 0,
        sure: None,
        high: 0,
        open: true,
    };

    const fn exactly(amount: i64) -> Self {
        Self {
            low: amount,
            sure: Some(amount),
            high: amount,
            open: false,
        }
    }

    /// A nutrient of an item.
    fn of<I>(item: &Item<'_, I>, nutrient: Nutrient) -> Self {
        let mut of: Option<Self> = None;
        for choice in &item.choices {
            let amount = choice.nutrients.get(nutrient).map(|amount| amount.max(0));
            let full = amount.is_some() && !choice.nutrients.known_permille.contains_key(&nutrient);
            let known = amount.unwrap_or(0);
            let sure = full.then_some(known);
            of = Some(of.map_or(
                Self {
                    low: known,
                    sure,
                    high: known,
                    open: !full,
                },
                |so_far| Self {
                    low: so_far.low.min(known),
                    sure: so_far.sure.into_iter().chain(sure).min(),
                    high: so_far.high.max(known),
                    open: so_far.open || !full,
                },
            ));
        }
        of.unwrap_or(Self::UNKNOWN)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            low: self.low.saturating_add(other.low),
            sure: self.sure.zip(other.sure).map(|(a, b)| a.saturating_add(b)),
            high: self.high.saturating_add(other.high),
            open: self.open || other.open,
        }
    }

    /// Compares with a limit that the amount must reach.
    pub(super) fn floor(self, limit: i64) -> Verdict {
        match self.sure {
            Some(sure) if sure < limit => Verdict::Fails(sure),
            _ if self.low < limit => Verdict::Unknown(self.low),
            _ => Verdict::Keeps,
        }
    }

    /// Compares with a limit that the amount must not exceed.
    pub(super) fn ceiling(self, limit: i64) -> Verdict {
        if self.high > limit {
            Verdict::Fails(self.high)
        } else if self.open {
            Verdict::Unknown(self.high)
        } else {
            Verdict::Keeps
        }
    }
}

/// What gates need to know of a day.
#[derive(Clone, Debug)]
pub(super) struct DayFacts<M, I> {
    pub energy: Amount,
    pub protein: Amount,
    pub carbohydrate: Amount,
    pub fat: Amount,
    pub vitamin_k: Amount,
    /// Items that may contain alcohol, with the most in milligrams.
    pub alcohol: Vec<(M, I, i64)>,
    /// Whether any item's alcohol is not known.
    pub alcohol_open: bool,
    /// For each allergen, the items that are not known to be without it.
    pub allergens: BTreeMap<Allergen, Vec<(M, I, Presence)>>,
    /// Items rich in tyramine by name.
    pub tyramine: Vec<(M, I)>,
    /// The plain names of all choices, between spaces.
    pub names: Vec<(M, I, String)>,
    /// The times of the meals that have items, sorted; `None` if one has no time, or there is none.
    pub times: Option<Vec<i32>>,
}

/// What gates need to know of a plan, worked out once for all people.
#[derive(Clone, Debug)]
pub struct PlanFacts<M, I> {
    pub(super) repeats: bool,
    pub(super) loses_fat: bool,
    pub(super) excludes_food_group: bool,
    target_energy_mkcal: Option<i64>,
    pub(super) days: BTreeMap<i32, DayFacts<M, I>>,
    /// Sums of the energy of each 7 days that follow one another, or of all days if there are fewer.
    pub(super) weeks: Vec<Amount>,
    /// The days of each of these sums.
    pub(super) week_days: i64,
}

impl<M: Copy, I: Copy> PlanFacts<M, I> {
    /// Works out the facts of a plan. Of two days with one number, the later counts.
    #[must_use]
    pub fn of(plan: &Plan<'_, M, I>, limits: &Limits) -> Self {
        let mut facts = Self {
            repeats: plan.repeats,
            loses_fat: plan.loses_fat,
            excludes_food_group: plan.excludes_food_group,
            target_energy_mkcal: plan.target_energy_mkcal,
            days: BTreeMap::new(),
            weeks: Vec::new(),
            week_days: 0,
        };
        for day in &plan.days {
            let of_day = facts.day(day, limits);
            facts.days.insert(day.number, of_day);
        }
        facts.sum_weeks();
        facts
    }

    /// Replaces one day, after an item has changed; the other days are not worked out again.
    pub fn replace_day(&mut self, day: &Day<'_, M, I>, limits: &Limits) {
        let of_day = self.day(day, limits);
        self.days.insert(day.number, of_day);
        self.sum_weeks();
    }

    fn day(&self, day: &Day<'_, M, I>, limits: &Limits) -> DayFacts<M, I> {
        let items = || {
            day.meals
                .iter()
                .flat_map(|meal| meal.items.iter().map(move |item| (meal.id, item)))
        };
        let sum = |nutrient| {
            let amounts = items().map(|(_, item)| Amount::of(item, nutrient));
            amounts.reduce(Amount::plus)
        };
        let target = self.target_energy_mkcal.map(|target| Amount::exactly(target.max(0)));
        let mut facts = DayFacts {
            energy: sum(Nutrient::EnergyMkcal).or(target).unwrap_or(Amount::UNKNOWN),
            protein: sum(Nutrient::ProteinMg).unwrap_or(Amount::UNKNOWN),
            carbohydrate: sum(Nutrient::CarbohydrateMg).unwrap_or(Amount::UNKNOWN),
            fat: sum(Nutrient::FatMg).unwrap_or(Amount::UNKNOWN),
            vitamin_k: sum(Nutrient::VitaminKNg).unwrap_or(Amount::UNKNOWN),
            alcohol: Vec::new(),
            alcohol_open: false,
            allergens: BTreeMap::new(),
            tyramine: Vec::new(),
            names: Vec::new(),
            times: times(&day.meals),
        };
        for (meal, item) in items() {
            let alcohol = Amount::of(item, Nutrient::AlcoholMg);
            facts.alcohol_open |= alcohol.open;
            if alcohol.high > 0 {
                facts.alcohol.push((meal, item.id, alcohol.high));
            }
            for allergen in Allergen::ALL {
                let of_choice = |choice: &Choice<'_>| {
                    worst(*allergen, std::iter::once(choice.allergens).chain(choice.allergens_now))
                };
                let presence = item.choices.iter().map(of_choice).max().unwrap_or(Presence::Unknown);
                if presence != Presence::Absent {
                    let of_allergen = facts.allergens.entry(*allergen).or_default();
                    of_allergen.push((meal, item.id, presence));
                }
            }
            let mut names: Vec<String> = item.choices.iter().map(|c| plain(c.name_en)).collect();
            names.extend(item.choices.iter().map(|c| plain(c.name_es)));
            // A mark between the names keeps a match from reaching over two of them.
            let names = names.join(" | ");
            if limits.tyramine.iter().any(|words| has_words(&names, words)) {
                facts.tyramine.push((meal, item.id));
            }
            facts.names.push((meal, item.id, names));
        }
        facts
    }

    fn sum_weeks(&mut self) {
        let energy: Vec<Amount> = self.days.values().map(|day| day.energy).collect();
        let length = energy.len().min(7);
        let starts = match (energy.len(), self.repeats) {
            (0, _) => 0,
            (days, true) if days > 7 => days,
            (days, _) => days - length + 1,
        };
        self.week_days = i64::try_from(length).unwrap_or(7);
        let week = |start: usize| {
            let days = energy.iter().cycle().skip(start).take(length);
            days.fold(Amount::NOTHING, |sum, day| sum.plus(*day))
        };
        self.weeks = (0..starts).map(week).collect();
    }

    /// Compares every week with the energy that its days need; the verdict of the worst week.
    pub(super) fn weeks_floor(&self, mkcal_a_day: i64) -> Verdict {
        let limit = mkcal_a_day.saturating_mul(self.week_days);
        let mut worst = if self.weeks.is_empty() {
            Verdict::Unknown(0)
        } else {
            Verdict::Keeps
        };
        for week in &self.weeks {
            worst = match (worst, week.floor(limit)) {
                (Verdict::Fails(a), Verdict::Fails(b)) => Verdict::Fails(a.min(b)),
                (Verdict::Fails(a), _) | (_, Verdict::Fails(a)) => Verdict::Fails(a),
                (Verdict::Unknown(a), Verdict::Unknown(b)) => Verdict::Unknown(a.min(b)),
                (Verdict::Unknown(a), Verdict::Keeps) | (Verdict::Keeps, Verdict::Unknown(a)) => Verdict::Unknown(a),
                (Verdict::Keeps, Verdict::Keeps) => Verdict::Keeps,
            };
        }
        worst
    }
}

/// The times of the meals that have items, sorted.
fn times<M, I>(meals: &[Meal<'_, M, I>]) -> Option<Vec<i32>> {
    let eaten = meals.iter().filter(|meal| !meal.items.is_empty());
    let mut times: Vec<i32> = eaten.map(|meal| meal.time_min).collect::<Option<_>>()?;
    times.sort_unstable();
    (!times.is_empty()).then_some(times)
}
