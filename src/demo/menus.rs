//! The menus of the demo's plans: seven days of five meals each, with foods of the starter table by their English
//! names.

use std::collections::HashMap;

use crate::error::Result;
use crate::ids::FoodId;
use crate::plans::{NewItem, NewMeal, Slot};

const TABLE: &str = include_str!("menus.csv");

/// A meal of a plan: one row of the table.
#[derive(Debug, serde::Deserialize)]
pub struct Menu {
    plan: String,
    /// Day of the week; 1 is Monday.
    pub day: i32,
    slot: Slot,
    time: String,
    title: String,
    /// `food:grams;food:grams`.
    items: String,
}

/// Reads the meals of a plan (`a` or `b`), by day and time.
///
/// # Errors
/// If the table is malformed.
pub fn of(plan: &str) -> Result<Vec<Menu>> {
    let mut menus = Vec::new();
    for menu in csv::Reader::from_reader(TABLE.as_bytes()).into_deserialize() {
        let menu: Menu = menu.map_err(|e| anyhow::anyhow!("menus.csv: {e}"))?;
        if menu.plan == plan {
            menus.push(menu);
        }
    }
    Ok(menus)
}

impl Menu {
    /// Converts the row to a meal. `foods` maps names to ids.
    ///
    /// # Errors
    /// If `foods` does not have a food, or the row is malformed.
    pub fn meal(&self, foods: &HashMap<String, FoodId>) -> Result<NewMeal> {
        let wrong = |what: &str| anyhow::anyhow!("menus.csv, {}: {what}", self.title);
        let (hours, minutes) = self.time.split_once(':').ok_or_else(|| wrong("malformed time"))?;
        let number = |text: &str| text.parse::<i32>().map_err(|_| wrong(text));
        let mut items = Vec::new();
        for item in self.items.split(';') {
            let (food, grams) = item.rsplit_once(':').ok_or_else(|| wrong(item))?;
            items.push(NewItem {
                food_id: *foods.get(food).ok_or_else(|| wrong(food))?,
                grams_milli: Some(i64::from(number(grams)?) * 1000),
                quantity_milli: None,
                unit: None,
                position: None,
            });
        }
        Ok(NewMeal {
            slot: self.slot,
            title: self.title.clone(),
            time_min: Some(number(hours)? * 60 + number(minutes)?),
            position: None,
            notes: String::new(),
            items,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foods::starter;

    #[test]
    fn both_plans_have_five_meals_of_known_foods_on_seven_days() {
        let foods = starter::identifiers().expect("the table of foods");
        for plan in ["a", "b"] {
            let menus = of(plan).expect("the table of menus");
            for day in 1..=7 {
                assert_eq!(menus.iter().filter(|menu| menu.day == day).count(), 5, "{plan} {day}");
            }
            for menu in menus {
                assert!(!menu.meal(&foods).expect("a meal").items.is_empty());
            }
        }
    }
}
