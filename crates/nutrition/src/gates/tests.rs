//! Each gate at its limits, and what holds for any plan and person.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::Refusal::{ClearanceRequired, GuardianConsentRequired, PlanIncompatible, ReviewPending, RiskBlocked};
use super::*;
use crate::allergens::Presence::{Absent, Contains, Traces, Unknown};
use crate::allergens::{Allergen, Allergens, AllergySeverity, Presence};
use crate::body::Sex;
use crate::energy::Activity;
use crate::nutrients::{Nutrient, Nutrients};
use crate::screening::{Answers, Condition, Level, OtherAllergy, refused};

type Findings = Vec<Finding<u32, u32>>;

fn v1() -> &'static Limits {
    limits(1).expect("limits")
}

/// A food as tests write it down; owned, so that plans can borrow from it.
#[derive(Clone, Debug)]
struct Food {
    name_en: String,
    name_es: String,
    nutrients: Nutrients,
    then: Allergens,
    now: Option<Allergens>,
}

fn all_absent() -> Allergens {
    Allergen::ALL.iter().map(|one| (*one, Presence::Absent)).collect()
}

/// A food of which everything is known: kilocalories and grams.
fn food(kcal: i64, protein: i64, carbohydrate: i64, fat: i64) -> Food {
    Food {
        name_en: "Rice".to_owned(),
        name_es: "Arroz".to_owned(),
        nutrients: Nutrients {
            energy_mkcal: Some(kcal * 1000),
            protein_mg: Some(protein * 1000),
            carbohydrate_mg: Some(carbohydrate * 1000),
            fat_mg: Some(fat * 1000),
            alcohol_mg: Some(0),
            vitamin_k_ng: Some(90_000),
            ..Nutrients::default()
        },
        then: all_absent(),
        now: None,
    }
}

fn kcal(kcal: i64) -> Food {
    // A fifth of protein, half carbohydrate, the rest fat.
    food(kcal, kcal / 20, kcal / 8, kcal / 30)
}

/// Days of items of alternatives. Every day has a breakfast at 08:00 and a dinner at 20:00 with half the items each.
#[derive(Clone, Debug)]
struct Draft {
    repeats: bool,
    loses_fat: bool,
    target: Option<i64>,
    days: Vec<Vec<Vec<Food>>>,
    times: [Option<i32>; 2],
}

impl Draft {
    fn of(days: &[Food]) -> Self {
        let days = days
            .iter()
            .map(|food| vec![vec![food.clone()], vec![kcal(0)]])
            .collect();
        Self {
            repeats: false,
            loses_fat: false,
            target: None,
            days,
            times: [Some(480), Some(1200)],
        }
    }

    fn day(&self, at: usize) -> Day<'_, u32, u32> {
        let mut meals: Vec<Meal<'_, u32, u32>> = (0..2)
            .map(|id| Meal {
                id,
                time_min: self.times[id as usize],
                items: Vec::new(),
            })
            .collect();
        for (id, choices) in (0_u32..).zip(&self.days[at]) {
            let choices = choices.iter().map(|food| Choice {
                name_en: &food.name_en,
                name_es: &food.name_es,
                nutrients: &food.nutrients,
                allergens: &food.then,
                allergens_now: food.now.as_ref(),
            });
            meals[id as usize % 2].items.push(Item {
                id,
                choices: choices.collect(),
            });
        }
        Day {
            number: i32::try_from(at).expect("a day") + 1,
            meals,
        }
    }

    fn facts(&self) -> PlanFacts<u32, u32> {
        let plan = Plan {
            repeats: self.repeats,
            loses_fat: self.loses_fat,
            excludes_food_group: false,
            target_energy_mkcal: self.target,
            days: (0..self.days.len()).map(|at| self.day(at)).collect(),
        };
        PlanFacts::of(&plan, v1())
    }

    fn check(&self, answers: &Answers) -> Findings {
        check(&self.facts(), &Person::of(answers), v1())
    }
}

/// A man of 30 with 75 kg, 175 cm and a sedentary life: 1698.75 kcal at rest, 2038.5 in all.
fn man() -> Answers {
    Answers {
        age: 30.into(),
        weight_g: 75_000.into(),
        height_mm: 1750.into(),
        sex: Sex::Male.into(),
        activity: Activity::Sedentary.into(),
        ..Answers::default()
    }
}

/// A woman with the same measures: 1532.75 kcal at rest, 1839.3 in all.
fn woman() -> Answers {
    Answers {
        sex: Sex::Female.into(),
        ..man()
    }
}

fn taking(list: &str) -> Answers {
    Answers {
        medication_list: list.to_owned().into(),
        ..man()
    }
}

fn with(condition: Condition) -> Answers {
    Answers {
        medical_conditions: BTreeSet::from([condition]).into(),
        ..man()
    }
}

/// The severity of a gate's worst finding.
fn severity(findings: &Findings, gate: Gate) -> Option<Severity> {
    findings.iter().filter(|f| f.gate == gate).map(|f| f.severity).max()
}

fn found(findings: &Findings, gate: Gate) -> &Finding<u32, u32> {
    findings.iter().find(|f| f.gate == gate).expect("a finding")
}

#[test]
fn every_version_can_be_read_and_no_other_exists() {
    for version in 1..=LATEST {
        assert_eq!(limits(version).expect("limits").version, version);
    }
    assert!(limits(0).is_none() && limits(LATEST + 1).is_none());
}

