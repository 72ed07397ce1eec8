//! The person as gates read them.

use std::collections::BTreeSet;

use crate::allergens::Allergen;
use crate::body::{ADULT_YEARS, Below, Sex, bmi_milli, minor_bmi_milli};
use crate::energy::{Activity, Estimate, added_mkcal, expenditure, resting_rate};
use crate::medicines::{self, Class};
use crate::screening::{Answer, Answers, Condition};

/// Whether something holds for a person. What a person prefers not to say is not known; what they left out does not
/// hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// It does not.
    #[default]
    No,
    /// It is not known.
    Unknown,
    /// It does.
    Yes,
}

impl Fact {
    fn of<T>(answer: &Answer<T>, holds: impl Fn(&T) -> bool) -> Self {
        match answer {
            Answer::Given(value) if holds(value) => Self::Yes,
            Answer::Given(_) | Answer::Omitted => Self::No,
            Answer::Refused(_) => Self::Unknown,
        }
    }

    const fn known(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// The energy that a person uses, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// At rest, in thousandths of a kilocalorie.
    pub resting_mkcal: Option<i64>,
    /// In all. Without a stated activity, the least that it can be.
    pub total_mkcal: Option<i64>,
    /// Whether `total_mkcal` is the estimate and not only the least.
    pub complete: bool,
}

/// What gates need to know of a person, worked out once for all plans. It holds diagnoses: keep it in memory only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub(super) sex: Sex,
    pub(super) weight_g: Option<u32>,
    pub(super) needs: Needs,
    pub(super) minor: Fact,
    pub(super) pregnant: Fact,
    pub(super) breastfeeding: Fact,
    pub(super) eating_disorder: Fact,
    pub(super) low_weight: Fact,
    pub(super) kidney_disease: Fact,
    pub(super) dialysis: Fact,
    pub(super) type_1_diabetes: Fact,
    classes: BTreeSet<Class>,
    medicines_unknown: bool,
    pub(super) allergies: Vec<Allergen>,
    /// Allergies beside the 14, as the person wrote them.
    pub(super) other_allergies: Vec<String>,
    pub(super) allergies_unknown: bool,
    pub(super) protein_limit_mg_per_kg: Option<i64>,
}

impl Person {
    /// What answers, or the facts that outlive them, say of a person.
    #[must_use]
    pub fn of(answers: &Answers) -> Self {
        let condition = |one| {
            Fact::of(&answers.medical_conditions, |all: &BTreeSet<Condition>| {
                all.contains(&one)
            })
        };
        let yes = |answer| Fact::of(answer, |yes: &bool| *yes);
        let minor = Fact::of(&answers.age, |age| *age < ADULT_YEARS);
        let reading = answers.medication_list.given().map(|list| medicines::read(list));
        let eating = if answers.eating_answers() >= 2 {
            Fact::Unknown
        } else {
            Fact::No
        };
        let dialysis = yes(&answers.dialysis);
        let other_allergies = answers.other_allergies.given().into_iter().flatten();
        Self {
            sex: sex(answers),
            weight_g: answers.weight_g.number(),
            needs: needs(answers),
            minor,
            pregnant: yes(&answers.is_pregnant),
            breastfeeding: yes(&answers.is_breastfeeding),
            eating_disorder: condition(Condition::EatingDisorder)
                .max(yes(&answers.has_eating_disorder_history))
                .max(eating),
            low_weight: low_weight(answers),
            kidney_disease: condition(Condition::KidneyDisease).max(dialysis),
            dialysis,
            type_1_diabetes: condition(Condition::Type1Diabetes),
            classes: reading.map(|reading| reading.classes()).unwrap_or_default(),
            medicines_unknown: answers.medication_list.is_refused() || answers.takes_medications.is_refused(),
            allergies: answers
                .allergies
                .given()
                .into_iter()
                .flatten()
                .map(|(allergen, _)| *allergen)
                .collect(),
            other_allergies: other_allergies.map(|other| other.name.clone()).collect(),
            allergies_unknown: answers.allergies.is_refused() || answers.other_allergies.is_refused(),
            protein_limit_mg_per_kg: None,
        }
    }

    /// A person of whom nothing may be used, such as one who has withdrawn their consent to be screened.
    #[must_use]
    pub fn unknown() -> Self {
        Self::of(&Answers::all_refused())
    }

    /// The same person with the limit of protein that a clearance writes down. It replaces that of kidney disease.
    #[must_use]
    pub fn with_protein_limit(mut self, mg_per_kg: i64) -> Self {
        self.protein_limit_mg_per_kg = Some(mg_per_kg.max(0));
        self
    }

    /// The energy that the person uses.
    #[must_use]
    pub const fn needs(&self) -> Needs {
        self.needs
    }

    /// Whether the person takes a medicine of this class.
    pub(super) fn takes(&self, class: Class) -> Fact {
        match (self.classes.contains(&class), self.medicines_unknown) {
            (true, _) => Fact::Yes,
            (false, true) => Fact::Unknown,
            (false, false) => Fact::No,
        }
    }

    /// Whether no deficit is allowed, whatever a clearance says; minors are a gate of their own.
    pub(super) fn no_deficit(&self) -> Fact {
        self.pregnant
            .max(self.breastfeeding)
            .max(self.eating_disorder)
            .max(self.low_weight)
    }

    /// Whether the person needs carbohydrate through the day.
    pub(super) fn needs_carbohydrate(&self) -> Fact {
        let medicine = self.takes(Class::Insulin).max(self.takes(Class::Sglt2Inhibitor));
        medicine.max(self.type_1_diabetes).max(self.pregnant).max(self.minor)
    }

    /// Whether the person should have no alcohol.
    pub(super) fn no_alcohol(&self) -> Fact {
        self.minor.max(self.pregnant).max(self.breastfeeding)
    }
}

fn sex(answers: &Answers) -> Sex {
    answers.sex.given().copied().unwrap_or(Sex::Undisclosed)
}

fn needs(answers: &Answers) -> Needs {
    let body = answers
        .age
        .number()
        .zip(answers.weight_g.number())
        .zip(answers.height_mm.number());
    let resting = body.and_then(|((age, weight), height)| resting_rate(age, sex(answers), weight, height));
    let activity = answers.activity.given().copied();
    let added = added_mkcal(
        answers.is_pregnant.is_yes(),
        answers.trimester.number(),
        answers.is_breastfeeding.is_yes(),
    );
    let total = |resting: Estimate| expenditure(resting, activity.unwrap_or(Activity::Sedentary), added).mkcal;
    Needs {
        resting_mkcal: resting.map(|resting| resting.mkcal),
        total_mkcal: resting.map(total),
        complete: resting.is_some() && activity.is_some(),
    }
}

/// Adults below 18.5 kg/m², minors below two standard deviations.
fn low_weight(answers: &Answers) -> Fact {
    if answers.weight_g.is_refused() || answers.height_mm.is_refused() {
        return Fact::Unknown;
    }
    let body = answers.weight_g.number().zip(answers.height_mm.number());
    let Some(bmi) = body.and_then(|(weight, height)| bmi_milli(weight, height)) else {
        return Fact::No;
    };
    let limit = match answers.age.number() {
        Some(years) if years < ADULT_YEARS => {
            minor_bmi_milli(Below::Two, years, answers.age_months.number(), sex(answers))
        }
        _ => Some(LOW_BMI_MILLI),
    };
    Fact::known(limit.is_some_and(|limit| bmi < limit))
}

/// Thousandths of kg/m² (WHO Technical Report Series 894).
const LOW_BMI_MILLI: u32 = 18_500;
