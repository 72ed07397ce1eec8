//! What a person answers to the questionnaire.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use crate::Words;
use crate::allergens::{Allergen, AllergySeverity};
use crate::body::{AGES, HEIGHTS_MM, Sex, WEIGHTS_G};
use crate::energy::Activity;
use crate::medicines::TEXT_CHARS;
use crate::names::names;
use crate::plausibility::Violation;

/// Allergies beside the 14 that a person may name.
pub const OTHER_ALLERGIES: usize = 20;
/// Characters of such a name.
pub const OTHER_ALLERGY_CHARS: usize = 60;
/// Weeks after giving birth that may be given; more are of no importance.
pub const POSTPARTUM_WEEKS: u32 = 520;

names! {
    /// A condition that the questionnaire asks for, by the name that the product's first release stored.
    Condition {
        Type1Diabetes "diabetes_tipo_1" "Type 1 diabetes.";
        Type2Diabetes "diabetes_tipo_2" "Type 2 diabetes.";
        KidneyDisease "enfermedad_renal" "Kidney disease.";
        EatingDisorder "trastorno_alimenticio" "An eating disorder.";
        HeartFailure "insuficiencia_cardiaca" "Heart failure.";
        RecentInfarctOrStroke "infarto_o_ictus_reciente" "A heart attack or stroke in the last six months.";
        UncontrolledHypertension "hipertension_no_controlada" "High blood pressure that is not under control.";
        Cirrhosis "cirrosis" "Cirrhosis of the liver.";
        CancerTreatment "tratamiento_oncologico" "Treatment of cancer at present.";
        BariatricSurgery "cirugia_bariatrica" "Surgery of stomach or bowel to lose weight.";
        ActiveBowelDisease "enfermedad_inflamatoria_intestinal_activa" "Crohn's disease or ulcerative colitis in a flare.";
        Gout "gota" "Gout.";
        Gallstones "calculos_biliares" "Gallstones.";
        Osteoporosis "osteoporosis" "Osteoporosis.";
    }
}

names! {
    /// What a person eats on principle.
    Diet {
        Omnivore "omnivore" "Everything.";
        Pescatarian "pescatarian" "Fish, no meat.";
        Vegetarian "vegetarian" "No meat, no fish.";
        Vegan "vegan" "Nothing of animals.";
        Halal "halal" "Halal.";
        Kosher "kosher" "Kosher.";
        Other "other" "Another way.";
    }
}

/// An allergy to something that is not among the 14 allergens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OtherAllergy {
    /// The food, in the person's words.
    pub name: String,
    /// How strongly the person reacts.
    pub severity: AllergySeverity,
}

/// Declares the questions once: the struct, and which of them were refused.
macro_rules! questions {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty,)+) => {
        /// The answers. A person's account facts that outlive a questionnaire have the same form.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(deny_unknown_fields, default)]
        pub struct Answers {
            $(
                $(#[doc = $doc])+
                #[serde(skip_serializing_if = "Answer::is_omitted")]
                #[cfg_attr(feature = "schema", schema(required = false))]
                pub $field: Answer<$type>,
            )+
        }

        impl Answers {
            /// The names of all questions.
            pub const QUESTIONS: &'static [&'static str] = &[$(stringify!($field),)+];

            /// The questions that the person prefers not to answer.
            #[must_use]
            pub fn refused(&self) -> Vec<&'static str> {
                let mut refused = Vec::new();
                $(if self.$field.is_refused() { refused.push(stringify!($field)); })+
                refused
            }

            /// These answers without one of them; unchanged if no question has this name.
            #[must_use]
            pub fn without(&self, question: &str) -> Self {
                let mut less = self.clone();
                match question {
                    $(stringify!($field) => less.$field = Answer::Omitted,)+
                    _ => {}
                }
                less
            }

            /// Answers of a person who prefers to say nothing, as of one who has withdrawn their consent.
            #[must_use]
            pub fn all_refused() -> Self {
                Self { $($field: super::answer::refused(),)+ }
            }
        }
    };
}

