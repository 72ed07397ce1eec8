//! The gates themselves.

use super::finding::{Compared, Finding, Gate, Place, Severity, Unit};
use super::limits::Limits;
use super::person::{Fact, Person};
use super::plan::{Amount, DayFacts, PlanFacts, Verdict};
use crate::Words;
use crate::allergens::{Allergen, Presence};
use crate::body::Sex;
use crate::medicines::Class;
use crate::text::{has_words, plain};

/// Compares a plan with a person: every finding, worst first, then by place.
#[must_use]
pub fn check<M: Copy + Ord, I: Copy + Ord>(
    plan: &PlanFacts<M, I>,
    person: &Person,
    limits: &Limits,
) -> Vec<Finding<M, I>> {
    let mut found = Vec::new();
    gates(plan, person, limits, &mut |raw| found.push(raw));
    found.sort_by_key(|raw: &Raw<M, I>| (std::cmp::Reverse(raw.severity), raw.place, raw.gate, raw.allergen));
    found.into_iter().map(|raw| raw.say(limits)).collect()
}

/// The severity of the worst finding, without working out any words; `None` without findings. For a plan's many
/// followers.
#[must_use]
pub fn worst_severity<M: Copy, I: Copy>(plan: &PlanFacts<M, I>, person: &Person, limits: &Limits) -> Option<Severity> {
    let mut worst = None;
    gates(plan, person, limits, &mut |raw| worst = worst.max(Some(raw.severity)));
    worst
}

/// Whether a plan is restrictive for a person: its lowest week is more than 15 % below what they use, or it leaves out a
/// group of foods. Where that cannot be said, it is.
#[must_use]
pub fn restrictive<M: Copy, I: Copy>(plan: &PlanFacts<M, I>, person: &Person, limits: &Limits) -> bool {
    let Some(total) = person.needs.total_mkcal.filter(|_| person.needs.complete) else {
        return true;
    };
    plan.excludes_food_group || plan.weeks_floor(less(total, limits.restrictive_permille)) != Verdict::Keeps
}

/// A finding without words.
struct Raw<M, I> {
    gate: Gate,
    severity: Severity,
    place: Place<M, I>,
    compared: Option<Compared>,
    unknown: bool,
    allergen: Option<Allergen>,
    name: Option<Words>,
}

impl<M, I> Raw<M, I> {
    fn new(gate: Gate, severity: Severity, place: Place<M, I>) -> Self {
        Self {
            gate,
            severity,
            place,
            compared: None,
            unknown: false,
            allergen: None,
            name: None,
        }
    }

    fn compared(mut self, actual: i64, limit: i64, unit: Unit) -> Self {
        self.compared = Some(Compared { actual, limit, unit });
        self
    }

    fn unknown(mut self) -> Self {
        self.unknown = true;
        self
    }

    fn say(self, limits: &Limits) -> Finding<M, I> {
        let name = self.allergen.map(Allergen::words).or(self.name);
        let about = limits.about(self.gate);
        let words = about.map(|about| about.say(self.unknown, self.compared, name.as_ref()));
        Finding {
            gate: self.gate,
            severity: self.severity,
            place: self.place,
            compared: self.compared,
            unknown: self.unknown,
            allergen: self.allergen,
            words: words.unwrap_or_else(|| (self.gate.name(), self.gate.name()).into()),
        }
    }
}

/// A block, or the need for a clearance if it is not known whether the gate's reason holds.
const fn block(holds: Fact) -> Severity {
    match holds {
        Fact::Yes => Severity::Block,
        Fact::Unknown | Fact::No => Severity::Clearance,
    }
}

/// An amount less so many thousandths of it.
fn less(amount: i64, permille: i64) -> i64 {
    amount.saturating_mul(1000 - permille) / 1000
}

type Sink<'a, M, I> = &'a mut dyn FnMut(Raw<M, I>);