#[test]
fn a_balanced_plan_at_the_persons_needs_has_no_findings() {
    assert_eq!(Draft::of(&vec![food(2100, 105, 250, 70); 7]).check(&man()), []);
}

#[test]
fn a_day_below_800_kcal_blocks_and_below_the_floor_needs_a_clearance() {
    for (day, minimum, floor) in [
        (799, Some(Severity::Block), None),
        (800, None, Some(Severity::Clearance)),
        (1532, None, Some(Severity::Clearance)),
        (1533, None, None),
    ] {
        let findings = Draft::of(&[kcal(day), kcal(2000)]).check(&woman());
        assert_eq!(severity(&findings, Gate::EnergyMinimum), minimum, "{day}");
        assert_eq!(severity(&findings, Gate::EnergyFloor), floor, "{day}");
    }
    let findings = Draft::of(&[kcal(799)]).check(&woman());
    let finding = found(&findings, Gate::EnergyMinimum);
    let compared = Compared {
        actual: 799_000,
        limit: 800_000,
        unit: Unit::Mkcal,
    };
    assert_eq!((finding.compared, finding.place), (Some(compared), Place::day(1)));
    assert_eq!(
        finding.words.en,
        "The day has 799 kcal; no plan with less than 800 kcal is followed without medical care."
    );
}

#[test]
fn the_floor_of_the_sex_counts_where_it_is_above_the_resting_rate() {
    // A small woman of 60: 10·50 + 6.25·155 − 5·60 − 161 = 1007.75 at rest, below 1200.
    let small = Answers {
        age: 60.into(),
        weight_g: 50_000.into(),
        height_mm: 1550.into(),
        activity: Activity::Moderate.into(),
        ..woman()
    };
    for (day, floor) in [(1199, Some(Severity::Clearance)), (1200, None)] {
        assert_eq!(
            severity(&Draft::of(&[kcal(day)]).check(&small), Gate::EnergyFloor),
            floor,
            "{day}"
        );
    }
}

#[test]
fn where_the_floor_is_not_below_the_needs_no_deficit_can_be_recommended() {
    // 10·45 + 6.25·150 − 5·70 − 161 = 876.5 at rest, 1051.8 in all.
    let small = Answers {
        age: 70.into(),
        weight_g: 45_000.into(),
        height_mm: 1500.into(),
        ..woman()
    };
    for (day, none) in [(1051, Some(Severity::Clearance)), (1052, None)] {
        let findings = Draft::of(&[kcal(day)]).check(&small);
        assert_eq!(severity(&findings, Gate::NoDeficitPossible), none, "{day}");
        // Nobody is told to eat more than they use.
        assert_eq!(severity(&findings, Gate::EnergyFloor), None, "{day}");
    }
    let findings = Draft::of(&[kcal(870)]).check(&small);
    assert_eq!(severity(&findings, Gate::EnergyFloor), Some(Severity::Clearance));
}

#[test]
fn a_deficit_above_25_percent_warns_and_above_35_blocks() {
    let needs = 2_038_500;
    for (day, expected) in [
        (needs * 3 / 4, None),
        (needs * 3 / 4 - 1, Some(Severity::Warn)),
        (needs * 65 / 100, Some(Severity::Warn)),
        (needs * 65 / 100 - 1, Some(Severity::Block)),
    ] {
        let mut day_food = kcal(0);
        day_food.nutrients.energy_mkcal = Some(day);
        let findings = Draft::of(&vec![day_food; 7]).check(&man());
        assert_eq!(severity(&findings, Gate::DeficitLarge), expected, "{day}");
    }
    let findings = Draft::of(&[kcal(1223)]).check(&man());
    assert_eq!(
        found(&findings, Gate::DeficitLarge)
            .compared
            .map(|c| (c.actual, c.limit)),
        Some((400, 350))
    );
}

#[test]
fn a_loss_above_1_percent_a_week_warns_and_above_1_5_blocks() {
    // Light and very active, so that the loss exceeds its limits before the deficit exceeds its own.
    let light = Answers {
        weight_g: 50_000.into(),
        activity: Activity::VeryHigh.into(),
        ..man()
    };
    let needs = Person::of(&light).needs().total_mkcal.expect("needs");
    // 1 % of 50 kg are 500 g, 550 kcal a day; 1.5 % are 825 kcal a day.
    for (deficit, expected) in [
        (550_000, None),
        (550_001, Some(Severity::Warn)),
        (825_000, Some(Severity::Warn)),
        (825_001, Some(Severity::Block)),
    ] {
        let mut day = kcal(0);
        day.nutrients.energy_mkcal = Some(needs - deficit);
        let findings = Draft::of(&vec![day; 7]).check(&light);
        assert_eq!(severity(&findings, Gate::LossFast), expected, "{deficit}");
        if let Some(Compared { actual, unit, .. }) = findings
            .iter()
            .find(|f| f.gate == Gate::LossFast)
            .and_then(|f| f.compared)
        {
            assert_eq!((actual, unit), (deficit * 7 / 7700, Unit::GPerWeek));
        }
    }
}

#[test]
fn the_lowest_seven_days_count_also_across_the_end_of_a_plan_that_repeats() {
    let days: Vec<Food> = [1000, 1000, 1000, 1000, 3000, 3000, 3000, 1000, 1000, 1000]
        .map(kcal)
        .to_vec();
    let mut draft = Draft::of(&days);
    let deficit = |draft: &Draft| {
        let findings = draft.check(&man());
        let large = findings.iter().find(|f| f.gate == Gate::DeficitLarge);
        large.and_then(|f| f.compared).map(|c| c.actual)
    };
    // Any seven in a row have at least three days of 3000; over the end, seven of 1000 follow one another.
    assert_eq!(deficit(&draft), None);
    draft.repeats = true;
    assert_eq!(deficit(&draft), Some(509));
}

