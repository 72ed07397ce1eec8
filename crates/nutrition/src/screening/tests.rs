//! The golden cases of the product's first release, and what holds for any answers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::allergens::{Allergen, AllergySeverity};
use crate::body::Sex;
use crate::energy::Activity;
use crate::medicines::TEXT_CHARS;
use crate::urgent::Sign;

fn v1() -> &'static Rules {
    rules(1).expect("rules")
}

fn of(answers: &Answers) -> Evaluation {
    evaluate(answers, v1())
}

fn with(conditions: &[Condition]) -> Answers {
    Answers {
        medical_conditions: conditions.iter().copied().collect::<BTreeSet<_>>().into(),
        ..Answers::default()
    }
}

fn taking(list: &str) -> Answers {
    Answers {
        medication_list: list.to_owned().into(),
        ..Answers::default()
    }
}

/// A body of 175 cm.
fn body(age: u32, weight_g: u32) -> Answers {
    Answers {
        age: age.into(),
        weight_g: weight_g.into(),
        height_mm: 1750.into(),
        ..Answers::default()
    }
}

fn spanish(evaluation: &Evaluation) -> Vec<&str> {
    evaluation.warnings.iter().map(|words| words.es.as_str()).collect()
}

#[test]
fn every_version_can_be_read_and_no_other_exists() {
    for version in 1..=LATEST {
        assert_eq!(rules(version).expect("rules").version, version);
    }
    assert!(rules(0).is_none() && rules(LATEST + 1).is_none());
}

#[test]
fn the_first_releases_first_sample_is_critical() {
    let evaluation = of(&Answers {
        age: 16.into(),
        is_pregnant: true.into(),
        has_eating_disorder_history: true.into(),
        ..Answers::default()
    });
    assert_eq!((evaluation.risk_score, evaluation.risk_level), (16, Level::Critical));
    assert!(!evaluation.can_proceed && evaluation.requires_professional);
    assert!(evaluation.warnings.len() >= 3, "{:?}", evaluation.warnings);
}

#[test]
fn the_first_releases_second_sample_is_low() {
    let evaluation = of(&Answers {
        medical_conditions: BTreeSet::new().into(),
        ..body(30, 75_000)
    });
    assert_eq!((evaluation.risk_score, evaluation.risk_level), (0, Level::Low));
    assert!(evaluation.can_proceed && !evaluation.requires_professional);
    assert_eq!((evaluation.warnings.len(), evaluation.to_review.len()), (0, 0));
}

#[test]
fn the_golden_cases_have_their_scores_and_levels() {
    let age = |age: u32| Answers {
        age: age.into(),
        ..Answers::default()
    };
    let minor = Answers {
        age: 16.into(),
        ..with(&[Condition::Type1Diabetes])
    };
    for (answers, score, level) in [
        (age(66), 2, Level::Low),
        (age(65), 0, Level::Low),
        (age(18), 0, Level::Low),
        (age(17), 3, Level::Medium),
        (with(&[Condition::Type1Diabetes]), 5, Level::High),
        (with(&[Condition::KidneyDisease]), 5, Level::High),
        (with(&[Condition::EatingDisorder]), 5, Level::High),
        (minor, 8, Level::Critical),
    ] {
        let evaluation = of(&answers);
        assert_eq!(
            (evaluation.risk_score, evaluation.risk_level),
            (score, level),
            "{answers:?}"
        );
        assert_eq!(evaluation.can_proceed, matches!(level, Level::Low | Level::Medium));
        assert_eq!(evaluation.requires_professional, !evaluation.can_proceed);
    }
}

#[test]
fn the_first_releases_texts_stand_word_for_word() {
    let all = Answers {
        age: 16.into(),
        is_pregnant: true.into(),
        ..with(&[
            Condition::Type1Diabetes,
            Condition::KidneyDisease,
            Condition::EatingDisorder,
        ])
    };
    assert_eq!(
        spanish(&of(&all)),
        [
            "Menor de edad - requiere consentimiento",
            "Condición crítica: diabetes_tipo_1",
            "Condición crítica: enfermedad_renal",
            "Condición crítica: trastorno_alimenticio",
            "Embarazo - requiere supervisión médica",
        ]
    );
    assert_eq!(spanish(&of(&body(66, 75_000))), ["Mayor de 65 - precaución adicional"]);
}