questions! {
    /// Age in completed years.
    age: u32,
    /// Age in completed months, where a birth date is known. It refines the reference for minors.
    age_months: u32,
    /// Body weight in grams.
    weight_g: u32,
    /// Height in millimetres.
    height_mm: u32,
    /// Sex. `undisclosed` is an answer; formulas have a value for it.
    sex: Sex,
    /// How much the person moves.
    activity: Activity,
    /// What the person eats on principle.
    diet: Diet,
    /// Whether the person fasts for 14 hours or more on some days.
    fasts: bool,
    /// Conditions.
    medical_conditions: BTreeSet<Condition>,
    /// Whether the person is on dialysis.
    dialysis: bool,
    /// Whether the person is pregnant.
    is_pregnant: bool,
    /// The trimester, 1 to 3.
    trimester: u32,
    /// Whether the person breastfeeds.
    is_breastfeeding: bool,
    /// Weeks since giving birth.
    postpartum_weeks: u32,
    /// Whether the person takes medicines, or took a monoamine oxidase inhibitor in the last two weeks.
    takes_medications: bool,
    /// The medicines, as the person writes them.
    medication_list: String,
    /// Whether the person has, or has had, an eating disorder.
    has_eating_disorder_history: bool,
    /// Whether the person sometimes cannot stop eating once they have begun.
    eating_out_of_control: bool,
    /// Whether thoughts of food take up much of the day.
    food_on_the_mind: bool,
    /// Whether the person makes up for eating, by vomiting, laxatives, fasting or training more.
    makes_up_for_eating: bool,
    /// Whether the person feels too heavy although others say they are thin.
    feels_too_heavy: bool,
    /// Whether the person hides from others what they eat.
    eats_in_secret: bool,
    /// Grams of body weight lost in the last six months without meaning to.
    unintended_loss_g: u32,
    /// Pain or pressure in the chest, at present or in training.
    chest_pain: bool,
    /// Fainting, or nearly, in the last months.
    fainting: bool,
    /// Thoughts of self-harm.
    self_harm_thoughts: bool,
    /// Allergies and intolerances among the 14 allergens.
    allergies: BTreeMap<Allergen, AllergySeverity>,
    /// Other allergies.
    other_allergies: Vec<OtherAllergy>,
}

impl Answers {
    /// The number of eating-disorder screening questions that were answered with yes.
    #[must_use]
    pub fn eating_answers(&self) -> u32 {
        [
            &self.eating_out_of_control,
            &self.food_on_the_mind,
            &self.makes_up_for_eating,
            &self.feels_too_heavy,
            &self.eats_in_secret,
        ]
        .into_iter()
        .map(|answer| u32::from(answer.is_yes()))
        .sum()
    }

