//! Nutrition rules: nutrients, portions, days, the calendar, and what a person may follow. Every function is pure: no
//! I/O, no async, no clock, no database. Callers pass instants and time zones as values.
//!
//! - [`nutrients`]: amounts as integers, and sums that state how much of them is known.
//! - [`plausibility`]: checks of a food's nutrients per 100 g.
//! - [`portion`]: the status of a completion, and the portion that goes with it.
//! - [`day`]: one day of a follow: planned meals, completions, sums.
//! - [`calendar`]: a member's current date, and the plan day of a date.
//! - [`allergens`]: allergens of foods and allergies of people.
//! - [`body`]: body mass index, also by age for minors.
//! - [`energy`]: the energy that a person uses at rest and in all.
//! - [`targets`]: suggested bands of energy and macronutrients for a goal.
//! - [`medicines`]: what medicines mean for an eating plan.
//! - [`screening`]: the questionnaire, its rules and levels.
//! - [`gates`]: one plan compared with one person.
//! - [`urgent`]: whom to call at once, by country.
//! - [`Words`]: a text in English and Spanish.
//!
//! What a dietitian may want to change is data beside the code: `screening/rules-v1.ini`, `gates/gates-v1.ini`,
//! `medicines/medicines-v1.ini` and `urgent-v1.ini`.

pub mod allergens;
pub mod body;
pub mod calendar;
pub mod day;
pub mod energy;
pub mod gates;
pub mod medicines;
mod names;
pub mod nutrients;
pub mod plausibility;
pub mod portion;
pub mod screening;
mod sections;
pub mod targets;
mod text;
pub mod urgent;
mod words;

pub use words::Words;