#[test]
fn a_small_deficit_blocks_only_those_whom_it_harms_and_no_clearance_lifts_it() {
    let draft = Draft::of(&vec![kcal(2000); 7]);
    let pregnant = Answers {
        is_pregnant: true.into(),
        ..woman()
    };
    let breastfeeding = Answers {
        is_breastfeeding: true.into(),
        ..woman()
    };
    let history = Answers {
        has_eating_disorder_history: true.into(),
        ..man()
    };
    let thin = Answers {
        weight_g: 56_000.into(),
        activity: Activity::Moderate.into(),
        ..man()
    };
    for answers in [pregnant, breastfeeding, history, with(Condition::EatingDisorder), thin] {
        let findings = draft.check(&answers);
        assert_eq!(
            severity(&findings, Gate::AnyDeficit),
            Some(Severity::Block),
            "{answers:?}"
        );
        let clearance = Clearance {
            covers: Gate::ALL.iter().map(|gate| gate.name().to_owned()).collect(),
        };
        let standing = Standing {
            level: Level::Low,
            causes: BTreeSet::new(),
            review_pending: false,
            minor: false,
            guardian_consent: false,
            clearance: Some(&clearance),
        };
        let refusals = decide(&standing, &findings, true);
        assert_eq!(refusals, BTreeSet::from([Refusal::PlanIncompatible]));
    }
    assert_eq!(severity(&draft.check(&man()), Gate::AnyDeficit), None);
    let suspected = Answers {
        food_on_the_mind: true.into(),
        eats_in_secret: true.into(),
        ..man()
    };
    assert_eq!(
        severity(&draft.check(&suspected), Gate::AnyDeficit),
        Some(Severity::Clearance)
    );
}

#[test]
fn a_minor_gets_no_deficit_plan() {
    let minor = Answers {
        age: 16.into(),
        activity: Activity::Moderate.into(),
        ..man()
    };
    // 17.686·75 + 658.2 = 1984.65 at rest, 3076.2 in all.
    for (day, expected) in [(3076, Some(Severity::Block)), (3077, None)] {
        assert_eq!(
            severity(&Draft::of(&[kcal(day)]).check(&minor), Gate::MinorDeficit),
            expected,
            "{day}"
        );
    }
    let mut draft = Draft::of(&[kcal(4000)]);
    let unmeasured = minor.without("weight_g");
    assert_eq!(
        severity(&draft.check(&unmeasured), Gate::MinorDeficit),
        Some(Severity::Clearance)
    );
    draft.loses_fat = true;
    assert_eq!(
        severity(&draft.check(&unmeasured), Gate::MinorDeficit),
        Some(Severity::Block)
    );
    assert_eq!(severity(&draft.check(&man()), Gate::MinorDeficit), None);
}

#[test]
fn kidney_disease_limits_protein_until_a_clearance_writes_another_limit() {
    let kidney = with(Condition::KidneyDisease);
    // 0.8 g/kg of 75 kg are 60 g.
    for (protein, expected) in [(60, None), (61, Some(Severity::Block))] {
        let findings = Draft::of(&[food(2100, protein, 300, 70)]).check(&kidney);
        assert_eq!(severity(&findings, Gate::ProteinKidney), expected, "{protein}");
    }
    let facts = Draft::of(&[food(2100, 80, 300, 70)]).facts();
    let cleared = Person::of(&kidney).with_protein_limit(1200);
    assert_eq!(severity(&check(&facts, &cleared, v1()), Gate::ProteinKidney), None);
    let dialysis = Answers {
        dialysis: true.into(),
        ..man()
    };
    let findings = check(&facts, &Person::of(&dialysis), v1());
    assert_eq!(severity(&findings, Gate::ProteinDialysis), Some(Severity::Clearance));
    assert_eq!(severity(&findings, Gate::ProteinKidney), Some(Severity::Block));
    let findings = check(&facts, &Person::of(&dialysis).with_protein_limit(1200), v1());
    assert_eq!(severity(&findings, Gate::ProteinDialysis), None);
}

#[test]
fn little_carbohydrate_and_long_gaps_block_those_whom_they_harm() {
    let pregnant = Answers {
        is_pregnant: true.into(),
        ..woman()
    };
    let minor = Answers {
        age: 16.into(),
        ..man()
    };
    for answers in [
        with(Condition::Type1Diabetes),
        taking("Lantus"),
        taking("Jardiance"),
        pregnant,
        minor,
    ] {
        for (carbohydrate, expected) in [(129, Some(Severity::Block)), (130, None)] {
            let findings = Draft::of(&[food(2100, 100, carbohydrate, 70)]).check(&answers);
            assert_eq!(severity(&findings, Gate::CarbohydrateLow), expected, "{answers:?}");
        }
        for (times, repeats, expected) in [
            ([Some(480), Some(1200)], true, None),
            ([Some(480), Some(1081)], true, None),
            ([Some(480), Some(1080)], true, Some(Severity::Block)),
            ([Some(300), Some(1140)], false, Some(Severity::Block)),
            ([Some(480), None], true, Some(Severity::Warn)),
        ] {
            let mut draft = Draft::of(&[kcal(2100)]);
            (draft.times, draft.repeats) = (times, repeats);
            let findings = draft.check(&answers);
            assert_eq!(severity(&findings, Gate::FastingWindow), expected, "{times:?}");
        }
    }
    for answers in [man(), taking("metformina"), taking("gliclazida")] {
        let findings = Draft::of(&[food(2100, 100, 20, 70)]).check(&answers);
        assert_eq!(severity(&findings, Gate::CarbohydrateLow), None);
    }
}

