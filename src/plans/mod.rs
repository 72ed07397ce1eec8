//! plans

use utoipa_actix_web::service_config::ServiceConfig;

/// Routes.
pub fn routes(_config: &mut ServiceConfig) {}

/// Stub.
#[expect(missing_docs, clippy::unused_async, reason = "stub")]
pub mod live {
    use crate::{auth::Caller, error::Result, events::Access, ids::{PlanId, GymId}};
    use chrono::{DateTime, Utc};
    use diesel_async::AsyncPgConnection;
    use serde_json::Value;
    pub async fn authorise(_: &mut AsyncPgConnection, _: &Caller, _: PlanId, _: DateTime<Utc>) -> Result<Access> { Ok(Access::Refused) }
    pub async fn snapshot(_: &mut AsyncPgConnection, _: GymId, _: PlanId) -> Result<Value> { Ok(Value::Null) }
}
