//! Nutrition rules: nutrients, portions, days and the calendar. Every function is pure: no I/O, no async, no clock, no
//! database. Callers pass instants and time zones as values.
//!
//! - [`nutrients`]: amounts as integers, and sums that state how much of them is known.
//! - [`plausibility`]: checks of a food's nutrients per 100 g.
//! - [`portion`]: the status of a completion, and the portion that goes with it.
//! - [`day`]: one day of a follow: planned meals, completions, sums.
//! - [`calendar`]: a member's current date, and the plan day of a date.
//! - [`Words`]: a text in English and Spanish.

pub mod calendar;
pub mod day;
pub mod nutrients;
pub mod plausibility;
pub mod portion;
mod words;

pub use words::Words;