#[test]
fn allergens_of_the_item_and_of_the_food_now_count_together_and_alternatives_at_their_worst() {
    let allergic = Answers {
        allergies: BTreeMap::from([(Allergen::Milk, AllergySeverity::Severe)]).into(),
        ..man()
    };
    let milk = |presence| {
        let mut allergens = all_absent();
        allergens.insert(Allergen::Milk, presence);
        allergens
    };
    for (then, now, expected) in [
        (Absent, Some(Absent), None),
        (Absent, None, None),
        (Contains, Some(Absent), Some((Gate::Allergen, Severity::Block))),
        (Absent, Some(Contains), Some((Gate::Allergen, Severity::Block))),
        (Traces, Some(Absent), Some((Gate::AllergenPossible, Severity::Warn))),
        (Absent, Some(Unknown), Some((Gate::AllergenPossible, Severity::Warn))),
    ] {
        let mut draft = Draft::of(&[kcal(2100)]);
        draft.days[0][0].push(Food {
            then: milk(then),
            now: now.map(milk),
            ..kcal(2100)
        });
        let findings = draft.check(&allergic);
        let place = Place {
            day: Some(1),
            meal: Some(0),
            item: Some(0),
        };
        let of_milk = findings.iter().find(|f| f.allergen == Some(Allergen::Milk));
        assert_eq!(of_milk.map(|f| (f.gate, f.severity)), expected, "{then:?} {now:?}");
        assert!(of_milk.is_none_or(|f| f.place == place));
        assert!(draft.check(&man()).iter().all(|f| f.allergen.is_none()));
    }
}

#[test]
fn an_allergy_in_the_persons_words_is_looked_for_in_names() {
    let allergic = Answers {
        other_allergies: vec![OtherAllergy {
            name: "Kiwi".to_owned(),
            severity: AllergySeverity::Moderate,
        }]
        .into(),
        ..man()
    };
    let mut draft = Draft::of(&[kcal(2100)]);
    assert_eq!(severity(&draft.check(&allergic), Gate::OtherAllergen), None);
    assert_eq!(
        severity(&draft.check(&allergic), Gate::OtherAllergenPossible),
        Some(Severity::Warn)
    );
    draft.days[0][0][0].name_es = "Macedonia de kiwis y fresas".to_owned();
    assert_eq!(
        severity(&draft.check(&allergic), Gate::OtherAllergen),
        Some(Severity::Block)
    );
    let silent = Answers {
        allergies: refused(),
        ..man()
    };
    assert_eq!(
        severity(&draft.check(&silent), Gate::AllergiesUnknown),
        Some(Severity::Clearance)
    );
}

#[test]
fn tyramine_blocks_with_a_monoamine_oxidase_inhibitor() {
    let mut draft = Draft::of(&[kcal(2100)]);
    for (name, rich) in [
        ("Queso manchego curado", true),
        ("Chorizo ibérico", true),
        ("Salsa de soja", true),
        ("Requesón", false),
        ("Pechuga de pollo", false),
    ] {
        name.clone_into(&mut draft.days[0][0][0].name_es);
        let expected = rich.then_some(Severity::Block);
        assert_eq!(
            severity(&draft.check(&taking("Nardil")), Gate::Tyramine),
            expected,
            "{name}"
        );
        assert_eq!(severity(&draft.check(&taking("metformina")), Gate::Tyramine), None);
    }
    assert_eq!(
        severity(&draft.check(&taking("Nardil")), Gate::TyramineByName),
        Some(Severity::Advise)
    );
}

#[test]
fn vitamin_k_that_changes_by_more_than_half_warns_with_its_antagonist() {
    let day = |micrograms: i64| {
        let mut day = kcal(2100);
        day.nutrients.vitamin_k_ng = Some(micrograms * 1000);
        day
    };
    // The second item of each day has 90 µg.
    for (first, second, expected) in [
        (10, 60, None),
        (10, 61, Some(Severity::Warn)),
        (60, 10, None),
        (200, 54, Some(Severity::Warn)),
    ] {
        let draft = Draft::of(&[day(first), day(second)]);
        let findings = draft.check(&taking("Sintrom"));
        assert_eq!(severity(&findings, Gate::VitaminKSwing), expected, "{first} {second}");
        assert_eq!(severity(&draft.check(&man()), Gate::VitaminKSwing), None);
    }
    let mut repeats = Draft::of(&[day(10), day(50), day(100)]);
    assert_eq!(severity(&repeats.check(&taking("Sintrom")), Gate::VitaminKSwing), None);
    repeats.days.push(repeats.days[2].clone());
    repeats.repeats = true;
    let unknown = {
        let mut draft = repeats.clone();
        draft.days[1][0][0].nutrients.vitamin_k_ng = None;
        draft.check(&taking("Sintrom"))
    };
    assert!(found(&unknown, Gate::VitaminKSwing).unknown);
}

