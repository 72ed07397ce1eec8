//! Nutrients as integers: per 100 g of a food, per item, and in sums of items. An unknown amount is absent, never 0,
//! and a sum states for which share of its weight each nutrient is known.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Thousandths of a gram in 100 g.
const PER_100G: i128 = 100_000;
/// Thousandths in a whole.
const WHOLE: i128 = 1000;

/// Declares each nutrient once: its field, its name, and the mapping between them.
macro_rules! nutrients {
    ($($field:ident $variant:ident $doc:literal;)+) => {
        /// A nutrient. Its JSON name is the name of its field in `Nutrients`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum Nutrient {
            $(#[doc = $doc] $variant,)+
        }

        impl Nutrient {
            /// Every nutrient.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name of its field in [`Nutrients`].
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($field),)+ }
            }
        }

        /// Amounts of nutrients. An absent amount is unknown.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(deny_unknown_fields)]
        pub struct Nutrients {
            $(
                #[doc = $doc]
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[cfg_attr(feature = "schema", schema(nullable = false))]
                pub $field: Option<i64>,
            )+
            /// Only in sums: the share of the weight for which a nutrient is known, in thousandths. Lists only
            /// nutrients below 1000. A nutrient with 0 is unknown, and its amount is absent.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            #[cfg_attr(feature = "schema", schema(value_type = BTreeMap<String, u32>))]
            pub known_permille: BTreeMap<Nutrient, u32>,
        }

        impl Nutrients {
            /// The amount of a nutrient, if it is known.
            #[must_use]
            pub const fn get(&self, nutrient: Nutrient) -> Option<i64> {
                match nutrient { $(Nutrient::$variant => self.$field,)+ }
            }

            const fn slot(&mut self, nutrient: Nutrient) -> &mut Option<i64> {
                match nutrient { $(Nutrient::$variant => &mut self.$field,)+ }
            }
        }
    };
}

nutrients! {
    energy_mkcal EnergyMkcal "Energy in thousandths of a kilocalorie.";
    protein_mg ProteinMg "Protein in milligrams.";
    carbohydrate_mg CarbohydrateMg "Carbohydrate in milligrams.";
    sugars_mg SugarsMg "Sugars in milligrams.";
    fibre_mg FibreMg "Fibre in milligrams.";
    fat_mg FatMg "Fat in milligrams.";
    saturated_fat_mg SaturatedFatMg "Saturated fat in milligrams.";
    sodium_mg SodiumMg "Sodium in milligrams.";
    alcohol_mg AlcoholMg "Alcohol in milligrams.";
    potassium_mg PotassiumMg "Potassium in milligrams.";
    vitamin_k_ng VitaminKNg "Vitamin K in nanograms.";
}

impl Nutrients {
    /// Returns the nutrients in `grams_milli` thousandths of a gram of a food with `per_100g`, rounded half up.
    #[must_use]
    pub fn for_grams(per_100g: &Self, grams_milli: i64) -> Self {
        Self {
            known_permille: BTreeMap::new(),
            ..per_100g.scaled(grams_milli, PER_100G)
        }
    }

    /// Scales every amount to `permille` thousandths, rounded half up. Unknown amounts stay unknown.
    #[must_use]
    pub fn scale(&self, permille: i32) -> Self {
        self.scaled(permille.into(), WHOLE)
    }

    fn scaled(&self, by: i64, of: i128) -> Self {
        let mut scaled = Self {
            known_permille: self.known_permille.clone(),
            ..Self::default()
        };
        for &nutrient in Nutrient::ALL {
            *scaled.slot(nutrient) = self.get(nutrient).map(|amount| round(amount, by, of));
        }
        scaled
    }
}

/// `amount × by ÷ of`, rounded half up.
fn round(amount: i64, by: i64, of: i128) -> i64 {
    let exact = i128::from(amount) * i128::from(by);
    i64::try_from((exact + of / 2).div_euclid(of)).unwrap_or(i64::MAX)
}

/// A running sum of items. Adding two sums gives exactly the sum of all their items, known shares included, because
/// amounts are integers and the sum keeps the weight for which each nutrient is unknown. It can be stored as JSON and
/// continued later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// The weight of all items, in thousandths of a gram.
    pub grams_milli: i64,
    /// For each nutrient: the amount, over the items for which it is known.
    sums: Nutrients,
    /// For each nutrient: the weight of the items for which it is unknown, in thousandths of a gram.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unknown_grams_milli: BTreeMap<Nutrient, i64>,
}

