//! Edits of items: add, change and remove them in the tree.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ingredients::{Amount, GRAMS, Ingredient, Pantry};
use super::model::{Item, Meal, Plan};
use super::rules;
use crate::error::{Error, Result};
use crate::ids::{FoodId, ItemId, MealId};
use liveplan_nutrition::nutrients::Nutrients;

/// A new item: an amount of a food, given as `grams_milli`, or as `quantity_milli` and `unit`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    /// A shared food or one of the gym's own.
    pub food_id: FoodId,
    /// Weight in thousandths of a gram, up to 10 kg.
    #[schema(minimum = 1, maximum = 10_000_000)]
    pub grams_milli: Option<i64>,
    /// Thousandths of a unit.
    #[schema(minimum = 1)]
    pub quantity_milli: Option<i64>,
    /// `g`, or a portion of the food by its English or Spanish name.
    pub unit: Option<String>,
    /// 0 to 999; after the last item by default.
    #[schema(minimum = 0, maximum = 999)]
    pub position: Option<i32>,
}

/// Changes to an item; absent fields stay. `quantity_milli` without `unit` keeps the unit.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemPatch {
    /// Another food; an amount must come with it.
    pub food_id: Option<FoodId>,
    /// Weight in thousandths of a gram, up to 10 kg.
    #[schema(minimum = 1, maximum = 10_000_000)]
    pub grams_milli: Option<i64>,
    /// Thousandths of a unit.
    #[schema(minimum = 1)]
    pub quantity_milli: Option<i64>,
    /// `g`, or a portion of the food by its English or Spanish name.
    pub unit: Option<String>,
    /// 0 to 999.
    #[schema(minimum = 0, maximum = 999)]
    pub position: Option<i32>,
}

impl NewItem {
    /// Builds the item. `at` is the prefix of its fields in the request, `position` its place in the meal.
    pub fn make(&self, at: &str, position: i32, pantry: &Pantry) -> Result<Item> {
        let food = pantry.get(at, self.food_id)?;
        let amount = match (self.grams_milli, self.quantity_milli, &self.unit) {
            (Some(grams), None, None) => Amount::weight(&format!("{at}grams_milli"), grams)?,
            (None, Some(quantity), Some(unit)) => food.amount(at, quantity, unit)?,
            _ => {
                return Err(Error::invalid(
                    format!("{at}grams_milli"),
                    (
                        "either grams_milli, or quantity_milli and unit",
                        "grams_milli, o bien quantity_milli y unit",
                    ),
                ));
            }
        };
        Ok(item(ItemId::new(), position, self.food_id, food, amount))
    }
}

/// Builds the items that replace `old`. An item keeps the identifier of an old one with the same food.
pub(super) fn make_all(new: &[NewItem], old: &[Item], pantry: &Pantry) -> Result<Vec<Item>> {
    let mut left: Vec<&Item> = old.iter().collect();
    let mut made: Vec<Item> = Vec::with_capacity(new.len());
    for (index, new) in new.iter().enumerate() {
        let at = format!("items[{index}].");
        let last = made.last().map(|item| item.position);
        let position = rules::position(&format!("{at}position"), new.position, last)?;
        let mut item = new.make(&at, position, pantry)?;
        if let Some(same) = left.iter().position(|old| old.food_id == item.food_id) {
            item.id = left.remove(same).id;
        }
        made.push(item);
    }
    Ok(made)
}

fn item(id: ItemId, position: i32, food_id: FoodId, food: &Ingredient, amount: Amount) -> Item {
    Item {
        id,
        position,
        food_id,
        name_en: food.name_en.clone(),
        name_es: food.name_es.clone(),
        quantity_milli: amount.quantity_milli,
        unit: amount.unit,
        grams_milli: amount.grams_milli,
        nutrients: Nutrients::for_grams(&food.per_100g, amount.grams_milli),
        allergens: food.allergens.clone(),
        per_100g: food.per_100g.clone(),
    }
}

impl ItemPatch {
    /// The foods that this patch needs to read.
    pub fn foods(&self, current: &Item) -> Vec<FoodId> {
        let food = self.food_id.or_else(|| self.unit.is_some().then_some(current.food_id));
        food.into_iter().collect()
    }

    fn apply(&self, item: &mut Item, pantry: &Pantry) -> Result<()> {
        if self.position.is_some() {
            item.position = rules::position("position", self.position, None)?;
        }
        if let Some(food_id) = self.food_id {
            let (grams_milli, quantity_milli, unit) = (self.grams_milli, self.quantity_milli, self.unit.clone());
            let new = NewItem {
                food_id,
                grams_milli,
                quantity_milli,
                unit,
                position: None,
            };
            *item = Item {
                id: item.id,
                ..new.make("", item.position, pantry)?
            };
            return Ok(());
        }
        // The food stays: keep the nutrients that the item copied, even if the food has changed since.
        let amount = match (self.grams_milli, self.quantity_milli, self.unit.as_deref()) {
            (None, None, None) => return Ok(()),
            (Some(grams), None, None) => Amount::weight("grams_milli", grams)?,
            (None, Some(quantity), Some(GRAMS)) => Amount::weight("quantity_milli", quantity)?,
            (None, Some(quantity), unit) if unit.is_none_or(|unit| unit == item.unit) => Amount::portions(
                "quantity_milli",
                quantity,
                &item.unit,
                item.grams_milli,
                item.quantity_milli,
            )?,
            (None, Some(quantity), Some(unit)) => pantry.get("", item.food_id)?.amount("", quantity, unit)?,
            _ => {
                return Err(Error::invalid(
                    "grams_milli",
                    (
                        "either grams_milli, or quantity_milli and unit",
                        "grams_milli, o bien quantity_milli y unit",
                    ),
                ));
            }
        };
        item.nutrients = Nutrients::for_grams(&item.per_100g, amount.grams_milli);
        (item.quantity_milli, item.unit, item.grams_milli) = (amount.quantity_milli, amount.unit, amount.grams_milli);
        Ok(())
    }
}

impl Meal {
    /// Finds an item of this meal.
    ///
    /// # Errors
    /// 404 if the meal has no such item.
    pub fn item(&self, item: ItemId) -> Result<&Item> {
        self.items
            .iter()
            .find(|i| i.id == item)
            .ok_or_else(|| Error::not_found("item"))
    }
}

impl Plan {
    /// Adds an item to a meal.
    pub fn add_item(&mut self, day: i32, meal: MealId, new: &NewItem, pantry: &Pantry) -> Result<ItemId> {
        let meal = self.meal_mut(day, meal)?;
        let last = meal.items.iter().map(|item| item.position).max();
        let item = new.make("", rules::position("position", new.position, last)?, pantry)?;
        let id = item.id;
        meal.items.push(item);
        Ok(id)
    }

    /// Changes an item.
    pub fn update_item(
        &mut self,
        day: i32,
        meal: MealId,
        item: ItemId,
        patch: &ItemPatch,
        pantry: &Pantry,
    ) -> Result<()> {
        let meal = self.meal_mut(day, meal)?;
        let item = meal
            .items
            .iter_mut()
            .find(|i| i.id == item)
            .ok_or_else(|| Error::not_found("item"))?;
        patch.apply(item, pantry)
    }

    /// Removes an item.
    pub fn remove_item(&mut self, day: i32, meal: MealId, item: ItemId) -> Result<()> {
        let meal = self.meal_mut(day, meal)?;
        meal.item(item)?;
        meal.items.retain(|i| i.id != item);
        Ok(())
    }
}
