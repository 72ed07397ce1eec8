//! Rosters: the members that a trainer is assigned to, as the trainer sees them. [`start`] and [`end`] start and end
//! assignments and publish events to the rosters; [`tend`] closes assignments whose end has passed. The rows and the
//! rights of assignments are in [`crate::assignments`].

mod assign;
pub mod live;
mod routes;

use utoipa_actix_web::service_config::ServiceConfig;

pub use assign::{close_due, end, start, tend};

/// Mounts the routes.
pub fn routes(config: &mut ServiceConfig) {
    config.service(routes::find_roster);
    assign::routes(config);
}
