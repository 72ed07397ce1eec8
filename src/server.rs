//! The actix app: middleware in order, nouns mounted, health, shutdown.

use utoipa_actix_web::service_config::ServiceConfig;

use crate::{auth, follows, foods, gyms, meals, plans};

/// Everything under `/api/v1`.
pub fn routes(config: &mut ServiceConfig) {
    auth::routes::routes(config);
    gyms::routes(config);
    foods::routes(config);
    plans::routes(config);
    follows::routes(config);
    meals::routes(config);
}