#[test]
fn alcohol_blocks_for_minors_in_pregnancy_and_breastfeeding() {
    let mut draft = Draft::of(&[kcal(2100)]);
    draft.days[0][0][0].nutrients.alcohol_mg = Some(1);
    let minor = Answers {
        age: 17.into(),
        ..man()
    };
    let pregnant = Answers {
        is_pregnant: true.into(),
        ..woman()
    };
    let breastfeeding = Answers {
        is_breastfeeding: true.into(),
        ..woman()
    };
    for answers in [minor, pregnant, breastfeeding] {
        assert_eq!(severity(&draft.check(&answers), Gate::Alcohol), Some(Severity::Block));
        let mut unknown = draft.clone();
        unknown.days[0][0][0].nutrients.alcohol_mg = None;
        assert_eq!(
            severity(&unknown.check(&answers), Gate::Alcohol),
            Some(Severity::Clearance)
        );
        unknown.days[0][0][0].nutrients.alcohol_mg = Some(0);
        assert_eq!(severity(&unknown.check(&answers), Gate::Alcohol), None);
    }
    assert_eq!(severity(&draft.check(&man()), Gate::Alcohol), None);
}

#[test]
fn what_is_not_known_never_passes_an_upper_limit_and_never_fails_a_floor() {
    let mut draft = Draft::of(&[food(700, 10, 20, 20)]);
    draft.days[0][1][0].nutrients = Nutrients::default();
    let findings = draft.check(&Answers {
        medical_conditions: BTreeSet::from([Condition::KidneyDisease, Condition::Type1Diabetes]).into(),
        ..man()
    });
    for (gate, severity) in [
        (Gate::EnergyMinimum, Severity::Warn),
        (Gate::EnergyFloor, Severity::Warn),
        (Gate::DeficitLarge, Severity::Warn),
        (Gate::CarbohydrateLow, Severity::Warn),
        (Gate::ProteinKidney, Severity::Clearance),
    ] {
        let finding = found(&findings, gate);
        assert_eq!((finding.severity, finding.unknown), (severity, true), "{gate:?}");
    }
    // What is known alone is too much.
    draft.days[0][0][0].nutrients.protein_mg = Some(61_000);
    let findings = draft.check(&with(Condition::KidneyDisease));
    assert_eq!(severity(&findings, Gate::ProteinKidney), Some(Severity::Block));
}

#[test]
fn a_day_without_items_has_the_energy_of_the_target_or_none_that_is_known() {
    let mut draft = Draft::of(&[]);
    draft.days.push(Vec::new());
    assert!(found(&draft.check(&man()), Gate::EnergyMinimum).unknown);
    draft.target = Some(700_000);
    assert_eq!(
        severity(&draft.check(&man()), Gate::EnergyMinimum),
        Some(Severity::Block)
    );
    draft.target = Some(2_100_000);
    assert_eq!(severity(&draft.check(&man()), Gate::EnergyMinimum), None);
}

#[test]
fn a_person_who_prefers_not_to_say_is_treated_as_unknown() {
    let mut draft = Draft::of(&vec![kcal(2100); 7]);
    draft.days[0][0][0].name_en = "Soy sauce".to_owned();
    draft.days[0][0][0].nutrients.alcohol_mg = Some(1);
    let findings = check(&draft.facts(), &Person::unknown(), v1());
    assert!(
        findings.iter().all(|finding| finding.severity < Severity::Block),
        "{findings:?}"
    );
    for gate in [
        Gate::AnyDeficit,
        Gate::MinorDeficit,
        Gate::ProteinKidney,
        Gate::AllergiesUnknown,
        Gate::Tyramine,
        Gate::Alcohol,
    ] {
        assert_eq!(severity(&findings, gate), Some(Severity::Clearance), "{gate:?}");
    }
    assert!(restrictive(&draft.facts(), &Person::unknown(), v1()));
}

#[test]
fn a_plan_restricts_above_15_percent_below_the_needs() {
    let needs = 2_038_500;
    for (day, restricts) in [(needs * 85 / 100, false), (needs * 85 / 100 - 1, true)] {
        let mut day_food = kcal(0);
        day_food.nutrients.energy_mkcal = Some(day);
        let facts = Draft::of(&vec![day_food; 7]).facts();
        assert_eq!(restrictive(&facts, &Person::of(&man()), v1()), restricts, "{day}");
    }
    let mut facts = Draft::of(&[kcal(2500)]).facts();
    facts.excludes_food_group = true;
    assert!(restrictive(&facts, &Person::of(&man()), v1()));
}

#[test]
fn macronutrients_outside_the_usual_ranges_are_advice() {
    let findings = Draft::of(&[food(2000, 40, 200, 120)]).check(&man());
    let advice: Vec<_> = findings.iter().filter(|f| f.gate == Gate::MacroRange).collect();
    assert_eq!(advice.len(), 3);
    assert!(advice.iter().all(|f| f.severity == Severity::Advise));
    let told = for_trainer(&findings, v1());
    assert!(told.iter().all(|told| told.constraint != Constraint::Nothing));
}

