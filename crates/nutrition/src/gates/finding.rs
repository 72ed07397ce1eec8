//! What a comparison of plan and person finds.

use serde::{Deserialize, Serialize};

use crate::Words;
use crate::allergens::Allergen;
use crate::names::names;

names! {
    /// A gate: a limit that compares a plan with a person. Its words and numbers are in `gates-v1.ini`.
    Gate {
        EnergyMinimum "energy_minimum" "A day's energy against the minimum for everyone.";
        EnergyFloor "energy_floor" "A day's energy against the person's minimum and resting rate.";
        NoDeficitPossible "no_deficit_possible" "The minimum is not below the person's expenditure.";
        DeficitLarge "deficit_large" "The lowest week's energy against expenditure.";
        LossFast "loss_fast" "The lowest week's loss against body weight.";
        AnyDeficit "any_deficit" "No deficit in pregnancy, breastfeeding, eating disorder or low weight.";
        MinorDeficit "minor_deficit" "No deficit for minors.";
        ExpenditureUnknown "expenditure_unknown" "The person's expenditure is not known.";
        ProteinKidney "protein_kidney" "A day's protein against the limit in kidney disease.";
        ProteinDialysis "protein_dialysis" "Dialysis without a written limit of protein.";
        CarbohydrateLow "carbohydrate_low" "A day's carbohydrate against the minimum.";
        FastingWindow "fasting_window" "Hours without a meal.";
        Allergen "allergen" "A food contains an allergen.";
        AllergenPossible "allergen_possible" "A food has traces of an allergen, or does not say.";
        OtherAllergen "other_allergen" "A food is named like an allergy of the person's own.";
        OtherAllergenPossible "other_allergen_possible" "Foods do not state such an allergy.";
        AllergiesUnknown "allergies_unknown" "The person prefers not to name allergies.";
        Tyramine "tyramine" "Tyramine and monoamine oxidase inhibitors.";
        TyramineByName "tyramine_by_name" "Tyramine is recognised by name only.";
        VitaminKSwing "vitamin_k_swing" "Vitamin K from day to day and its antagonists.";
        Alcohol "alcohol" "Alcohol for minors, in pregnancy and breastfeeding.";
        MacroRange "macro_range" "The shares of macronutrients.";
    }
}

names! {
    /// What a finding means for following, from least to most.
    Severity {
        Advise "advise" "Shown beside the plan.";
        Warn "warn" "Shown before following.";
        Clearance "needs_clearance" "Only with a clearance that names it.";
        Block "block" "Not followed, whatever a clearance says.";
    }
}

names! {
    /// The unit of two amounts that were compared.
    Unit {
        Mkcal "mkcal" "Thousandths of a kilocalorie.";
        Mg "mg" "Milligrams.";
        MgPerKg "mg_per_kg" "Milligrams per kilogram of body weight.";
        GPerWeek "g_per_week" "Grams of body weight per week.";
        Permille "permille" "Thousandths.";
        Minutes "minutes" "Minutes.";
    }
}

/// Two amounts that were compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Compared {
    /// What the plan has.
    pub actual: i64,
    /// The limit.
    pub limit: i64,
    /// The unit of both.
    pub unit: Unit,
}

/// Where in the plan. `M` and `I` are the types of meal and item ids. Without a day, the whole plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Place<M, I> {
    /// The number of the day, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<i32>,
    /// The meal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meal: Option<M>,
    /// The item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<I>,
}

impl<M, I> Place<M, I> {
    /// The whole plan.
    #[must_use]
    pub const fn plan() -> Self {
        Self {
            day: None,
            meal: None,
            item: None,
        }
    }

    /// An item.
    #[must_use]
    pub const fn item(day: i32, meal: M, item: I) -> Self {
        Self {
            day: Some(day),
            meal: Some(meal),
            item: Some(item),
        }
    }

    /// A day.
    #[must_use]
    pub const fn day(number: i32) -> Self {
        Self {
            day: Some(number),
            meal: None,
            item: None,
        }
    }
}

/// A finding, in full: for the person, and for nutritionists they share it with. A trainer gets
/// [`super::for_trainer`] of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Finding<M, I> {
    /// The gate.
    pub gate: Gate,
    /// What it means for following.
    pub severity: Severity,
    /// Where in the plan.
    #[serde(flatten)]
    pub place: Place<M, I>,
    /// What was compared; absent if something needed for it is not known, or nothing has an amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// Whether the finding is that something is not known.
    pub unknown: bool,
    /// The allergen, if it is one of the 14.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allergen: Option<Allergen>,
    /// The finding in both languages.
    pub words: Words,
}
