//! Input for a gym's own foods, validated before it is stored.

use std::collections::BTreeMap;

use diesel::{AsChangeset, Insertable};
use liveplan_nutrition::plausibility::{CarbBasis, plausible};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::model::{Allergen, Allergens, Food, Kind, Portion, Portions, Presence};
use super::rules;
use crate::db::schema::gym_foods;
use crate::error::{Error, Result};
use crate::http::{Patch, names};
use liveplan_nutrition::nutrients::Nutrients;

/// The most portions that one food may have.
const PORTIONS: usize = 20;
/// The largest portion, in thousandths of a gram (10 kg).
const LARGEST_PORTION: i64 = 10_000_000;

/// A new food of the gym. A name in one language is enough; it then stands for both.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewFood {
    name_en: Option<String>,
    name_es: Option<String>,
    #[serde(default = "other")]
    kind: Kind,
    brand: Option<String>,
    /// GTIN-8, 12, 13 or 14.
    barcode: Option<String>,
    /// Nutrients per 100 g of the edible part; leave out an unknown amount.
    per_100g: Nutrients,
    /// Whether `carbohydrate_mg` includes fibre. EU labels do not include it: `available`.
    #[serde(default)]
    carb_basis: CarbBasis,
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Presence>)]
    allergens: BTreeMap<Allergen, Presence>,
    #[serde(default)]
    portions: Vec<Portion>,
}

const fn other() -> Kind {
    Kind::Other
}

/// A change to a gym's own food. Absent fields stay as they are.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FoodPatch {
    name_en: Option<String>,
    name_es: Option<String>,
    kind: Option<Kind>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    brand: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    barcode: Patch<String>,
    /// Replaces all amounts.
    per_100g: Option<Nutrients>,
    carb_basis: Option<CarbBasis>,
    /// Replaces all allergens.
    #[schema(value_type = Option<BTreeMap<String, Presence>>)]
    allergens: Option<BTreeMap<Allergen, Presence>>,
    /// Replaces all portions.
    portions: Option<Vec<Portion>>,
}

/// The validated columns of a gym's food, without its identifier, author and times.
#[derive(AsChangeset, Clone, Debug, Insertable)]
#[diesel(table_name = gym_foods, treat_none_as_null = true)]
pub(super) struct Columns {
    kind: &'static str,
    name_en: String,
    name_es: String,
    brand: Option<String>,
    barcode: Option<String>,
    energy_mkcal: Option<i64>,
    protein_mg: Option<i64>,
    carbohydrate_mg: Option<i64>,
    sugars_mg: Option<i64>,
    fibre_mg: Option<i64>,
    fat_mg: Option<i64>,
    saturated_fat_mg: Option<i64>,
    sodium_mg: Option<i64>,
    alcohol_mg: Option<i64>,
    potassium_mg: Option<i64>,
    vitamin_k_ng: Option<i64>,
    carb_basis: &'static str,
    allergens: Allergens,
    portions: Portions,
    search: String,
}

impl NewFood {
    /// Validates the input.
    pub(super) fn check(self) -> Result<Columns> {
        // Validate each name before one is copied to the other, so that an error names the field that the client sent.
        let name_en = self.name_en.map(|text| name("name_en", &text)).transpose()?;
        let name_es = self.name_es.map(|text| name("name_es", &text)).transpose()?;
        let (name_en, name_es) = match (name_en, name_es) {
            (Some(en), Some(es)) => (en, es),
            (Some(only), None) | (None, Some(only)) => (only.clone(), only),
            (None, None) => {
                return Err(Error::invalid(
                    "name_es",
                    (
                        "a name in at least one of the two languages",
                        "un nombre en al menos uno de los dos idiomas",
                    ),
                ));
            }
        };
        let Self {
            kind,
            brand,
            barcode,
            per_100g,
            carb_basis,
            allergens,
            portions,
            ..
        } = self;
        let allergens = Allergens(allergens);
        check(Written {
            kind,
            name_en,
            name_es,
            brand,
            barcode,
            per_100g,
            carb_basis,
            allergens,
            portions,
        })
    }
}

impl FoodPatch {
    /// Applies the patch to the food and validates the result.
    pub(super) fn apply(self, food: Food) -> Result<Columns> {
        check(Written {
            kind: self.kind.unwrap_or(food.kind),
            name_en: self.name_en.unwrap_or(food.name_en),
            name_es: self.name_es.unwrap_or(food.name_es),
            brand: self.brand.or(food.brand),
            barcode: self.barcode.or(food.barcode),
            per_100g: self.per_100g.unwrap_or(food.per_100g),
            carb_basis: self.carb_basis.unwrap_or(food.carb_basis),
            allergens: self.allergens.map_or(food.allergens, Allergens),
            portions: self.portions.unwrap_or(food.portions.0),
        })
    }
}

struct Written {
    kind: Kind,
    name_en: String,
    name_es: String,
    brand: Option<String>,
    barcode: Option<String>,
    per_100g: Nutrients,
    carb_basis: CarbBasis,
    allergens: Allergens,
    portions: Vec<Portion>,
}