#[test]
fn each_added_rule_has_its_points() {
    let yes = |set: fn(&mut Answers)| {
        let mut answers = Answers::default();
        set(&mut answers);
        answers
    };
    let cases = [
        (yes(|a| a.is_breastfeeding = true.into()), 3),
        (yes(|a| a.postpartum_weeks = 5.into()), 3),
        (yes(|a| a.postpartum_weeks = 6.into()), 0),
        (yes(|a| a.has_eating_disorder_history = true.into()), 5),
        (yes(|a| a.food_on_the_mind = true.into()), 0),
        (
            yes(|a| (a.food_on_the_mind, a.eats_in_secret) = (true.into(), true.into())),
            5,
        ),
        (yes(|a| a.chest_pain = true.into()), 5),
        (yes(|a| a.fainting = true.into()), 5),
        (with(&[Condition::HeartFailure]), 5),
        (with(&[Condition::RecentInfarctOrStroke]), 5),
        (with(&[Condition::UncontrolledHypertension]), 3),
        (with(&[Condition::Cirrhosis]), 5),
        (with(&[Condition::CancerTreatment]), 5),
        (with(&[Condition::BariatricSurgery]), 5),
        (with(&[Condition::ActiveBowelDisease]), 5),
        (with(&[Condition::Gout]), 1),
        (with(&[Condition::Gallstones]), 1),
        (with(&[Condition::Osteoporosis]), 1),
        (with(&[Condition::Type2Diabetes]), 0),
        (taking("Lantus"), 5),
        (taking("gliclazida"), 5),
        (taking("metformina"), 2),
        (taking("metformina, Ozempic"), 2),
        (taking("Jardiance"), 3),
        (taking("Nardil"), 3),
        (taking("litio"), 3),
        (taking("Sintrom"), 3),
        (taking("Jardiance, Nardil, litio, Sintrom"), 12),
        (taking("Eutirox"), 1),
        (taking("Eutirox, enalapril, simvastatina"), 2),
        (taking("paracetamol"), 0),
    ];
    for (answers, score) in cases {
        assert_eq!(of(&answers).risk_score, score, "{answers:?}");
    }
}

#[test]
fn body_measures_count_at_their_limits() {
    // 18.5 kg/m² at 175 cm are 56,656.25 g; 16 are 49,000 g; 40 are 122,500 g.
    for (answers, score) in [
        (body(30, 56_657), 0),
        (body(30, 56_656), 5),
        (body(30, 49_000), 5),
        (body(30, 48_999), 8),
        (body(30, 122_499), 0),
        (body(30, 122_500), 1),
        // Without an age, the rules for adults.
        (body(30, 56_656).without("age"), 5),
        // A boy of 16: 16.5 kg/m² at -2 SD in his first month, 15.1 at -3 SD.
        (boy(192, 50_600), 3),
        (boy(192, 50_500), 8),
        (boy(192, 46_200), 11),
    ] {
        assert_eq!(of(&answers).risk_score, score, "{answers:?}");
    }
}

fn boy(age_months: u32, weight_g: u32) -> Answers {
    Answers {
        sex: Sex::Male.into(),
        age_months: age_months.into(),
        ..body(16, weight_g)
    }
}

#[test]
fn an_unintended_loss_counts_as_a_share_of_the_weight_before() {
    let lost = |grams: u32| Answers {
        unintended_loss_g: grams.into(),
        ..body(30, 90_000)
    };
    // 10 kg of 100 are 10 %; 15.883 kg of 105.883 are 15.0005 %.
    for (grams, score) in [(10_000, 0), (10_001, 5), (15_882, 5), (15_883, 8)] {
        assert_eq!(of(&lost(grams)).risk_score, score, "{grams}");
    }
    assert_eq!(of(&lost(20_000).without("weight_g")).risk_score, 0);
}