impl Totals {
    /// Adds an item that weighs `grams_milli` thousandths of a gram.
    pub fn add(&mut self, grams_milli: i64, nutrients: &Nutrients) {
        let unknown_of = |nutrient| match (nutrients.get(nutrient), nutrients.known_permille.get(&nutrient)) {
            (None, _) => grams_milli,
            (Some(_), None) => 0,
            (Some(_), Some(known)) => grams_milli - round(grams_milli, i64::from(*known), WHOLE),
        };
        let unknown = Nutrient::ALL
            .iter()
            .map(|&n| (n, unknown_of(n)))
            .filter(|(_, grams)| *grams > 0)
            .collect();
        let sums = Nutrients {
            known_permille: BTreeMap::new(),
            ..nutrients.clone()
        };
        *self += &Self {
            grams_milli,
            sums,
            unknown_grams_milli: unknown,
        };
    }

    /// Converts the sum to amounts with known shares. An empty sum has no amounts.
    #[must_use]
    pub fn nutrients(&self) -> Nutrients {
        let mut nutrients = self.sums.clone();
        for (&nutrient, &unknown) in &self.unknown_grams_milli {
            let known = i128::from(self.grams_milli - unknown) * WHOLE / i128::from(self.grams_milli.max(1));
            // Rounding must not make a partly known nutrient look unknown (0) or fully known (1000).
            let known = if nutrients.get(nutrient).is_some() {
                known.clamp(1, WHOLE - 1)
            } else {
                0
            };
            nutrients
                .known_permille
                .insert(nutrient, u32::try_from(known).unwrap_or(0));
        }
        nutrients
    }

    /// Scales the sum to `permille` thousandths, such as the eaten portion of a meal.
    #[must_use]
    pub fn scale(&self, permille: i32) -> Self {
        let part = |grams: i64| round(grams, permille.into(), WHOLE);
        // If an unknown weight were rounded to 0, the nutrient would count as known.
        let unknown = |grams: i64| if permille > 0 { part(grams).max(1) } else { 0 };
        Self {
            grams_milli: part(self.grams_milli),
            sums: self.sums.scale(permille),
            unknown_grams_milli: self
                .unknown_grams_milli
                .iter()
                .map(|(n, grams)| (*n, unknown(*grams)))
                .collect(),
        }
    }
}

impl AddAssign<&Self> for Totals {
    fn add_assign(&mut self, other: &Self) {
        self.grams_milli = self.grams_milli.saturating_add(other.grams_milli);
        for &nutrient in Nutrient::ALL {
            if let Some(amount) = other.sums.get(nutrient) {
                let sum = self.sums.slot(nutrient);
                *sum = Some(sum.unwrap_or(0).saturating_add(amount));
            }
        }
        for (nutrient, grams) in &other.unknown_grams_milli {
            let sum = self.unknown_grams_milli.entry(*nutrient).or_default();
            *sum = sum.saturating_add(*grams);
        }
    }
}

