//! What an item copies from its food: names, nutrients, allergens and the weight of a portion, as they are at that
//! moment.

use std::collections::HashMap;

use diesel::QueryableByName;
use diesel::sql_types::{Array, Jsonb, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Deserialize;
use serde_json::Value;

use super::model::Allergens;
use super::rules;
use crate::db::json::Json;
use crate::error::{Error, Result, Said};
use crate::ids::{FoodId, GymId};
use liveplan_nutrition::nutrients::Nutrients;

/// The unit that measures by weight.
pub const GRAMS: &str = "g";

/// A food as an item stores it.
#[derive(Clone, Debug)]
pub struct Ingredient {
    /// English name.
    pub name_en: String,
    /// Spanish name.
    pub name_es: String,
    /// Nutrients per 100 g.
    pub per_100g: Nutrients,
    /// Allergens by code.
    pub allergens: Allergens,
    /// The portions that a quantity may be given in.
    pub portions: Vec<Portion>,
}

/// A portion of a food.
#[derive(Clone, Debug, Deserialize)]
pub struct Portion {
    /// English name.
    pub name_en: String,
    /// Spanish name.
    pub name_es: String,
    /// Thousandths of a gram.
    pub grams_milli: i64,
}

/// Foods read ahead for an edit, by identifier.
#[derive(Clone, Debug, Default)]
pub struct Pantry(HashMap<FoodId, Ingredient>);

/// The amount of a food in an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Thousandths of a unit.
    pub quantity_milli: i64,
    /// `g`, or the name of a portion.
    pub unit: String,
    /// Thousandths of a gram.
    pub grams_milli: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlUuid)]
    id: FoodId,
    #[diesel(sql_type = Text)]
    name_en: String,
    #[diesel(sql_type = Text)]
    name_es: String,
    #[diesel(sql_type = Jsonb, deserialize_as = Json<Nutrients>)]
    per_100g: Nutrients,
    #[diesel(sql_type = Jsonb)]
    allergens: Value,
    #[diesel(sql_type = Jsonb)]
    portions: Value,
}

/// The nutrients of either table of foods, without unknown amounts.
const NUTRIENTS: &str = "jsonb_strip_nulls(jsonb_build_object(
    'energy_mkcal', energy_mkcal, 'protein_mg', protein_mg, 'carbohydrate_mg', carbohydrate_mg, 'sugars_mg', sugars_mg,
    'fibre_mg', fibre_mg, 'fat_mg', fat_mg, 'saturated_fat_mg', saturated_fat_mg, 'sodium_mg', sodium_mg,
    'alcohol_mg', alcohol_mg, 'potassium_mg', potassium_mg, 'vitamin_k_ng', vitamin_k_ng)) AS per_100g";

/// Reads foods: shared ones and the gym's own. Foods of another gym are absent from the result.
pub async fn stock(conn: &mut AsyncPgConnection, gym: GymId, foods: Vec<FoodId>) -> Result<Pantry> {
    if foods.is_empty() {
        return Ok(Pantry::default());
    }
    let rows: Vec<Row> = diesel::sql_query(format!(
        "SELECT id, name_en, name_es, {NUTRIENTS}, allergens, portions FROM foods WHERE id = ANY($1)
         UNION ALL
         SELECT id, name_en, name_es, {NUTRIENTS}, allergens, portions FROM gym_foods WHERE gym_id = $2 AND id = ANY($1)"
    ))
    .bind::<Array<SqlUuid>, _>(foods)
    .bind::<SqlUuid, _>(gym)
    .load(conn)
    .await?;
    let mut pantry = Pantry::default();
    for row in rows {
        let unreadable = |e: serde_json::Error| anyhow::anyhow!("food {} cannot be read: {e}", row.id);
        let ingredient = Ingredient {
            name_en: row.name_en,
            name_es: row.name_es,
            per_100g: row.per_100g,
            allergens: serde_json::from_value(row.allergens).map_err(unreadable)?,
            portions: serde_json::from_value(row.portions).map_err(unreadable)?,
        };
        pantry.0.insert(row.id, ingredient);
    }
    Ok(pantry)
}

