//! Plausibility checks of a food's nutrients per 100 g.

use serde::{Deserialize, Serialize};

use crate::Words;
use crate::nutrients::{Nutrient, Nutrients};

/// Milligrams in 100 g.
const ALL_OF_IT: i64 = 100_000;
/// Limit for the sum of protein, carbohydrate and fat in milligrams: 100 g plus 5 % for measurement errors.
const MACROS_AT_MOST: i64 = 105_000;
/// Limit for the energy of 100 g in thousandths of a kilocalorie: a little above pure fat (900 kcal).
const ENERGY_AT_MOST: i64 = 950_000;

/// Whether the amount of carbohydrate includes fibre.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CarbBasis {
    /// Without fibre, as on EU labels.
    #[default]
    Available,
    /// With fibre, as in USDA tables: the remainder after water, protein, fat and ash.
    ByDifference,
}

impl CarbBasis {
    /// The name in the database and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::ByDifference => "by_difference",
        }
    }
}

impl From<String> for CarbBasis {
    fn from(name: String) -> Self {
        if name == Self::ByDifference.name() {
            Self::ByDifference
        } else {
            Self::Available
        }
    }
}

/// A field with an implausible value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The field, such as `per_100g.fat_mg`.
    pub field: String,
    /// The reason, for the person who entered the value.
    pub reason: Words,
}

impl Violation {
    fn of(nutrient: &str, reason: impl Into<Words>) -> Self {
        Self {
            field: format!("per_100g.{nutrient}"),
            reason: reason.into(),
        }
    }
}

/// Returns every implausible field of a food's nutrients per 100 g. Unknown amounts are accepted.
#[must_use]
pub fn plausible(per_100g: &Nutrients, basis: CarbBasis) -> Vec<Violation> {
    let mut wrong = Vec::new();
    if !per_100g.known_permille.is_empty() {
        wrong.push(Violation::of(
            "known_permille",
            ("only sums have this field", "solo las sumas tienen este campo"),
        ));
    }
    for &nutrient in Nutrient::ALL {
        let Some(amount) = per_100g.get(nutrient) else { continue };
        let at_most = match nutrient {
            Nutrient::EnergyMkcal => ENERGY_AT_MOST,
            // In nanograms: several times the amount in the richest herb.
            Nutrient::VitaminKNg => 10_000_000,
            _ => ALL_OF_IT,
        };
        if !(0..=at_most).contains(&amount) {
            wrong.push(Violation::of(
                nutrient.name(),
                (
                    format!("0 to {at_most} per 100 g"),
                    format!("de 0 a {at_most} por cada 100 g"),
                ),
            ));
        }
    }
    let parts = [
        (
            "sugars_mg",
            per_100g.sugars_mg,
            (
                "sugars are part of carbohydrate and cannot exceed it",
                "los azúcares forman parte de los hidratos de carbono y no pueden superarlos",
            ),
            per_100g.carbohydrate_mg,
        ),
        (
            "saturated_fat_mg",
            per_100g.saturated_fat_mg,
            (
                "saturated fat is part of fat and cannot exceed it",
                "la grasa saturada forma parte de la grasa y no puede superarla",
            ),
            per_100g.fat_mg,
        ),
    ];
    for (part, amount, reason, of) in parts {
        if amount.zip(of).is_some_and(|(amount, of)| amount > of) {
            wrong.push(Violation::of(part, reason));
        }
    }
    let macros = [per_100g.protein_mg, per_100g.carbohydrate_mg, per_100g.fat_mg];
    let together = macros
        .iter()
        .flatten()
        .fold(0, |sum: i64, amount| sum.saturating_add(*amount));
    if together > MACROS_AT_MOST {
        wrong.push(Violation::of(
            "carbohydrate_mg",
            (
                "protein, carbohydrate and fat together exceed 105 g per 100 g",
                "las proteínas, los hidratos de carbono y las grasas suman más de 105 g por cada 100 g",
            ),
        ));
    }
    if wrong.is_empty() {
        wrong.extend(energy_adds_up(per_100g, basis));
    }
    wrong
}