impl<'a> FromIterator<(i64, &'a Nutrients)> for Totals {
    /// Sums items: each is a weight in thousandths of a gram and its nutrients.
    fn from_iter<I: IntoIterator<Item = (i64, &'a Nutrients)>>(items: I) -> Self {
        let mut totals = Self::default();
        for (grams_milli, nutrients) in items {
            totals.add(grams_milli, nutrients);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn any_nutrients() -> impl Strategy<Value = Nutrients> {
        proptest::collection::vec(proptest::option::of(0_i64..=900_000), Nutrient::ALL.len()).prop_map(|amounts| {
            let mut nutrients = Nutrients::default();
            for (&nutrient, amount) in Nutrient::ALL.iter().zip(amounts) {
                *nutrients.slot(nutrient) = amount;
            }
            nutrients
        })
    }

    fn any_item() -> impl Strategy<Value = (i64, Nutrients)> {
        (1_i64..=10_000_000, any_nutrients()).prop_map(|(grams, food)| (grams, Nutrients::for_grams(&food, grams)))
    }

    fn sum(items: &[(i64, Nutrients)]) -> Totals {
        items.iter().map(|(grams, nutrients)| (*grams, nutrients)).collect()
    }

    #[test]
    fn amounts_are_rounded_half_up() {
        let food = Nutrients {
            energy_mkcal: Some(1),
            protein_mg: Some(3),
            ..Nutrients::default()
        };
        assert_eq!(Nutrients::for_grams(&food, 50_000).energy_mkcal, Some(1));
        assert_eq!(Nutrients::for_grams(&food, 49_999).energy_mkcal, Some(0));
        assert_eq!(Nutrients::for_grams(&food, 50_000).protein_mg, Some(2));
        assert_eq!(food.scale(500).protein_mg, Some(2));
        let vast = Nutrients {
            vitamin_k_ng: Some(i64::MAX),
            ..Nutrients::default()
        };
        assert_eq!(Nutrients::for_grams(&vast, 10_000_000).vitamin_k_ng, Some(i64::MAX));
    }

    #[test]
    fn a_sum_states_the_known_share_of_each_nutrient() {
        let known = Nutrients {
            energy_mkcal: Some(100),
            fibre_mg: Some(7),
            ..Nutrients::default()
        };
        let unknown = Nutrients {
            energy_mkcal: Some(50),
            ..Nutrients::default()
        };
        let total = sum(&[(830, known), (170, unknown)]).nutrients();
        assert_eq!(
            (total.energy_mkcal, total.fibre_mg, total.sodium_mg),
            (Some(150), Some(7), None)
        );
        assert_eq!(total.known_permille.get(&Nutrient::FibreMg), Some(&830));
        assert_eq!(total.known_permille.get(&Nutrient::SodiumMg), Some(&0));
        assert_eq!(total.known_permille.get(&Nutrient::EnergyMkcal), None);
        let json = serde_json::to_value(&total).expect("json");
        assert_eq!((&json["fibre_mg"], json.get("sodium_mg")), (&json!(7), None));
        assert_eq!(json["known_permille"]["fibre_mg"], json!(830));
        assert_eq!(serde_json::from_value::<Nutrients>(json).expect("nutrients"), total);
    }

    #[test]
    fn names_match_json() {
        for nutrient in Nutrient::ALL {
            assert_eq!(serde_json::to_value(nutrient).expect("json"), nutrient.name());
        }
    }

    #[test]
    fn an_empty_sum_has_no_nutrients() {
        assert_eq!(Totals::default().nutrients(), Nutrients::default());
        assert_eq!(serde_json::to_value(Nutrients::default()).expect("json"), json!({}));
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_whole(items in proptest::collection::vec(any_item(), 0..12), cut in 0_usize..12) {
            let (first, second) = items.split_at(cut.min(items.len()));
            let mut joined = sum(first);
            joined += &sum(second);
            let whole = sum(&items);
            prop_assert_eq!(&joined, &whole);
            for &nutrient in Nutrient::ALL {
                let known: Vec<i64> = items.iter().filter_map(|(_, n)| n.get(nutrient)).collect();
                let expected = (!known.is_empty()).then(|| known.iter().sum());
                prop_assert_eq!(whole.nutrients().get(nutrient), expected);
            }
        }

        #[test]
        fn unknown_is_never_zero_or_known(items in proptest::collection::vec(any_item(), 1..12), part in 1_i32..3000) {
            for total in [sum(&items).nutrients(), sum(&items).scale(part).nutrients()] {
                for &nutrient in Nutrient::ALL {
                    let known = items.iter().filter(|(_, n)| n.get(nutrient).is_some()).count();
                    let permille = total.known_permille.get(&nutrient).copied();
                    match known {
                        0 => prop_assert_eq!((total.get(nutrient), permille), (None, Some(0))),
                        all if all == items.len() => prop_assert_eq!(permille, None),
                        _ => prop_assert!(permille.is_some_and(|p| (1..1000).contains(&p))),
                    }
                }
            }
        }

        #[test]
        fn a_sum_survives_json(items in proptest::collection::vec(any_item(), 0..6)) {
            let total = sum(&items);
            let stored = serde_json::to_string(&total).expect("json");
            prop_assert_eq!(serde_json::from_str::<Totals>(&stored).expect("totals"), total);
        }
    }
}
