//! Rosters: what trainers see of the members they are assigned to, and the changes of that. [`start`] and [`end`] assign and
//! unassign, and tell the screens; [`tend`] closes assignments whose end has come. The rows, and the rights that come with
//! an assignment, are [`crate::assignments`].

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