fn gates<M: Copy, I: Copy>(plan: &PlanFacts<M, I>, person: &Person, limits: &Limits, found: Sink<'_, M, I>) {
    for (number, day) in &plan.days {
        let place = Place::day(*number);
        energy_of_day(day, place, person, limits, found);
        protein(day, place, person, limits, found);
        carbohydrate(day, place, person, limits, found);
        allergens(*number, day, person, found);
        tyramine_and_alcohol(*number, day, person, found);
    }
    deficit(plan, person, limits, found);
    no_deficit(plan, person, limits, found);
    fasting(plan, person, limits, found);
    vitamin_k(plan, person, limits, found);
    whole_plan(plan, person, found);
    macros(plan, limits, found);
}

/// The finding of an amount that has to reach a limit: as severe as the gate if it does not, a warning if that is not
/// known.
fn floor<M, I>(
    amount: Amount,
    gate: Gate,
    fails: Severity,
    place: Place<M, I>,
    limit: (i64, Unit),
) -> Option<Raw<M, I>> {
    let (limit, unit) = limit;
    match amount.floor(limit) {
        Verdict::Fails(actual) => Some(Raw::new(gate, fails, place).compared(actual, limit, unit)),
        Verdict::Unknown(actual) => Some(
            Raw::new(gate, Severity::Warn, place)
                .unknown()
                .compared(actual, limit, unit),
        ),
        Verdict::Keeps => None,
    }
}

fn energy_of_day<M: Copy, I: Copy>(
    day: &DayFacts<M, I>,
    place: Place<M, I>,
    person: &Person,
    limits: &Limits,
    found: Sink<'_, M, I>,
) {
    let limit = (limits.minimum_mkcal, Unit::Mkcal);
    if let Some(raw) = floor(day.energy, Gate::EnergyMinimum, Severity::Block, place, limit) {
        let fails = !raw.unknown;
        found(raw);
        // The person's own minimum is higher and says nothing more.
        if fails {
            return;
        }
    }
    let by_sex = sex_minimum(person.sex, limits);
    let resting = person.needs.resting_mkcal.unwrap_or(0);
    let limit = if leaves_no_deficit(person, limits) {
        resting
    } else {
        by_sex.max(resting)
    };
    if let Some(raw) = floor(
        day.energy,
        Gate::EnergyFloor,
        Severity::Clearance,
        place,
        (limit, Unit::Mkcal),
    ) {
        found(raw);
    }
}

fn sex_minimum(sex: Sex, limits: &Limits) -> i64 {
    match sex {
        Sex::Female => limits.female_mkcal,
        Sex::Male => limits.male_mkcal,
        Sex::Undisclosed => limits.undisclosed_mkcal,
    }
}

/// Whether the minimum is not below what the person uses.
fn leaves_no_deficit(person: &Person, limits: &Limits) -> bool {
    let total = person.needs.total_mkcal.filter(|_| person.needs.complete);
    total.is_some_and(|total| sex_minimum(person.sex, limits) >= total)
}

fn deficit<M: Copy, I: Copy>(plan: &PlanFacts<M, I>, person: &Person, limits: &Limits, found: Sink<'_, M, I>) {
    if !person.needs.complete {
        found(Raw::new(Gate::ExpenditureUnknown, Severity::Warn, Place::plan()));
    }
    let Some(total) = person.needs.total_mkcal else { return };
    let days = plan.week_days.max(1);
    if leaves_no_deficit(person, limits)
        && let Verdict::Fails(week) = plan.weeks_floor(total)
    {
        let raw = Raw::new(Gate::NoDeficitPossible, Severity::Clearance, Place::plan());
        found(raw.compared(week / days, total, Unit::Mkcal));
    }
    let of_total = |week: i64| {
        let used = total.saturating_mul(days).max(1);
        used.saturating_sub(week).saturating_mul(1000) / used
    };
    let (warn, most) = (limits.deficit_warn_permille, limits.deficit_block_permille);
    let large = |severity| Raw::new(Gate::DeficitLarge, severity, Place::plan());
    match (plan.weeks_floor(less(total, most)), plan.weeks_floor(less(total, warn))) {
        (Verdict::Fails(week), _) => found(large(Severity::Block).compared(of_total(week), most, Unit::Permille)),
        (_, Verdict::Fails(week)) => found(large(Severity::Warn).compared(of_total(week), warn, Unit::Permille)),
        (Verdict::Unknown(_), _) | (_, Verdict::Unknown(_)) => found(large(Severity::Warn).unknown()),
        (Verdict::Keeps, Verdict::Keeps) => {}
    }
    // The energy a day at which the loss in a week reaches so many thousandths of a percent of the weight.
    let weight = person.weight_g.map_or(0, i64::from);
    let least = |loss: i64| {
        let deficit = i128::from(weight) * i128::from(loss) * i128::from(limits.mkcal_per_g) / 700_000;
        total.saturating_sub(i64::try_from(deficit).unwrap_or(i64::MAX))
    };
    for (loss, severity) in [(limits.loss_block, Severity::Block), (limits.loss_warn, Severity::Warn)] {
        if let Verdict::Fails(week) = plan.weeks_floor(least(loss)) {
            let a_week = (total - week / days).saturating_mul(7) / limits.mkcal_per_g.max(1);
            let at_most = weight.saturating_mul(loss) / 100_000;
            found(Raw::new(Gate::LossFast, severity, Place::plan()).compared(a_week, at_most, Unit::GPerWeek));
            break;
        }
    }
}