#[test]
fn one_cause_counts_once() {
    let history = |answers: Answers| Answers {
        has_eating_disorder_history: true.into(),
        ..answers
    };
    let items = |answers: Answers| Answers {
        food_on_the_mind: true.into(),
        eats_in_secret: true.into(),
        ..answers
    };
    let diabetes = |list: &str| Answers {
        medication_list: list.to_owned().into(),
        ..with(&[Condition::Type1Diabetes])
    };
    for (answers, score) in [
        (history(with(&[Condition::EatingDisorder])), 5),
        (items(with(&[Condition::EatingDisorder])), 5),
        (items(history(Answers::default())), 5),
        (items(history(with(&[Condition::EatingDisorder]))), 5),
        (diabetes("Lantus"), 5),
        (taking("Lantus, gliclazida"), 5),
        (diabetes("gliclazida"), 10),
        (diabetes("gliclazida, Lantus"), 10),
        (with(&[Condition::HeartFailure, Condition::RecentInfarctOrStroke]), 5),
        (with(&[Condition::Gout, Condition::Gallstones]), 2),
        (taking("Lantus, Novorapid, insulina"), 5),
    ] {
        assert_eq!(of(&answers).risk_score, score, "{answers:?}");
    }
    let evaluation = of(&diabetes("Lantus"));
    let insulin = evaluation
        .rules
        .iter()
        .find(|spoken| spoken.rule == "insulin")
        .expect("it spoke");
    assert_eq!(
        (insulin.points, insulin.counted_with.as_deref()),
        (0, Some("type_1_diabetes"))
    );
    assert_eq!(evaluation.causes(), BTreeSet::from(["type_1_diabetes"]));
    assert_eq!(evaluation.warnings.len(), 1);
}

#[test]
fn an_unrecognised_medicine_is_a_point_and_a_note_and_never_blocks() {
    let evaluation = of(&taking("xyzzyx"));
    assert_eq!((evaluation.risk_score, evaluation.can_proceed), (1, true));
    assert_eq!(evaluation.unrecognised_medicines[0].wrote, "xyzzyx");
    assert_eq!(evaluation.warnings.len(), 1);
    let close = |list: &str| Answers {
        is_breastfeeding: true.into(),
        medication_list: list.to_owned().into(),
        ..Answers::default()
    };
    for (answers, score) in [
        (close("xyzzyx"), 4),
        (close("xyzzyx, plugh"), 4),
        (close("Eutirox, xyzzyx"), 4),
        (close("Eutirox, enalapril"), 5),
        (close("Lantus, xyzzyx"), 9),
    ] {
        let evaluation = of(&answers);
        assert_eq!(evaluation.risk_score, score, "{answers:?}");
    }
    let unnamed = Answers {
        takes_medications: true.into(),
        ..Answers::default()
    };
    assert_eq!(of(&unnamed).risk_score, 1);
}

#[test]
fn who_prefers_not_to_say_waits_for_staff_and_who_leaves_out_does_not() {
    for question in Answers::QUESTIONS {
        let all = Answers::all_refused();
        let others: Vec<_> = Answers::QUESTIONS.iter().filter(|other| *other != question).collect();
        let one = others.into_iter().fold(all, |answers, other| answers.without(other));
        let evaluation = of(&one);
        assert_eq!(
            (evaluation.risk_level, evaluation.can_proceed),
            (Level::Low, false),
            "{question}"
        );
        assert_eq!(evaluation.to_review, [*question]);
        assert!(of(&one.without(question)).can_proceed);
    }
}

#[test]
fn signs_that_do_not_wait_are_urgent() {
    let evaluation = of(&Answers {
        chest_pain: true.into(),
        self_harm_thoughts: true.into(),
        ..Answers::default()
    });
    assert_eq!(evaluation.urgent, [Sign::ChestPain, Sign::SelfHarm]);
}

#[test]
fn a_screening_ends_after_24_hours_and_a_drop_is_held_for_30_days() {
    let at = |text: &str| text.parse().expect("an instant");
    assert_eq!(expires_at(at("2026-11-29T15:00:00Z")), at("2026-11-30T15:00:00Z"));
    let now = at("2026-11-30T12:00:00Z");
    for (made, was, level, held) in [
        ("2026-10-31T12:00:00Z", Level::High, Level::Medium, true),
        ("2026-10-31T11:59:59Z", Level::High, Level::Medium, false),
        ("2026-11-29T12:00:00Z", Level::Critical, Level::Low, true),
        ("2026-11-29T12:00:00Z", Level::Critical, Level::High, false),
        ("2026-11-29T12:00:00Z", Level::Medium, Level::Low, false),
        ("2026-12-01T12:00:00Z", Level::High, Level::Low, false),
    ] {
        assert_eq!(
            drop_is_held([(at(made), was)], level, now),
            held,
            "{made} {was:?} {level:?}"
        );
    }
}

