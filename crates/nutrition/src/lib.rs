//! What a nutrition plan knows of food and days. Everything here is a pure function of its arguments: no I/O, no async, no
//! clock, no database. Instants and zones come in as values.
//!
//! - [`nutrients`]: amounts as integers, sums that say what is known of them.
//! - [`plausibility`]: what can be true of 100 g of a food.
//! - [`portion`]: what became of a meal, and how much of it.
//! - [`day`]: a day of a plan as members record it, and its sums.
//! - [`calendar`]: which day it is for a member, and which day of a plan that is.
//! - [`Words`]: a sentence in the languages of the product.

pub mod calendar;
pub mod day;
pub mod nutrients;
pub mod plausibility;
pub mod portion;
mod words;

pub use words::Words;