fn no_deficit<M: Copy, I: Copy>(plan: &PlanFacts<M, I>, person: &Person, limits: &Limits, found: Sink<'_, M, I>) {
    for (gate, holds) in [
        (Gate::AnyDeficit, person.no_deficit()),
        (Gate::MinorDeficit, person.minor),
    ] {
        if holds == Fact::No {
            continue;
        }
        let days = plan.week_days.max(1);
        let total = person.needs.total_mkcal;
        let verdict = total.map(|total| plan.weeks_floor(less(total, limits.any_deficit_permille)));
        match (verdict, total) {
            (Some(Verdict::Fails(week)), Some(total)) => {
                let raw = Raw::new(gate, block(holds), Place::plan());
                found(raw.compared(total.saturating_sub(week / days), 0, Unit::Mkcal));
            }
            (Some(Verdict::Keeps), _) if person.needs.complete => {}
            _ => {
                // It cannot be shown that there is no deficit; a goal of losing fat then says that there is.
                let severity = if plan.loses_fat {
                    block(holds)
                } else {
                    Severity::Clearance
                };
                found(Raw::new(gate, severity, Place::plan()).unknown());
            }
        }
    }
}

fn protein<M: Copy, I: Copy>(
    day: &DayFacts<M, I>,
    place: Place<M, I>,
    person: &Person,
    limits: &Limits,
    found: Sink<'_, M, I>,
) {
    let holds = person.kidney_disease;
    if holds == Fact::No {
        return;
    }
    let per_kg = person.protein_limit_mg_per_kg.unwrap_or(limits.kidney_mg_per_kg);
    let weight = person.weight_g.map(i64::from).filter(|weight| *weight > 0);
    let verdict = weight.map(|weight| day.protein.ceiling(weight.saturating_mul(per_kg) / 1000));
    match (verdict, weight) {
        (Some(Verdict::Keeps), _) => {}
        (Some(Verdict::Fails(protein)), Some(weight)) => {
            let raw = Raw::new(Gate::ProteinKidney, block(holds), place);
            found(raw.compared(protein.saturating_mul(1000) / weight, per_kg, Unit::MgPerKg));
        }
        _ => {
            let raw = Raw::new(Gate::ProteinKidney, Severity::Clearance, place).unknown();
            found(raw.compared(0, per_kg, Unit::MgPerKg));
        }
    }
}

fn carbohydrate<M: Copy, I: Copy>(
    day: &DayFacts<M, I>,
    place: Place<M, I>,
    person: &Person,
    limits: &Limits,
    found: Sink<'_, M, I>,
) {
    let holds = person.needs_carbohydrate();
    if holds == Fact::No {
        return;
    }
    let limit = (limits.carbohydrate_mg, Unit::Mg);
    if let Some(raw) = floor(day.carbohydrate, Gate::CarbohydrateLow, block(holds), place, limit) {
        found(raw);
    }
}

