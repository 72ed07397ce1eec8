//! Foods: nutrients per 100 g, allergens and portions. Shared foods belong to every gym and come from a table that
//! ships with the server ([`starter`]); each gym adds foods of its own. A plan's items copy what they use from a food,
//! so that editing a food never changes a plan.
//!
//! [`rules`] checks barcodes and normalises names, [`search`] searches. [`liveplan_nutrition::plausibility`] decides
//! which nutrient amounts are possible.

mod draft;
pub mod model;
pub mod routes;
pub mod rules;
pub mod search;
pub mod starter;
pub mod store;

pub use model::Food;
pub use routes::routes;
