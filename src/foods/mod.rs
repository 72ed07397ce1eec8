//! foods

use utoipa_actix_web::service_config::ServiceConfig;

pub mod nutrients;

/// Routes.
pub fn routes(_config: &mut ServiceConfig) {}