fn fasting<M: Copy, I: Copy>(plan: &PlanFacts<M, I>, person: &Person, limits: &Limits, found: Sink<'_, M, I>) {
    let (holds, from) = (person.needs_carbohydrate(), limits.fasting_minutes);
    if holds == Fact::No {
        return;
    }
    let days: Vec<_> = plan.days.iter().collect();
    let mut unknown = false;
    for (at, (number, day)) in days.iter().enumerate() {
        let next = days.get(at + 1).or(days.first().filter(|_| plan.repeats));
        let Some(times) = &day.times else {
            unknown = true;
            continue;
        };
        let gaps = times.windows(2).map(|pair| i64::from(pair[1]) - i64::from(pair[0]));
        let overnight = match next.map(|(_, next)| (times.last(), next.times.as_ref().and_then(|t| t.first()))) {
            Some((Some(last), Some(first))) => Some(i64::from(*first) + 24 * 60 - i64::from(*last)),
            Some(_) => {
                unknown = true;
                None
            }
            None => None,
        };
        if let Some(gap) = gaps.chain(overnight).max().filter(|gap| *gap >= from) {
            let raw = Raw::new(Gate::FastingWindow, block(holds), Place::day(**number));
            found(raw.compared(gap, from, Unit::Minutes));
        }
    }
    if unknown {
        let raw = Raw::new(Gate::FastingWindow, Severity::Warn, Place::plan()).unknown();
        found(raw.compared(0, from, Unit::Minutes));
    }
}

fn allergens<M: Copy, I: Copy>(number: i32, day: &DayFacts<M, I>, person: &Person, found: Sink<'_, M, I>) {
    let at = |meal: M, item: I| Place::item(number, meal, item);
    for allergen in &person.allergies {
        for (meal, item, presence) in day.allergens.get(allergen).into_iter().flatten() {
            let (gate, severity) = match presence {
                Presence::Contains => (Gate::Allergen, Severity::Block),
                Presence::Traces | Presence::Unknown | Presence::Absent => (Gate::AllergenPossible, Severity::Warn),
            };
            found(Raw {
                unknown: *presence == Presence::Unknown,
                allergen: Some(*allergen),
                ..Raw::new(gate, severity, at(*meal, *item))
            });
        }
    }
    for other in &person.other_allergies {
        let words = plain(other);
        // Names in the plural: kiwi and kiwis, tomate and tomates, melon and melones.
        let singular = words.strip_suffix('s').unwrap_or(&words);
        let forms = [
            words.clone(),
            singular.to_owned(),
            format!("{words}s"),
            format!("{words}es"),
        ];
        for (meal, item, names) in &day.names {
            if forms.iter().any(|form| has_words(names, form)) {
                found(Raw {
                    name: Some((other.as_str(), other.as_str()).into()),
                    ..Raw::new(Gate::OtherAllergen, Severity::Block, at(*meal, *item))
                });
            }
        }
    }
}

fn tyramine_and_alcohol<M: Copy, I: Copy>(number: i32, day: &DayFacts<M, I>, person: &Person, found: Sink<'_, M, I>) {
    let at = |meal: M, item: I| Place::item(number, meal, item);
    let maoi = person.takes(Class::Maoi);
    if maoi != Fact::No {
        for (meal, item) in &day.tyramine {
            found(Raw {
                unknown: maoi == Fact::Unknown,
                ..Raw::new(Gate::Tyramine, block(maoi), at(*meal, *item))
            });
        }
    }
    let holds = person.no_alcohol();
    if holds != Fact::No {
        for (meal, item, alcohol) in &day.alcohol {
            found(Raw::new(Gate::Alcohol, block(holds), at(*meal, *item)).compared(*alcohol, 0, Unit::Mg));
        }
        if day.alcohol_open {
            found(Raw::new(Gate::Alcohol, Severity::Clearance, Place::day(number)).unknown());
        }
    }
}

