//! Plans: the tree of days, meals and items that members follow, its revisions, and the channel that shows it live.
//!
//! Other folders may use [`Plan`] and its parts, [`tree::read`] for any state of a plan, `may_read`, `find_readable`
//! and `live`. `edit` performs every write: it locks the plan, changes the tree in memory, writes the difference and
//! emits one event. `history` keeps every revision readable. [`crate::follows`] owns who follows a plan.

mod access;
pub mod day;
pub mod edit;
mod history;
mod ingredients;
mod item_edits;
pub mod live;
mod lookups;
mod meal_edits;
mod model;
mod plan_edits;
mod routes;
mod rules;
mod store;
pub mod tree;
mod words;

pub use access::{find_readable, may_read};
pub use item_edits::{ItemPatch, NewItem};
pub use lookups::Lookups;
pub use meal_edits::{MealPatch, NewMeal};
pub use model::{Allergens, Day, Item, Meal, Plan, PlanSummary, Target};
pub use plan_edits::{NewPlan, NewTarget, PlanPatch, TargetPatch, insert, insert_published};
pub use routes::routes;
pub use store::any;
pub use tree::Revision;
pub use words::{Cycle, Goal, Kind, Slot, Source, Status, Visibility};