    /// Every answer that is out of bounds. Evaluation accepts any answers and leaves out what it cannot use; whoever
    /// takes answers from outside refuses them if this list is not empty.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut wrong = Vec::new();
        let mut bound = |field: &str, fits: bool, en: String, es: String| {
            if !fits {
                wrong.push(Violation {
                    field: field.to_owned(),
                    reason: Words { en, es },
                });
            }
        };
        let numbers = [
            ("age", self.age.number(), AGES),
            ("weight_g", self.weight_g.number(), WEIGHTS_G),
            ("height_mm", self.height_mm.number(), HEIGHTS_MM),
            ("trimester", self.trimester.number(), 1..=3),
            ("postpartum_weeks", self.postpartum_weeks.number(), 0..=POSTPARTUM_WEEKS),
            (
                "unintended_loss_g",
                self.unintended_loss_g.number(),
                0..=*WEIGHTS_G.end(),
            ),
        ];
        for (field, number, range) in numbers {
            let (from, to) = (range.start(), range.end());
            bound(
                field,
                number.is_none_or(|number| range.contains(&number)),
                format!("{from} to {to}"),
                format!("de {from} a {to}"),
            );
        }
        let months = self.age_months.number().zip(self.age.number());
        bound(
            "age_months",
            months.is_none_or(|(months, years)| months / 12 == years),
            "agrees with the age in years".to_owned(),
            "coincide con la edad en años".to_owned(),
        );
        let chars = |text: &str| text.chars().count();
        bound(
            "medication_list",
            self.medication_list
                .given()
                .is_none_or(|list| chars(list) <= TEXT_CHARS),
            format!("at most {TEXT_CHARS} characters"),
            format!("{TEXT_CHARS} caracteres como máximo"),
        );
        let others = self.other_allergies.given();
        let fits = |other: &OtherAllergy| (1..=OTHER_ALLERGY_CHARS).contains(&chars(other.name.trim()));
        bound(
            "other_allergies",
            others.is_none_or(|others| others.len() <= OTHER_ALLERGIES && others.iter().all(fits)),
            format!("at most {OTHER_ALLERGIES} names of 1 to {OTHER_ALLERGY_CHARS} characters"),
            format!("{OTHER_ALLERGIES} nombres como máximo, de 1 a {OTHER_ALLERGY_CHARS} caracteres"),
        );
        wrong
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::screening::refused;

    #[test]
    fn an_answer_is_given_refused_or_left_out() {
        let answers: Answers = serde_json::from_value(json!({
            "age": 30, "is_pregnant": "prefer_not_to_say", "sex": "undisclosed",
            "medical_conditions": ["gota"], "allergies": { "milk": "severe" },
        }))
        .expect("answers");
        assert_eq!(answers.age, Answer::Given(30));
        assert_eq!(answers.is_pregnant, refused());
        assert!(answers.weight_g.is_omitted());
        assert_eq!(answers.refused(), ["is_pregnant"]);
        let again = serde_json::to_value(&answers).expect("json");
        assert_eq!(again.as_object().map(serde_json::Map::len), Some(5));
        assert_eq!(serde_json::from_value::<Answers>(again).expect("answers"), answers);
    }

    #[test]
    fn unknown_questions_and_conditions_are_refused() {
        for wrong in [
            json!({ "aeg": 30 }),
            json!({ "medical_conditions": ["flu"] }),
            json!({ "age": "thirty" }),
            json!({ "age": -1 }),
        ] {
            assert!(serde_json::from_value::<Answers>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_out_of_bounds_are_named() {
        let fields = |answers: &Answers| answers.violations().into_iter().map(|v| v.field).collect::<Vec<_>>();
        assert_eq!(fields(&Answers::default()), Vec::<String>::new());
        assert_eq!(fields(&Answers::all_refused()), Vec::<String>::new());
        let wrong = Answers {
            age: 0.into(),
            age_months: 30.into(),
            weight_g: 19_999.into(),
            height_mm: 2_721.into(),
            trimester: 4.into(),
            postpartum_weeks: 521.into(),
            unintended_loss_g: 500_001.into(),
            medication_list: "x".repeat(TEXT_CHARS + 1).into(),
            other_allergies: vec![OtherAllergy {
                name: " ".to_owned(),
                severity: AllergySeverity::Mild,
            }]
            .into(),
            ..Answers::default()
        };
        assert_eq!(
            fields(&wrong),
            [
                "age",
                "weight_g",
                "height_mm",
                "trimester",
                "postpartum_weeks",
                "unintended_loss_g",
                "age_months",
                "medication_list",
                "other_allergies",
            ]
        );
    }

    #[test]
    fn every_question_can_be_left_out_and_refused() {
        let all = Answers::all_refused();
        assert_eq!(all.refused(), Answers::QUESTIONS);
        for question in Answers::QUESTIONS {
            assert!(!all.without(question).refused().contains(question), "{question}");
        }
        assert_eq!(all.without("nothing"), all);
    }
}