/// Checks that the declared energy is within 30 % plus 5 kcal of the energy of the macronutrients (Atwater factors: 4,
/// 4 and 9 kcal per gram of protein, carbohydrate and fat; alcohol 7, fibre 2). Accepts the food if energy, protein,
/// carbohydrate or fat is unknown.
fn energy_adds_up(per_100g: &Nutrients, basis: CarbBasis) -> Option<Violation> {
    let energy = per_100g.energy_mkcal?;
    let (protein, carbohydrate, fat) = (per_100g.protein_mg?, per_100g.carbohydrate_mg?, per_100g.fat_mg?);
    let fibre = per_100g.fibre_mg.unwrap_or(0);
    let alcohol = per_100g.alcohol_mg.unwrap_or(0);
    let digestible = match basis {
        CarbBasis::Available => carbohydrate,
        CarbBasis::ByDifference => (carbohydrate - fibre).max(0),
    };
    // A factor in kcal per gram has the same value in mkcal per milligram.
    let expected = 4 * protein + 4 * digestible + 9 * fat + 7 * alcohol + 2 * fibre;
    let tolerance = expected * 3 / 10 + 5000;
    ((energy - expected).abs() > tolerance).then(|| {
        let kcal = expected / 1000;
        let reason = (
            format!("the macronutrients add up to {kcal} kcal (with fibre and alcohol, if given)"),
            format!("los macronutrientes suman {kcal} kcal (con la fibra y el alcohol, si se indican)"),
        );
        Violation::of("energy_mkcal", reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chicken() -> Nutrients {
        Nutrients {
            energy_mkcal: Some(165_000),
            protein_mg: Some(31_000),
            carbohydrate_mg: Some(0),
            fat_mg: Some(3600),
            saturated_fat_mg: Some(1000),
            ..Nutrients::default()
        }
    }

    fn wrong(per_100g: &Nutrients, basis: CarbBasis) -> Vec<String> {
        plausible(per_100g, basis).into_iter().map(|v| v.field).collect()
    }

    #[test]
    fn a_real_food_and_a_food_without_amounts_are_plausible() {
        assert!(wrong(&chicken(), CarbBasis::Available).is_empty());
        assert!(wrong(&Nutrients::default(), CarbBasis::Available).is_empty());
    }

    #[test]
    fn each_rule_names_its_field() {
        let cases = [
            (
                Nutrients {
                    protein_mg: Some(100_001),
                    ..chicken()
                },
                "per_100g.protein_mg",
            ),
            (
                Nutrients {
                    sodium_mg: Some(-1),
                    ..chicken()
                },
                "per_100g.sodium_mg",
            ),
            (
                Nutrients {
                    energy_mkcal: Some(950_001),
                    ..chicken()
                },
                "per_100g.energy_mkcal",
            ),
            (
                Nutrients {
                    saturated_fat_mg: Some(3601),
                    ..chicken()
                },
                "per_100g.saturated_fat_mg",
            ),
            (
                Nutrients {
                    sugars_mg: Some(1),
                    ..chicken()
                },
                "per_100g.sugars_mg",
            ),
            (
                Nutrients {
                    carbohydrate_mg: Some(71_000),
                    ..chicken()
                },
                "per_100g.carbohydrate_mg",
            ),
            (
                Nutrients {
                    energy_mkcal: Some(300_000),
                    ..chicken()
                },
                "per_100g.energy_mkcal",
            ),
            (
                Nutrients {
                    energy_mkcal: Some(100_000),
                    ..chicken()
                },
                "per_100g.energy_mkcal",
            ),
        ];
        for (food, field) in cases {
            assert!(
                wrong(&food, CarbBasis::Available).contains(&field.to_owned()),
                "{field} {food:?}"
            );
        }
        let sum = Nutrients {
            known_permille: [(Nutrient::FibreMg, 1)].into(),
            ..chicken()
        };
        assert_eq!(wrong(&sum, CarbBasis::Available), ["per_100g.known_permille"]);
    }

    #[test]
    fn energy_may_differ_by_30_percent_plus_5_kcal() {
        // 4·31 + 9·3.6 = 156.4 kcal; 30 % plus 5 kcal either way is 104.48 to 208.32 kcal.
        for (energy, fits) in [(208_320, true), (208_321, false), (104_480, true), (104_479, false)] {
            let food = Nutrients {
                energy_mkcal: Some(energy),
                ..chicken()
            };
            assert_eq!(wrong(&food, CarbBasis::Available).is_empty(), fits, "{energy}");
        }
    }

    #[test]
    fn fibre_counts_2_kcal_per_gram_and_is_subtracted_from_carbohydrate_by_difference() {
        let bran = |energy| Nutrients {
            energy_mkcal: Some(energy),
            protein_mg: Some(0),
            carbohydrate_mg: Some(80_000),
            fibre_mg: Some(40_000),
            fat_mg: Some(0),
            ..Nutrients::default()
        };
        assert!(wrong(&bran(400_000), CarbBasis::Available).is_empty());
        assert!(!wrong(&bran(400_000), CarbBasis::ByDifference).is_empty());
        assert!(wrong(&bran(240_000), CarbBasis::ByDifference).is_empty());
    }

    #[test]
    fn alcohol_counts_towards_energy() {
        let gin = |alcohol| Nutrients {
            energy_mkcal: Some(240_000),
            protein_mg: Some(0),
            carbohydrate_mg: Some(0),
            fat_mg: Some(0),
            alcohol_mg: alcohol,
            ..Nutrients::default()
        };
        assert!(wrong(&gin(Some(34_000)), CarbBasis::Available).is_empty());
        assert_eq!(wrong(&gin(None), CarbBasis::Available), ["per_100g.energy_mkcal"]);
    }
}