impl Pantry {
    /// Finds a food; `at` is the prefix of the field in the request, for the error.
    pub fn get(&self, at: &str, food: FoodId) -> Result<&Ingredient> {
        self.0.get(&food).ok_or_else(|| {
            Error::invalid(
                format!("{at}food_id"),
                ("there is no such food", "no existe ese alimento"),
            )
        })
    }
}

#[cfg(test)]
impl FromIterator<(FoodId, Ingredient)> for Pantry {
    fn from_iter<I: IntoIterator<Item = (FoodId, Ingredient)>>(foods: I) -> Self {
        Self(foods.into_iter().collect())
    }
}

impl Ingredient {
    /// Converts `quantity_milli` thousandths of `unit` to a weight. The unit is `g` or a portion of this food by either
    /// name.
    pub fn amount(&self, at: &str, quantity_milli: i64, unit: &str) -> Result<Amount> {
        if unit.trim() == GRAMS {
            return Amount::weight(&format!("{at}quantity_milli"), quantity_milli);
        }
        let wanted = unit.trim().to_lowercase();
        let named = self.portions.iter().find_map(|portion| {
            let names = [&portion.name_en, &portion.name_es];
            names
                .into_iter()
                .find(|name| name.to_lowercase() == wanted)
                .map(|name| (name, portion.grams_milli))
        });
        let (name, grams) = named.ok_or_else(|| Error::invalid(format!("{at}unit"), self.units()))?;
        Amount::portions(&format!("{at}quantity_milli"), quantity_milli, name, grams, 1000)
    }

    /// The list of units that this food accepts, as the reason of an error.
    fn units(&self) -> Said {
        let names = self
            .portions
            .iter()
            .flat_map(|p| [p.name_en.as_str(), p.name_es.as_str()]);
        let units = std::iter::once(GRAMS).chain(names).collect::<Vec<_>>().join(", ");
        (format!("one of {units}"), format!("una de {units}")).into()
    }
}

impl Amount {
    /// A weight in thousandths of a gram.
    pub fn weight(field: &str, grams_milli: i64) -> Result<Self> {
        let grams_milli = rules::weight(field, grams_milli)?;
        Ok(Self {
            quantity_milli: grams_milli,
            unit: GRAMS.into(),
            grams_milli,
        })
    }

    /// `quantity_milli` of a unit of which `of_milli` weigh `grams_milli`; the weight is rounded half up.
    pub fn portions(field: &str, quantity_milli: i64, unit: &str, grams_milli: i64, of_milli: i64) -> Result<Self> {
        if quantity_milli <= 0 {
            return Err(Error::invalid(field, ("more than 0", "mayor que 0")));
        }
        let of = i128::from(of_milli.max(1));
        let grams = (i128::from(quantity_milli) * i128::from(grams_milli) + of / 2) / of;
        let grams_milli = rules::weight(field, i64::try_from(grams).unwrap_or(i64::MAX))?;
        Ok(Self {
            quantity_milli,
            unit: unit.into(),
            grams_milli,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rice() -> Ingredient {
        Ingredient {
            name_en: "Rice".into(),
            name_es: "Arroz".into(),
            per_100g: Nutrients::default(),
            allergens: Allergens::new(),
            portions: vec![Portion {
                name_en: "cup".into(),
                name_es: "taza".into(),
                grams_milli: 200_000,
            }],
        }
    }

    #[test]
    fn a_portion_may_be_named_in_either_language() {
        for (unit, kept) in [("cup", "cup"), (" Taza", "taza")] {
            let amount = rice().amount("", 1500, unit).expect("an amount");
            assert_eq!((amount.unit.as_str(), amount.grams_milli), (kept, 300_000));
        }
        let grams = rice().amount("", 1500, "g").expect("an amount");
        assert_eq!((grams.quantity_milli, grams.grams_milli), (1500, 1500));
    }

    #[test]
    fn unknown_units_and_quantities_out_of_range_are_refused() {
        let refusal = |quantity, unit| {
            rice()
                .amount("items[2].", quantity, unit)
                .expect_err("refused")
                .to_string()
        };
        assert!(refusal(1000, "bowl").contains("items[2].unit"));
        assert!(refusal(0, "cup").contains("items[2].quantity_milli"));
        assert!(refusal(-1, "g").contains("items[2].quantity_milli"));
        assert!(refusal(50_001, "cup").contains("10 kg"));
        assert!(refusal(i64::MAX, "cup").contains("10 kg"));
    }
}