fn vitamin_k<M: Copy, I: Copy>(plan: &PlanFacts<M, I>, person: &Person, limits: &Limits, found: Sink<'_, M, I>) {
    if person.takes(Class::VitaminKAntagonist) == Fact::No {
        return;
    }
    let limit = limits.vitamin_k_permille;
    // The day before the first is the last, if the plan repeats.
    let mut before: Option<Amount> = plan
        .days
        .values()
        .last()
        .filter(|_| plan.repeats)
        .map(|day| day.vitamin_k);
    for (number, day) in &plan.days {
        let today = day.vitamin_k;
        if let Some(before) = before {
            let change = change_permille(before, today);
            let raw = Raw::new(Gate::VitaminKSwing, Severity::Warn, Place::day(*number));
            if before.open || today.open {
                found(raw.unknown());
            } else if change > limit {
                found(raw.compared(change, limit, Unit::Permille));
            }
        }
        before = Some(today);
    }
}

/// The largest change from the day before that alternatives allow, in thousandths of the day before; at most 99,999.
fn change_permille(before: Amount, today: Amount) -> i64 {
    let of = |change: i64, before: i64| match (change, before) {
        (..=0, _) => 0,
        (_, ..=0) => MOST_PERMILLE,
        (change, before) => (change.saturating_mul(1000) / before).min(MOST_PERMILLE),
    };
    let up = of(today.high.saturating_sub(before.low), before.low);
    let down = of(before.high.saturating_sub(today.low), before.high);
    up.max(down)
}

/// A change from nothing is this many thousandths.
const MOST_PERMILLE: i64 = 99_999;

fn whole_plan<M: Copy, I: Copy>(plan: &PlanFacts<M, I>, person: &Person, found: Sink<'_, M, I>) {
    if person.allergies_unknown {
        found(Raw::new(Gate::AllergiesUnknown, Severity::Clearance, Place::plan()));
    }
    if person.takes(Class::Maoi) == Fact::Yes {
        found(Raw::new(Gate::TyramineByName, Severity::Advise, Place::plan()));
    }
    if person.dialysis == Fact::Yes && person.protein_limit_mg_per_kg.is_none() {
        found(Raw::new(Gate::ProteinDialysis, Severity::Clearance, Place::plan()));
    }
    if plan.days.values().any(|day| !day.names.is_empty()) {
        for other in &person.other_allergies {
            found(Raw {
                name: Some((other.as_str(), other.as_str()).into()),
                ..Raw::new(Gate::OtherAllergenPossible, Severity::Warn, Place::plan())
            });
        }
    }
}

/// The shares of macronutrients over the whole plan, if all of them are known.
fn macros<M: Copy, I: Copy>(plan: &PlanFacts<M, I>, limits: &Limits, found: Sink<'_, M, I>) {
    let sum = |of: fn(&DayFacts<M, I>) -> Amount| plan.days.values().map(of).reduce(Amount::plus);
    let (Some(energy), Some(protein), Some(carbohydrate), Some(fat)) = (
        sum(|day| day.energy),
        sum(|day| day.protein),
        sum(|day| day.carbohydrate),
        sum(|day| day.fat),
    ) else {
        return;
    };
    if energy.low <= 0 || energy.open {
        return;
    }
    let [of_protein, of_carbohydrate, of_fat] = limits.macros_permille;
    for (amount, kcal, (from, to), name) in [
        (protein, 4, of_protein, ("protein", "la proteína")),
        (
            carbohydrate,
            4,
            of_carbohydrate,
            ("carbohydrate", "los hidratos de carbono"),
        ),
        (fat, 9, of_fat, ("fat", "la grasa")),
    ] {
        // A factor in kcal per gram has the same value in mkcal per milligram.
        let share = |amount: i64, energy: i64| amount.saturating_mul(kcal * 1000) / energy.max(1);
        let (low, high) = (share(amount.low, energy.high), share(amount.high, energy.low));
        let outside = if low < from {
            Some((low, from))
        } else {
            (high > to).then_some((high, to))
        };
        if let Some((actual, limit)) = outside.filter(|_| !amount.open) {
            found(Raw {
                name: Some(name.into()),
                ..Raw::new(Gate::MacroRange, Severity::Advise, Place::plan()).compared(actual, limit, Unit::Permille)
            });
        }
    }
}
