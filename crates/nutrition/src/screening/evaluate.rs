//! Evaluates answers by a version of the rules.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::answers::Answers;
use super::rules::{Levels, Rule, Rules, Trigger};
use crate::Words;
use crate::body::{ADULT_YEARS, Below, Sex, bmi_milli, minor_bmi_milli};
use crate::medicines::{self, Class, Reading, Unrecognised};
use crate::names::names;
use crate::urgent::Sign;

names! {
    /// How much care a person needs, from least to most.
    Level {
        Low "LOW" "May proceed.";
        Medium "MEDIUM" "May proceed, with warnings.";
        High "HIGH" "May not proceed without a clearance.";
        Critical "CRITICAL" "May not proceed without a clearance, and then only with plans that restrict nothing.";
    }
}

impl Level {
    /// The level of a score.
    #[must_use]
    pub const fn of(score: u32, levels: Levels) -> Self {
        if score >= levels.critical {
            Self::Critical
        } else if score >= levels.high {
            Self::High
        } else if score >= levels.medium {
            Self::Medium
        } else {
            Self::Low
        }
    }

    /// Whether the person may follow a plan without a clearance.
    #[must_use]
    pub const fn can_proceed(self) -> bool {
        matches!(self, Self::Low | Self::Medium)
    }

    /// Whether a professional has to look at it.
    #[must_use]
    pub const fn requires_professional(self) -> bool {
        matches!(self, Self::High | Self::Critical)
    }
}

/// A rule that applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Spoken {
    /// The rule's name.
    pub rule: String,
    /// The rule's version.
    pub version: u32,
    /// The points that it added: 0 if another rule counted the same cause.
    pub points: u32,
    /// The rule that counted the same cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_with: Option<String>,
    /// The reason in both languages.
    pub reason: Words,
    /// Where the rule comes from.
    pub source: String,
}

/// What a questionnaire comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Evaluation {
    /// The version of the rules.
    pub rules_version: u32,
    /// The sum of the points.
    pub risk_score: u32,
    /// The level of the score.
    pub risk_level: Level,
    /// Whether the person may follow a plan or use AI generation at once.
    pub can_proceed: bool,
    /// Whether a professional has to look at it: HIGH or CRITICAL.
    pub requires_professional: bool,
    /// The questions that the person prefers not to answer. While there are any, staff review before the person may
    /// proceed, whatever the level.
    pub to_review: Vec<String>,
    /// The reasons of the rules that added points, and of those whose points were held back, each cause once.
    pub warnings: Vec<Words>,
    /// Every rule that applied.
    pub rules: Vec<Spoken>,
    /// What the person's medicines mean for an eating plan.
    pub medicines: Vec<Words>,
    /// Names of medicines that the table does not have.
    pub unrecognised_medicines: Vec<Unrecognised>,
    /// Signs for which the person should call for help now.
    pub urgent: Vec<Sign>,
}

impl Evaluation {
    /// The rules that a clearance must name to open this level: those that applied and count a cause of their own.
    #[must_use]
    pub fn causes(&self) -> BTreeSet<&str> {
        let own = self.rules.iter().filter(|spoken| spoken.counted_with.is_none());
        own.map(|spoken| spoken.rule.as_str()).collect()
    }
}