fn check(written: Written) -> Result<Columns> {
    let name_en = name("name_en", &written.name_en)?;
    let name_es = name("name_es", &written.name_es)?;
    let brand = written.brand.as_deref().map(|brand| name("brand", brand)).transpose()?;
    let barcode = written.barcode.map(|digits| digits.trim().to_owned());
    if barcode.as_deref().is_some_and(|digits| !rules::is_gtin(digits)) {
        return Err(Error::invalid(
            "barcode",
            (
                "a GTIN of 8, 12, 13 or 14 digits with its check digit",
                "un GTIN de 8, 12, 13 o 14 dígitos con su dígito de control",
            ),
        ));
    }
    let wrong = plausible(&written.per_100g, written.carb_basis);
    if let Some(first) = wrong.first() {
        return Err(Error::invalid(&first.field, first.reason.clone()).extra("violations", json!(wrong)));
    }
    let portions = Portions(portions(written.portions)?);
    let n = written.per_100g;
    Ok(Columns {
        search: rules::searched(&name_en, &name_es, brand.as_deref()),
        kind: written.kind.name(),
        name_en,
        name_es,
        brand,
        barcode,
        energy_mkcal: n.energy_mkcal,
        protein_mg: n.protein_mg,
        carbohydrate_mg: n.carbohydrate_mg,
        sugars_mg: n.sugars_mg,
        fibre_mg: n.fibre_mg,
        fat_mg: n.fat_mg,
        saturated_fat_mg: n.saturated_fat_mg,
        sodium_mg: n.sodium_mg,
        alcohol_mg: n.alcohol_mg,
        potassium_mg: n.potassium_mg,
        vitamin_k_ng: n.vitamin_k_ng,
        carb_basis: written.carb_basis.name(),
        allergens: written.allergens,
        portions,
    })
}

/// Normalises the whitespace of a name. A name needs a letter or digit, or search could never find it.
fn name(field: &str, text: &str) -> Result<String> {
    let tidy = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = tidy.chars().count();
    if length <= 200 && !tidy.chars().any(char::is_control) && !rules::search_text(&tidy).is_empty() {
        names::check(field, &tidy)?;
        Ok(tidy)
    } else {
        Err(Error::invalid(
            field,
            (
                "1 to 200 characters with at least one letter or digit",
                "de 1 a 200 caracteres, con al menos una letra o una cifra",
            ),
        ))
    }
}

/// Validates portions: names unique within the food, each with a weight.
fn portions(portions: Vec<Portion>) -> Result<Vec<Portion>> {
    if portions.len() > PORTIONS {
        return Err(Error::invalid(
            "portions",
            (format!("at most {PORTIONS}"), format!("como mucho {PORTIONS}")),
        ));
    }
    let mut seen: Vec<String> = Vec::new();
    let mut tidied = Vec::with_capacity(portions.len());
    for (n, portion) in portions.into_iter().enumerate() {
        let field = |name| format!("portions[{n}].{name}");
        let name_en = name(&field("name_en"), &portion.name_en)?;
        let name_es = name(&field("name_es"), &portion.name_es)?;
        if !(1..=LARGEST_PORTION).contains(&portion.grams_milli) {
            return Err(Error::invalid(
                field("grams_milli"),
                ("more than 0 g, at most 10 kg", "más de 0 g, como mucho 10 kg"),
            ));
        }
        // Items refer to a portion by either of its names, and `g` means grams.
        let mut own = vec![name_en.to_lowercase(), name_es.to_lowercase()];
        own.dedup();
        if own.iter().any(|name| name == "g" || seen.contains(name)) {
            return Err(Error::invalid(
                field("name_en"),
                (
                    "a name that no other portion of this food has; g is reserved for grams",
                    "un nombre que no tenga otra porción de este alimento; g está reservado para los gramos",
                ),
            ));
        }
        seen.append(&mut own);
        tidied.push(Portion {
            name_en,
            name_es,
            grams_milli: portion.grams_milli,
        });
    }
    Ok(tidied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(food: serde_json::Value) -> Result<Columns, String> {
        let food: NewFood = serde_json::from_value(food).expect("a food");
        food.check().map_err(|e| e.to_string())
    }

    #[test]
    fn one_name_is_enough_and_its_whitespace_is_normalised() {
        let food = checked(json!({"name_es": "  Pan   de  espelta ", "per_100g": {}})).expect("a food");
        assert_eq!(
            (food.name_en.as_str(), food.name_es.as_str()),
            ("Pan de espelta", "Pan de espelta")
        );
        assert_eq!(food.search, "pan de espelta\npan de espelta");
        assert!(checked(json!({"per_100g": {}})).is_err());
        assert!(checked(json!({"name_en": "?!", "per_100g": {}})).is_err());
        assert!(checked(json!({"name_en": "Ri\u{200B}ce", "per_100g": {}})).is_err());
    }

    #[test]
    fn implausible_amounts_name_the_first_field_and_list_all_violations() {
        let food = json!({"name_en": "x", "per_100g": {"fat_mg": 1000, "saturated_fat_mg": 2000, "sodium_mg": -1}});
        let food: NewFood = serde_json::from_value(food).expect("a food");
        let problem = food.check().expect_err("wrong").problem(crate::error::Lang::En);
        assert_eq!(problem["field"], "per_100g.sodium_mg");
        assert_eq!(problem["violations"].as_array().map(Vec::len), Some(2));
        let food = json!({"name_en": "x", "per_100g": {}, "barcode": "4006381333932"});
        assert!(checked(food).expect_err("wrong").contains("barcode"));
    }

    #[test]
    fn portions_need_unique_names_and_a_weight() {
        let with =
            |portions| checked(json!({"name_en": "x", "per_100g": {}, "portions": portions})).map(|c| c.portions.0);
        let cup = json!({"name_en": "cup", "name_es": "taza", "grams_milli": 200_000});
        assert_eq!(with(json!([cup])).expect("a portion").len(), 1);
        let same = json!({"name_en": "cup", "name_es": "cup", "grams_milli": 1});
        assert!(with(json!([same])).is_ok());
        assert!(
            with(json!([cup, same]))
                .expect_err("twice")
                .contains("portions[1].name_en")
        );
        assert!(with(json!([{"name_en": "G", "name_es": "x", "grams_milli": 1}])).is_err());
        assert!(with(json!([{"name_en": "a", "name_es": "b", "grams_milli": 0}])).is_err());
    }
}
