//! foods

use utoipa_actix_web::service_config::ServiceConfig;

pub mod nutrients;

/// Routes.
pub fn routes(_config: &mut ServiceConfig) {}

/// Stub.
#[expect(missing_docs, clippy::unused_async, reason = "stub")]
pub mod starter {
    pub async fn load(
        _: &mut diesel_async::AsyncPgConnection,
        _: chrono::DateTime<chrono::Utc>,
    ) -> diesel::QueryResult<()> {
        Ok(())
    }
}