#[test]
fn an_evaluation_survives_json_and_names_levels_as_the_first_release_did() {
    let evaluation = of(&Answers {
        medication_list: "Lantus, xyzzyx".to_owned().into(),
        ..with(&[Condition::Type1Diabetes])
    });
    let json = serde_json::to_value(&evaluation).expect("json");
    assert_eq!((&json["risk_level"], &json["risk_score"]), (&"HIGH".into(), &6.into()));
    assert_eq!(
        serde_json::from_value::<Evaluation>(json).expect("an evaluation"),
        evaluation
    );
}

#[test]
fn texts_refer_and_promise_nothing() {
    let files = [
        include_str!("rules-v1.ini"),
        include_str!("../gates/gates-v1.ini"),
        include_str!("../medicines/medicines-v1.ini"),
        include_str!("../urgent-v1.ini"),
    ];
    for file in files {
        let said: Vec<_> = file.lines().filter(|line| !line.starts_with('#')).collect();
        let text = crate::text::plain(&said.join("\n"));
        for word in [
            "safe",
            "safely",
            "safety",
            "seguro",
            "segura",
            "seguros",
            "seguras",
            "diagnosis",
            "diagnostico",
        ] {
            assert!(!crate::text::has_words(&text, word), "{word}");
        }
    }
    for rule in &v1().rules {
        assert!(
            !rule.reason.en.is_empty() && !rule.reason.es.is_empty() && !rule.source.is_empty(),
            "{}",
            rule.id
        );
        assert_eq!(rule.version, 1);
    }
}

fn answer<T: Clone + std::fmt::Debug + 'static>(value: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Answer<T>> {
    prop_oneof![
        3 => value.prop_map(Answer::Given),
        1 => Just(Answer::Omitted),
        1 => Just(refused()),
    ]
    .boxed()
}

fn one_of<T: Copy + std::fmt::Debug>(all: &'static [T]) -> impl Strategy<Value = T> + 'static {
    (0..all.len()).prop_map(|at| all[at])
}

fn medicines() -> impl Strategy<Value = String> + 'static {
    let names = &[
        "Lantus",
        "gliclazida",
        "metformina",
        "Xigduo",
        "Nardil",
        "litio",
        "Sintrom",
        "Eutirox",
        "enalapril",
        "xyzzyx",
        "plugh",
        "paracetamol",
    ];
    proptest::collection::vec(one_of(names), 0..6).prop_map(|names| names.join(", "))
}

fn any_answers() -> impl Strategy<Value = Answers> {
    let yes = || answer(any::<bool>());
    let body = (
        answer(0_u32..130),
        answer(0_u32..1500),
        answer(0_u32..600_000),
        answer(0_u32..3000),
        answer(one_of(Sex::ALL)),
        answer(one_of(Activity::ALL)),
        answer(proptest::collection::btree_set(one_of(Condition::ALL), 0..5)),
        answer(medicines()),
        answer(0_u32..200_000),
        answer(0_u32..60),
    );
    let yes_or_no = (
        [yes(), yes(), yes(), yes(), yes(), yes(), yes()],
        [yes(), yes(), yes(), yes(), yes()],
        answer(0_u32..5),
    );
    (body, yes_or_no).prop_map(|(body, (said, eating, trimester))| {
        let (age, age_months, weight_g, height_mm, sex, activity, medical_conditions, medication_list, loss, weeks) =
            body;
        let [
            is_pregnant,
            is_breastfeeding,
            takes_medications,
            has_eating_disorder_history,
            chest_pain,
            fainting,
            dialysis,
        ] = said;
        let [
            eating_out_of_control,
            food_on_the_mind,
            makes_up_for_eating,
            feels_too_heavy,
            eats_in_secret,
        ] = eating;
        Answers {
            age,
            age_months,
            weight_g,
            height_mm,
            sex,
            activity,
            medical_conditions,
            medication_list,
            unintended_loss_g: loss,
            postpartum_weeks: weeks,
            trimester,
            is_pregnant,
            is_breastfeeding,
            takes_medications,
            has_eating_disorder_history,
            chest_pain,
            fainting,
            dialysis,
            eating_out_of_control,
            food_on_the_mind,
            makes_up_for_eating,
            feels_too_heavy,
            eats_in_secret,
            ..Answers::default()
        }
    })
}