#[test]
fn the_decision_is_the_stricter_of_level_and_findings() {
    let clearance = |covers: &[&str]| Clearance {
        covers: covers.iter().map(ToString::to_string).collect(),
    };
    let finding = |severity| Finding::<u32, u32> {
        gate: Gate::EnergyFloor,
        severity,
        place: Place::day(1),
        compared: None,
        unknown: false,
        allergen: None,
        words: ("", "").into(),
    };
    let kidney = &["kidney_disease"][..];
    for (level, causes, cleared, severity, restrictive, expected) in [
        (Level::Low, &[][..], None, None, true, &[][..]),
        (Level::Medium, &["minor"], None, Some(Severity::Warn), true, &[]),
        (Level::High, kidney, None, None, false, &[ClearanceRequired]),
        (Level::High, kidney, Some(kidney), None, true, &[]),
        (
            Level::High,
            &["kidney_disease", "lithium"],
            Some(kidney),
            None,
            true,
            &[ClearanceRequired],
        ),
        (Level::High, &[], Some(kidney), None, true, &[ClearanceRequired]),
        (Level::Critical, kidney, None, None, false, &[RiskBlocked]),
        (Level::Critical, kidney, Some(kidney), None, true, &[RiskBlocked]),
        (Level::Critical, kidney, Some(kidney), None, false, &[]),
        (
            Level::Low,
            &[],
            None,
            Some(Severity::Clearance),
            false,
            &[ClearanceRequired],
        ),
        (
            Level::Low,
            &[],
            Some(&["energy_floor"]),
            Some(Severity::Clearance),
            false,
            &[],
        ),
        (
            Level::Low,
            &[],
            Some(&["energy_floor"]),
            Some(Severity::Block),
            false,
            &[PlanIncompatible],
        ),
    ] {
        let cleared = cleared.map(clearance);
        let standing = Standing {
            level,
            causes: causes.iter().copied().collect(),
            review_pending: false,
            minor: false,
            guardian_consent: false,
            clearance: cleared.as_ref(),
        };
        let findings: Vec<_> = severity.map(finding).into_iter().collect();
        let expected: BTreeSet<Refusal> = expected.iter().copied().collect();
        assert_eq!(
            decide(&standing, &findings, restrictive),
            expected,
            "{standing:?} {severity:?}"
        );
        let minor = Standing {
            minor: true,
            review_pending: true,
            ..standing
        };
        let more = [ReviewPending, GuardianConsentRequired];
        assert_eq!(
            decide(&minor, &findings, restrictive),
            expected.into_iter().chain(more).collect::<BTreeSet<_>>()
        );
    }
    for refusal in Refusal::ALL {
        assert!(!refusal.next_step().en.is_empty() && !refusal.next_step().es.is_empty());
    }
}

#[test]
fn a_trainer_cannot_tell_one_secret_from_another() {
    let pregnant = Answers {
        is_pregnant: true.into(),
        trimester: 1.into(),
        ..woman()
    };
    let history = Answers {
        has_eating_disorder_history: true.into(),
        ..woman()
    };
    let with_medicine = |list: &str| Answers {
        medication_list: list.to_owned().into(),
        ..woman()
    };
    let ill = |condition| Answers {
        medical_conditions: BTreeSet::from([condition]).into(),
        ..woman()
    };
    // A little below what the woman uses, little carbohydrate, much protein, cured cheese, wine, uneven vitamin K.
    let mut draft = Draft::of(&[food(1800, 150, 100, 90), food(1800, 150, 100, 90)]);
    draft.days[0][0][0].name_en = "Parmesan".to_owned();
    draft.days[0][0][0].nutrients.alcohol_mg = Some(1000);
    draft.days[1][0][0].nutrients.vitamin_k_ng = Some(900_000);
    let told = |answers: &Answers| serde_json::to_value(for_trainer(&draft.check(answers), v1())).expect("json");
    assert_eq!(told(&woman()), serde_json::json!([]));
    let nutritionist = serde_json::json!([{
        "constraint": "needs_nutritionist",
        "words": { "en": "needs the nutritionist", "es": "requiere al nutricionista" },
    }]);
    for answers in [
        pregnant,
        history,
        with_medicine("Nardil"),
        with_medicine("Lantus"),
        with_medicine("Jardiance"),
        with_medicine("Sintrom"),
        ill(Condition::Type1Diabetes),
        ill(Condition::KidneyDisease),
        Answers {
            is_breastfeeding: true.into(),
            ..woman()
        },
        Answers {
            other_allergies: vec![OtherAllergy {
                name: "lithium".to_owned(),
                severity: AllergySeverity::Mild,
            }]
            .into(),
            ..woman()
        },
    ] {
        assert_eq!(told(&answers), nutritionist, "{answers:?}");
    }
}

#[test]
fn a_trainer_reads_allergens_and_missing_energy_with_their_place() {
    let allergic = Answers {
        allergies: BTreeMap::from([
            (Allergen::Peanut, AllergySeverity::Severe),
            (Allergen::Milk, AllergySeverity::Mild),
        ])
        .into(),
        ..man()
    };
    let mut draft = Draft::of(&[kcal(2100), kcal(700)]);
    draft.days[0][0][0].then.insert(Allergen::Peanut, Presence::Contains);
    draft.days[0][0][0].then.remove(&Allergen::Milk);
    let told = for_trainer(&draft.check(&allergic), v1());
    let told: Vec<_> = told
        .iter()
        .map(|t| (t.words.en.as_str(), t.place.day, t.place.item))
        .collect();
    assert_eq!(
        told,
        [
            ("no peanuts", Some(1), Some(0)),
            ("check for milk", Some(1), Some(0)),
            ("more energy", None, None),
            ("more energy", Some(2), None),
        ]
    );
}

