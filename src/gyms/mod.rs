//! gyms

use utoipa_actix_web::service_config::ServiceConfig;

/// Routes.
pub fn routes(_config: &mut ServiceConfig) {}

/// Stub.
#[expect(missing_docs, clippy::unused_async, reason = "stub")]
pub mod store {
    use crate::ids::{AccountId, GymId};
    pub async fn trainers_of(_: &mut diesel_async::AsyncPgConnection, _: GymId, _: AccountId, _: chrono::DateTime<chrono::Utc>) -> diesel::QueryResult<Vec<AccountId>> { Ok(vec![]) }
}
/// Stub.
#[expect(missing_docs, reason = "stub")]
pub struct NewGym { pub slug: String, pub name: String, pub time_zone: String, pub locale: String, pub owner_email: String, pub owner_name: String, pub password: String }
/// Stub.
#[expect(clippy::unused_async, reason = "stub")]
pub async fn create(_: &crate::app::App, _: NewGym) -> crate::error::Result<crate::ids::GymId> { Ok(crate::ids::GymId::new()) }