/// The product's first release, as it was written, with its contradiction mended: the history counts once with the
/// condition.
fn first_release(answers: &Answers) -> (u32, usize) {
    let mut score = 0;
    let mut warnings = 0;
    let mut add = |points: u32| {
        score += points;
        warnings += 1;
    };
    match answers.age.number() {
        Some(..18) => add(3),
        Some(66..) => add(2),
        _ => {}
    }
    let ticked = |one: Condition| answers.medical_conditions.given().is_some_and(|all| all.contains(&one));
    if ticked(Condition::Type1Diabetes) {
        add(5);
    }
    if ticked(Condition::KidneyDisease) {
        add(5);
    }
    if ticked(Condition::EatingDisorder) || answers.has_eating_disorder_history.is_yes() {
        add(5);
    }
    if answers.is_pregnant.is_yes() {
        add(8);
    }
    (score, warnings)
}

/// The answers with one question answered as harmlessly as it can be.
fn harmless(answers: &Answers, question: &str) -> Option<Answers> {
    let mut answers = answers.clone();
    match question {
        "age" => answers.age = 30.into(),
        "weight_g" => answers.weight_g = 75_000.into(),
        "height_mm" => answers.height_mm = 1750.into(),
        "medical_conditions" => answers.medical_conditions = BTreeSet::new().into(),
        "medication_list" => answers.medication_list = String::new().into(),
        "postpartum_weeks" => answers.postpartum_weeks = 50.into(),
        "unintended_loss_g" => answers.unintended_loss_g = 0.into(),
        "is_pregnant" => answers.is_pregnant = false.into(),
        "is_breastfeeding" => answers.is_breastfeeding = false.into(),
        "takes_medications" => answers.takes_medications = false.into(),
        "has_eating_disorder_history" => answers.has_eating_disorder_history = false.into(),
        "food_on_the_mind" => answers.food_on_the_mind = false.into(),
        "eats_in_secret" => answers.eats_in_secret = false.into(),
        "chest_pain" => answers.chest_pain = false.into(),
        "fainting" => answers.fainting = false.into(),
        _ => return None,
    }
    Some(answers)
}