#[test]
fn words_are_filled_in() {
    let mut draft = Draft::of(&[kcal(700), kcal(3000)]);
    draft.days[0][0][0].name_en = "Soy sauce".to_owned();
    draft.days[0][0][0].nutrients.alcohol_mg = None;
    draft.days[1][1][0].nutrients = Nutrients::default();
    draft.days[0][0][0].then = all_absent().into_keys().map(|one| (one, Contains)).collect();
    let all: BTreeMap<_, _> = Allergen::ALL.iter().map(|one| (*one, AllergySeverity::Mild)).collect();
    let everything = Answers {
        medical_conditions: Condition::ALL.iter().copied().collect::<BTreeSet<_>>().into(),
        medication_list: "Nardil, Lantus, Jardiance, Sintrom".to_owned().into(),
        is_pregnant: true.into(),
        dialysis: true.into(),
        allergies: all.into(),
        other_allergies: vec![OtherAllergy {
            name: "rice".to_owned(),
            severity: AllergySeverity::Mild,
        }]
        .into(),
        ..woman()
    };
    for answers in [everything, Answers::all_refused(), Answers::default()] {
        for finding in draft.check(&answers) {
            for text in [&finding.words.en, &finding.words.es] {
                assert!(!text.contains(['{', '}']) && text.len() > 10, "{finding:?}");
            }
        }
    }
}

#[test]
fn a_finding_survives_json() {
    let findings = Draft::of(&[kcal(700)]).check(&Answers::default());
    let json = serde_json::to_value(&findings).expect("json");
    assert_eq!(
        (&json[0]["gate"], &json[0]["severity"]),
        (&"energy_minimum".into(), &"block".into())
    );
    assert_eq!(
        (&json[0]["day"], &json[0]["compared"]["unit"]),
        (&1.into(), &"mkcal".into())
    );
    assert_eq!(serde_json::from_value::<Findings>(json).expect("findings"), findings);
}

fn any_food() -> impl Strategy<Value = Food> {
    let amount = || proptest::option::weighted(0.8, 0_i64..900_000);
    let names = ["Rice", "Parmesan", "Beer", "Kiwi", "Chicken"];
    let presence = proptest::collection::btree_map(0_usize..14, 0_usize..4, 0..14);
    (
        (amount(), amount(), amount(), amount(), amount(), amount()),
        0..names.len(),
        presence.clone(),
        proptest::option::of(presence),
    )
        .prop_map(
            move |((energy, protein, carbohydrate, fat, alcohol, vitamin_k), name, then, now)| {
                let allergens = |of: BTreeMap<usize, usize>| -> Allergens {
                    of.into_iter()
                        .map(|(one, presence)| (Allergen::ALL[one], Presence::ALL[presence]))
                        .collect()
                };
                Food {
                    name_en: names[name].to_owned(),
                    name_es: String::new(),
                    nutrients: Nutrients {
                        energy_mkcal: energy,
                        protein_mg: protein,
                        carbohydrate_mg: carbohydrate,
                        fat_mg: fat,
                        alcohol_mg: alcohol,
                        vitamin_k_ng: vitamin_k,
                        ..Nutrients::default()
                    },
                    then: allergens(then),
                    now: now.map(allergens),
                }
            },
        )
}

fn any_draft() -> impl Strategy<Value = Draft> {
    let item = proptest::collection::vec(any_food(), 1..3);
    let day = proptest::collection::vec(item, 0..4);
    let time = || proptest::option::of(0_i32..1440);
    (
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(0_i64..4_000_000),
        proptest::collection::vec(day, 0..10),
        [time(), time()],
    )
        .prop_map(|(repeats, loses_fat, target, days, times)| Draft {
            repeats,
            loses_fat,
            target,
            days,
            times,
        })
}

fn any_person() -> impl Strategy<Value = Answers> {
    let yes = || {
        prop_oneof![
            Just(crate::screening::Answer::Omitted),
            Just(crate::screening::refused()),
            any::<bool>().prop_map(crate::screening::Answer::Given)
        ]
    };
    (
        (10_u32..90, 30_000_u32..150_000, 1400_u32..2000, 0_usize..3, 0_usize..5),
        (yes(), yes(), yes(), yes()),
        proptest::collection::btree_set((0..Condition::ALL.len()).prop_map(|at| Condition::ALL[at]), 0..3),
        prop_oneof!["Nardil", "Lantus", "Jardiance", "Sintrom", "paracetamol"],
        proptest::collection::btree_map(
            (0_usize..14).prop_map(|at| Allergen::ALL[at]),
            Just(AllergySeverity::Mild),
            0..4,
        ),
    )
        .prop_map(
            |(
                (age, weight, height, sex, activity),
                (pregnant, feeding, history, dialysis),
                conditions,
                list,
                allergies,
            )| Answers {
                age: age.into(),
                weight_g: weight.into(),
                height_mm: height.into(),
                sex: Sex::ALL[sex].into(),
                activity: Activity::ALL[activity].into(),
                is_pregnant: pregnant,
                is_breastfeeding: feeding,
                has_eating_disorder_history: history,
                dialysis,
                medical_conditions: conditions.into(),
                medication_list: list.into(),
                allergies: allergies.into(),
                ..Answers::default()
            },
        )
}

/// What a finding is about: its gate, place and allergen.
type About = (Gate, Place<u32, u32>, Option<Allergen>);

fn severities(findings: &Findings) -> BTreeMap<About, Severity> {
    findings
        .iter()
        .map(|f| ((f.gate, f.place, f.allergen), f.severity))
        .collect()
}