/// Evaluates answers. Missing answers add no points and lower none; what cannot be used, such as a weight of zero, counts
/// as missing. The order of rules, conditions and medicines has no effect on score and level.
#[must_use]
pub fn evaluate(answers: &Answers, rules: &Rules) -> Evaluation {
    let facts = Facts::of(answers);
    let applied: Vec<(&Rule, u32)> = rules
        .rules
        .iter()
        .map(|rule| (rule, rule.when.iter().map(|when| facts.count(when)).max().unwrap_or(0)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let applies = |id: &String| applied.iter().any(|(rule, _)| rule.id == *id);
    let mut left: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut firm, mut soft) = (0_u32, 0_u32);
    let mut spoken = Vec::new();
    let mut warnings = Vec::new();
    // In a share, points that block come first, so that the sum does not depend on the order of the file.
    let mut in_turn: Vec<usize> = (0..applied.len()).collect();
    in_turn.sort_by_key(|at| (applied[*at].0.never_blocks, *at));
    let mut points_of = vec![0; applied.len()];
    for at in in_turn {
        let (rule, count) = applied[at];
        if rule.once_with.iter().any(applies) {
            continue;
        }
        let mut points = rule.points.saturating_mul(if rule.each { count } else { 1 });
        if let Some((share, at_most)) = &rule.share {
            let left = left.entry(share).or_insert(*at_most);
            points = points.min(*left);
            *left -= points;
        }
        let sum = if rule.never_blocks { &mut soft } else { &mut firm };
        *sum = sum.saturating_add(points);
        points_of[at] = points;
    }
    for ((rule, _), points) in applied.iter().zip(points_of) {
        let counted_with = rule.once_with.iter().find(|id| applies(id)).cloned();
        if counted_with.is_none() {
            warnings.push(rule.reason.clone());
        }
        spoken.push(Spoken {
            rule: rule.id.clone(),
            version: rule.version,
            points,
            counted_with,
            reason: rule.reason.clone(),
            source: rule.source.clone(),
        });
    }
    let blocked = rules.levels.high;
    let all = firm.saturating_add(soft);
    let risk_score = if firm < blocked { all.min(blocked - 1) } else { all };
    let risk_level = Level::of(risk_score, rules.levels);
    let to_review: Vec<String> = answers.refused().into_iter().map(str::to_owned).collect();
    Evaluation {
        rules_version: rules.version,
        risk_score,
        risk_level,
        can_proceed: risk_level.can_proceed() && to_review.is_empty(),
        requires_professional: risk_level.requires_professional(),
        to_review,
        warnings,
        rules: spoken,
        medicines: facts.medicines.notes.clone(),
        unrecognised_medicines: facts.medicines.unrecognised.clone(),
        urgent: Sign::of(answers),
    }
}

/// What rules look at.
struct Facts<'a> {
    answers: &'a Answers,
    medicines: Reading,
    classes: BTreeSet<Class>,
    /// Only for people who are not known to be minors.
    adult_bmi: Option<u32>,
    /// Only for minors: the BMI, the age in years and months, the sex.
    minor_bmi: Option<(u32, u32, Option<u32>, Sex)>,
}

impl<'a> Facts<'a> {
    fn of(answers: &'a Answers) -> Self {
        let medicines = answers
            .medication_list
            .given()
            .map_or_else(Reading::default, |list| medicines::read(list));
        let bmi = answers.weight_g.number().zip(answers.height_mm.number());
        let bmi = bmi.and_then(|(weight, height)| bmi_milli(weight, height));
        let minor = answers.age.number().filter(|years| *years < ADULT_YEARS);
        let sex = answers.sex.given().copied().unwrap_or(Sex::Undisclosed);
        Self {
            answers,
            classes: medicines.classes(),
            medicines,
            adult_bmi: bmi.filter(|_| minor.is_none()),
            minor_bmi: bmi
                .zip(minor)
                .map(|(bmi, years)| (bmi, years, answers.age_months.number(), sex)),
        }
    }

    /// How often a trigger applies: medicines may several times, everything else once.
    fn count(&self, when: &Trigger) -> u32 {
        let a = self.answers;
        let many = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        u32::from(match when {
            Trigger::AgeBelow(years) => a.age.number().is_some_and(|age| age < *years),
            Trigger::AgeAbove(years) => a.age.number().is_some_and(|age| age > *years),
            Trigger::Condition(one) => a.medical_conditions.given().is_some_and(|all| all.contains(one)),
            Trigger::Answer(question) => question.is_yes(a),
            Trigger::BmiBelow(limit) => self.adult_bmi.is_some_and(|bmi| bmi < *limit),
            Trigger::BmiAtLeast(limit) => self.adult_bmi.is_some_and(|bmi| bmi >= *limit),
            Trigger::BmiZBelow(below) => self.thin(*below),
            Trigger::LossAbove(limit) => self.lost_more_than(*limit),
            Trigger::EatingAnswersAtLeast(n) => a.eating_answers() >= *n,
            Trigger::PostpartumBelow(weeks) => a.postpartum_weeks.number().is_some_and(|since| since < *weeks),
            Trigger::Medicine(class) if *class == Class::Interacting => {
                return many(self.medicines.substances(*class));
            }
            Trigger::Medicine(class) => self.classes.contains(class),
            Trigger::UnrecognisedMedicine => {
                let unnamed = a.takes_medications.is_yes() && a.medication_list.is_omitted();
                return many(self.medicines.unrecognised.len() + usize::from(unnamed));
            }
        })
    }

    fn thin(&self, below: Below) -> bool {
        self.minor_bmi.is_some_and(|(bmi, years, months, sex)| {
            minor_bmi_milli(below, years, months, sex).is_some_and(|limit| bmi < limit)
        })
    }

    /// Whether the unintended loss exceeds so many thousandths of a percent of the weight before.
    fn lost_more_than(&self, limit: i64) -> bool {
        let loss = self.answers.unintended_loss_g.number().map(i128::from);
        let weight = self.answers.weight_g.number().map(i128::from);
        let exceeds = |(loss, weight): (i128, i128)| loss * 100_000 > (weight + loss) * i128::from(limit);
        loss.zip(weight).is_some_and(exceeds)
    }
}
