//! What a trainer reads of findings: a constraint and, where it betrays nothing, its place.

use std::collections::BTreeSet;

use serde::Serialize;

use super::finding::{Finding, Place};
use super::limits::Limits;
use crate::Words;
use crate::allergens::Allergen;
use crate::names::names;

names! {
    /// The closed list of what a trainer may read.
    Constraint {
        AvoidAllergen "avoid_allergen" "Leave out an allergen.";
        CheckAllergen "check_allergen" "Read the label for an allergen.";
        MoreEnergy "more_energy" "The plan has too little energy for this person.";
        NeedsNutritionist "needs_nutritionist" "The nutritionist has to look at it. Neither what nor where is said.";
        Nothing "none" "Nothing is said.";
    }
}

/// A constraint as a trainer reads it: no gate, no severity, no amounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Told<M, I> {
    /// The constraint.
    pub constraint: Constraint,
    /// The allergen, for the two constraints of allergens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allergen: Option<Allergen>,
    /// Where in the plan; the whole plan where the place would betray something.
    #[serde(flatten)]
    pub place: Place<M, I>,
    /// The constraint in both languages.
    pub words: Words,
}

/// What a trainer reads of these findings, each once, in an order that does not depend on theirs. Every gate that would
/// betray a diagnosis, a medicine, pregnancy or weight reads the same, once for the whole plan.
#[must_use]
pub fn for_trainer<M: Copy + Ord, I: Copy + Ord>(findings: &[Finding<M, I>], limits: &Limits) -> Vec<Told<M, I>> {
    let told: BTreeSet<_> = findings
        .iter()
        .map(|finding| {
            let about = limits.about(finding.gate);
            let constraint = about.map_or(Constraint::NeedsNutritionist, |about| about.trainer);
            match constraint {
                Constraint::AvoidAllergen | Constraint::CheckAllergen => (constraint, finding.allergen, finding.place),
                Constraint::MoreEnergy => (constraint, None, finding.place),
                Constraint::NeedsNutritionist | Constraint::Nothing => (constraint, None, Place::plan()),
            }
        })
        .filter(|(constraint, ..)| *constraint != Constraint::Nothing)
        .collect();
    told.into_iter()
        .map(|(constraint, allergen, place)| Told {
            constraint,
            allergen,
            place,
            words: words(constraint, allergen),
        })
        .collect()
}

fn words(constraint: Constraint, allergen: Option<Allergen>) -> Words {
    match (constraint, allergen.map(Allergen::words)) {
        (Constraint::AvoidAllergen, Some(Words { en, es })) => (format!("no {en}"), format!("sin {es}")).into(),
        (Constraint::CheckAllergen, Some(Words { en, es })) => {
            (format!("check for {en}"), format!("comprobar {es}")).into()
        }
        (Constraint::MoreEnergy, _) => ("more energy", "más energía").into(),
        _ => ("needs the nutritionist", "requiere al nutricionista").into(),
    }
}