proptest! {
    #[test]
    fn the_worst_severity_is_that_of_the_findings(draft in any_draft(), answers in any_person()) {
        let (facts, person) = (draft.facts(), Person::of(&answers));
        let findings = check(&facts, &person, v1());
        prop_assert_eq!(worst_severity(&facts, &person, v1()), findings.iter().map(|f| f.severity).max());
        prop_assert!(findings.is_sorted_by_key(|f| std::cmp::Reverse(f.severity)));
    }

    #[test]
    fn order_of_days_and_items_does_not_matter(draft in any_draft(), answers in any_person()) {
        let mut plan = Plan {
            repeats: draft.repeats,
            loses_fat: draft.loses_fat,
            excludes_food_group: false,
            target_energy_mkcal: draft.target,
            days: (0..draft.days.len()).map(|at| draft.day(at)).collect(),
        };
        let person = Person::of(&answers);
        let before = check(&PlanFacts::of(&plan, v1()), &person, v1());
        plan.days.reverse();
        for day in &mut plan.days {
            day.meals.reverse();
            for meal in &mut day.meals {
                meal.items.reverse();
                for item in &mut meal.items {
                    item.choices.reverse();
                }
            }
        }
        prop_assert_eq!(before, check(&PlanFacts::of(&plan, v1()), &person, v1()));
    }

    #[test]
    fn replacing_a_day_is_the_same_as_working_out_the_whole_plan(mut draft in any_draft(), at in 0_usize..10, food in any_food(), answers in any_person()) {
        prop_assume!(!draft.days.is_empty());
        let at = at % draft.days.len();
        let mut facts = draft.facts();
        draft.days[at].push(vec![food]);
        facts.replace_day(&draft.day(at), v1());
        let person = Person::of(&answers);
        prop_assert_eq!(check(&facts, &person, v1()), draft.check(&answers));
    }

    #[test]
    fn one_more_alternative_never_makes_a_plan_fit_better(mut draft in any_draft(), day in 0_usize..10, item in 0_usize..4, food in any_food(), answers in any_person()) {
        prop_assume!(draft.days.iter().all(|day| !day.is_empty()) && !draft.days.is_empty());
        let day = day % draft.days.len();
        let item = item % draft.days[day].len();
        let before = draft.check(&answers);
        draft.days[day][item].push(food);
        let after = severities(&draft.check(&answers));
        for (what, severity) in severities(&before) {
            // A gate may give way to one that is stricter: the minimum for everyone to the person's own.
            let now = after.get(&what).copied().or_else(|| match what.0 {
                Gate::EnergyFloor => after.get(&(Gate::EnergyMinimum, what.1, None)).copied(),
                Gate::AllergenPossible => after.get(&(Gate::Allergen, what.1, what.2)).copied(),
                Gate::MacroRange => Some(Severity::Advise),
                _ => None,
            });
            prop_assert!(now >= Some(severity), "{:?} {:?} {:?}", what, severity, now);
        }
    }

    #[test]
    fn what_a_person_states_never_loosens_a_gate(draft in any_draft(), answers in any_person()) {
        let facts = draft.facts();
        let of = |answers: &Answers| worst_severity(&facts, &Person::of(answers), v1());
        let mut silent = answers.clone();
        (silent.is_pregnant, silent.is_breastfeeding) = (false.into(), false.into());
        silent.medical_conditions = BTreeSet::new().into();
        (silent.has_eating_disorder_history, silent.dialysis) = (false.into(), false.into());
        silent.medication_list = String::new().into();
        silent.allergies = BTreeMap::new().into();
        prop_assert!(of(&answers) >= of(&silent));
        let mut unsaid = silent.clone();
        (unsaid.is_pregnant, unsaid.medication_list, unsaid.medical_conditions) = (refused(), refused(), refused());
        prop_assert!(of(&unsaid) >= of(&silent));
    }

    #[test]
    fn a_trainer_never_reads_a_gate_an_amount_or_a_place_that_betrays(draft in any_draft(), answers in any_person()) {
        let findings = draft.check(&answers);
        let told = for_trainer(&findings, v1());
        for one in &told {
            if one.constraint == Constraint::NeedsNutritionist {
                prop_assert_eq!(one.place, Place::plan());
            }
            let json = serde_json::to_value(one).expect("json");
            let keys: BTreeSet<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
            let allowed = BTreeSet::from(["constraint", "allergen", "day", "meal", "item", "words"]);
            prop_assert!(keys.is_subset(&allowed), "{:?}", keys);
        }
        let distinct: Vec<_> = told.iter().map(|t| (t.constraint, t.allergen, t.place)).collect();
        prop_assert_eq!(distinct.iter().collect::<BTreeSet<_>>().len(), distinct.len());
    }

    #[test]
    fn nothing_panics(energy: i64, protein: i64, alcohol: i64, vitamin_k: i64, target: i64, times: [Option<i32>; 2], numbers: [u32; 3], answers in any_person()) {
        let mut food = food(0, 0, 0, 0);
        food.nutrients = Nutrients {
            energy_mkcal: Some(energy),
            protein_mg: Some(protein),
            carbohydrate_mg: Some(protein),
            fat_mg: Some(protein),
            alcohol_mg: Some(alcohol),
            vitamin_k_ng: Some(vitamin_k),
            known_permille: BTreeMap::from([(Nutrient::FatMg, 5)]),
            ..Nutrients::default()
        };
        let mut draft = Draft::of(&vec![food; 9]);
        (draft.target, draft.times, draft.repeats) = (Some(target), times, true);
        draft.check(&answers);
        let [age, weight_g, height_mm] = numbers;
        draft.check(&Answers { age: age.into(), weight_g: weight_g.into(), height_mm: height_mm.into(), ..answers });
    }
}
