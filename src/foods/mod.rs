//! Foods: what 100 g hold, allergens, portions. Shared foods are every gym's and come from tables ([`starter`]); a gym has
//! its own beside them. Plans take a copy of what they use, so that no food changes a plan behind anyone's back.
//!
//! [`rules`]: how foods are named and found; [`search`] finds them. What can be true of one is
//! [`liveplan_nutrition::plausibility`].

mod draft;
pub mod model;
pub mod routes;
pub mod rules;
pub mod search;
pub mod starter;
pub mod store;

pub use model::Food;
pub use routes::routes;
