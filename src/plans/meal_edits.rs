//! Edits of days and meals: add, change and remove them in the tree.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ingredients::Pantry;
use super::item_edits::{self, NewItem};
use super::model::{Day, Meal, Plan};
use super::rules;
use super::words::Slot;
use crate::error::{Error, Result};
use crate::http::Patch;
use crate::ids::{FoodId, MealId};
use liveplan_nutrition::nutrients::Nutrients;

/// A new meal.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMeal {
    /// Its place in the day.
    pub slot: Slot,
    /// 1 to 200 characters.
    pub title: String,
    /// Minutes after midnight in the follower's time zone.
    #[schema(minimum = 0, maximum = 1439)]
    pub time_min: Option<i32>,
    /// 0 to 999; after the last meal by default.
    #[schema(minimum = 0, maximum = 999)]
    pub position: Option<i32>,
    /// Up to 4,000 characters.
    #[serde(default)]
    pub notes: String,
    /// Up to 40 items.
    #[serde(default)]
    pub items: Vec<NewItem>,
}

/// Changes to a meal; absent fields stay.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MealPatch {
    /// Its place in the day.
    pub slot: Option<Slot>,
    /// 1 to 200 characters.
    pub title: Option<String>,
    /// Minutes after midnight in the follower's time zone; null for no time.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    #[schema(value_type = Option<i32>, minimum = 0, maximum = 1439)]
    pub time_min: Patch<i32>,
    /// 0 to 999.
    #[schema(minimum = 0, maximum = 999)]
    pub position: Option<i32>,
    /// Up to 4,000 characters.
    pub notes: Option<String>,
    /// Replaces all items of the meal; an item with the same food keeps its identifier.
    pub items: Option<Vec<NewItem>>,
}

/// The foods that these items refer to.
pub fn foods(items: &[NewItem]) -> Vec<FoodId> {
    items.iter().map(|item| item.food_id).collect()
}

impl MealPatch {
    fn apply(&self, meal: &mut Meal, pantry: &Pantry) -> Result<()> {
        if let Some(slot) = self.slot {
            meal.slot = slot;
        }
        if let Some(title) = &self.title {
            meal.title = rules::title("title", title)?;
        }
        if let Some(notes) = &self.notes {
            meal.notes = rules::text("notes", notes)?;
        }
        if self.position.is_some() {
            meal.position = rules::position("position", self.position, None)?;
        }
        meal.time_min = rules::time(self.time_min.clone().or(meal.time_min))?;
        if let Some(items) = &self.items {
            meal.items = item_edits::make_all(items, &meal.items, pantry)?;
        }
        Ok(())
    }
}

impl Plan {
    /// Finds a meal of a day.
    ///
    /// # Errors
    /// 404 if the plan has no such day, or the day no such meal.
    pub fn meal_of(&self, day: i32, meal: MealId) -> Result<&Meal> {
        let day = self.day(day).ok_or_else(|| Error::not_found("day"))?;
        day.meals
            .iter()
            .find(|m| m.id == meal)
            .ok_or_else(|| Error::not_found("meal"))
    }

    pub(super) fn day_mut(&mut self, day: i32) -> Result<&mut Day> {
        self.days
            .iter_mut()
            .find(|d| d.number == day)
            .ok_or_else(|| Error::not_found("day"))
    }

    pub(super) fn meal_mut(&mut self, day: i32, meal: MealId) -> Result<&mut Meal> {
        let day = self.day_mut(day)?;
        day.meals
            .iter_mut()
            .find(|m| m.id == meal)
            .ok_or_else(|| Error::not_found("meal"))
    }

    /// Sets a day's title; an empty title removes it.
    pub fn rename_day(&mut self, day: i32, title: &str) -> Result<()> {
        self.day_mut(day)?.title = rules::optional_title("title", title)?;
        Ok(())
    }

    /// Adds a meal to a day.
    pub fn add_meal(&mut self, day: i32, new: &NewMeal, pantry: &Pantry) -> Result<MealId> {
        let day = self.day_mut(day)?;
        let last = day.meals.iter().map(|meal| meal.position).max();
        let meal = Meal {
            id: MealId::new(),
            slot: new.slot,
            title: rules::title("title", &new.title)?,
            time_min: rules::time(new.time_min)?,
            position: rules::position("position", new.position, last)?,
            notes: rules::text("notes", &new.notes)?,
            nutrients: Nutrients::default(),
            items: item_edits::make_all(&new.items, &[], pantry)?,
        };
        let id = meal.id;
        day.meals.push(meal);
        Ok(id)
    }

    /// Changes a meal.
    pub fn update_meal(&mut self, day: i32, meal: MealId, patch: &MealPatch, pantry: &Pantry) -> Result<()> {
        patch.apply(self.meal_mut(day, meal)?, pantry)
    }

    /// Removes a meal with its items.
    pub fn remove_meal(&mut self, day: i32, meal: MealId) -> Result<()> {
        self.meal_of(day, meal)?;
        self.day_mut(day)?.meals.retain(|m| m.id != meal);
        Ok(())
    }
}