proptest! {
    #[test]
    fn added_rules_only_raise(answers in any_answers()) {
        let (score, warnings) = first_release(&answers);
        let evaluation = of(&answers);
        let level = Level::of(score, v1().levels);
        prop_assert!(evaluation.risk_score >= score, "{} < {}", evaluation.risk_score, score);
        prop_assert!(evaluation.risk_level >= level);
        prop_assert!(evaluation.warnings.len() >= warnings);
        prop_assert!(!evaluation.can_proceed || level.can_proceed());
    }

    #[test]
    fn each_rule_only_raises(answers in any_answers(), at in 0_usize..100) {
        let mut fewer = v1().clone();
        let removed = fewer.rules.remove(at % fewer.rules.len());
        let before = evaluate(&answers, &fewer);
        prop_assert!(of(&answers).risk_score >= before.risk_score, "{}", removed.id);
        prop_assert!(of(&answers).risk_level >= before.risk_level, "{}", removed.id);
    }

    #[test]
    fn a_missing_answer_never_lowers(answers in any_answers()) {
        for question in Answers::QUESTIONS {
            let missing = of(&answers.without(question));
            if let Some(harmless) = harmless(&answers, question) {
                let (harmless, name) = (of(&harmless), question);
                // A plausible body that is known can only clear up what a part of it left open.
                let counts = !["age", "weight_g", "height_mm"].contains(name);
                prop_assert!(!counts || missing.risk_score >= harmless.risk_score, "{}", name);
            }
            prop_assert!(missing.to_review.len() <= of(&answers).to_review.len());
        }
        let nothing = of(&Answers::default());
        prop_assert_eq!((nothing.risk_score, nothing.risk_level), (0, Level::Low));
    }

    #[test]
    fn more_yeses_never_lower(answers in any_answers(), at in 0_usize..14, list in medicines()) {
        let mut more = answers.clone();
        let mut conditions = more.medical_conditions.given().cloned().unwrap_or_default();
        conditions.insert(Condition::ALL[at]);
        more.medical_conditions = conditions.into();
        prop_assert!(of(&more).risk_score >= of(&answers).risk_score);
        if let Some(taken) = answers.medication_list.given() {
            more.medication_list = format!("{taken}, {list}").into();
            prop_assert!(of(&more).risk_score >= of(&answers).risk_score, "{} + {}", taken, list);
        }
        for set in [
            (|a| a.is_pregnant = true.into()) as fn(&mut Answers),
            |a| a.is_breastfeeding = true.into(),
            |a| a.has_eating_disorder_history = true.into(),
            |a| a.food_on_the_mind = true.into(),
            |a| a.chest_pain = true.into(),
            |a| a.fainting = true.into(),
        ] {
            let mut more = answers.clone();
            set(&mut more);
            prop_assert!(of(&more).risk_score >= of(&answers).risk_score);
        }
    }

    #[test]
    fn order_does_not_matter(answers in any_answers(), seed in 0_usize..1000) {
        let mut turned = v1().clone();
        let by = seed % turned.rules.len();
        turned.rules.rotate_left(by);
        if seed % 2 == 0 {
            turned.rules.reverse();
        }
        let mut reversed = answers.clone();
        if let Some(list) = answers.medication_list.given() {
            reversed.medication_list = list.split(", ").collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(", ").into();
        }
        let (one, other) = (of(&answers), evaluate(&reversed, &turned));
        prop_assert_eq!(
            (one.risk_score, one.risk_level, one.can_proceed, one.causes()),
            (other.risk_score, other.risk_level, other.can_proceed, other.causes())
        );
        let sorted = |evaluation: &Evaluation| {
            let mut warnings = evaluation.warnings.clone();
            warnings.sort();
            warnings
        };
        prop_assert_eq!(sorted(&one), sorted(&other));
    }

    #[test]
    fn points_add_up_and_one_cause_counts_once(answers in any_answers()) {
        let evaluation = of(&answers);
        let points: u32 = evaluation.rules.iter().map(|spoken| spoken.points).sum();
        prop_assert!(evaluation.risk_score <= points);
        prop_assert!(evaluation.risk_score == points || evaluation.risk_score == v1().levels.high - 1);
        let counted: BTreeMap<_, _> = evaluation.rules.iter().map(|spoken| (spoken.rule.as_str(), spoken.points)).collect();
        for rule in &v1().rules {
            if counted.contains_key(rule.id.as_str()) && rule.once_with.iter().any(|id| counted.contains_key(id.as_str())) {
                prop_assert_eq!(counted[rule.id.as_str()], 0);
            }
        }
    }

    #[test]
    fn unrecognised_names_never_take_the_permission(
        ticked in proptest::sample::subsequence(vec![Condition::Gout, Condition::Gallstones, Condition::Osteoporosis], 0..=3),
        breastfeeding: bool,
        age in prop_oneof![Just(17_u32), Just(30), Just(66)],
        names in "[b-d]{12,20}(, [b-d]{12,20}){0,3}",
    ) {
        let known = Answers {
            age: age.into(),
            is_breastfeeding: breastfeeding.into(),
            medication_list: "Eutirox".to_owned().into(),
            ..with(&ticked)
        };
        let mut more = known.clone();
        more.medication_list = format!("Eutirox, {names}").into();
        prop_assert_eq!(of(&known).can_proceed, of(&more).can_proceed);
        prop_assert!(of(&known).risk_score <= of(&more).risk_score);
    }

    #[test]
    fn nothing_panics(
        numbers in proptest::array::uniform7(any::<u32>()),
        list in "\\PC{0,60}",
        allergen in 0_usize..14,
        version in any::<u32>(),
    ) {
        let [age, age_months, weight_g, height_mm, weeks, loss, trimester] = numbers;
        let answers = Answers {
            age: age.into(),
            age_months: age_months.into(),
            weight_g: weight_g.into(),
            height_mm: height_mm.into(),
            postpartum_weeks: weeks.into(),
            unintended_loss_g: loss.into(),
            trimester: trimester.into(),
            medication_list: list.into(),
            allergies: BTreeMap::from([(Allergen::ALL[allergen], AllergySeverity::Mild)]).into(),
            ..Answers::default()
        };
        let _ = of(&answers);
        let _ = answers.violations();
        let _ = rules(version);
    }
}

#[test]
fn a_long_list_of_medicines_is_bounded() {
    let list = "xyzzyx, ".repeat(TEXT_CHARS);
    assert_eq!(of(&taking(&list)).risk_score, 2);
}
