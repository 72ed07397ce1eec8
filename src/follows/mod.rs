//! follows

use utoipa_actix_web::service_config::ServiceConfig;

/// Routes.
pub fn routes(_config: &mut ServiceConfig) {}

/// Stub.
#[expect(missing_docs, clippy::unused_async, reason = "stub")]
pub mod live {
    use crate::{auth::Caller, error::Result, events::Access, ids::{AccountId, GymId}};
    use chrono::{DateTime, Utc};
    use diesel_async::AsyncPgConnection;
    use serde_json::Value;
    pub async fn authorise_member(_: &mut AsyncPgConnection, _: &Caller, _: AccountId, _: DateTime<Utc>) -> Result<Access> { Ok(Access::Refused) }
    pub async fn authorise_roster(_: &mut AsyncPgConnection, _: &Caller, _: AccountId, _: DateTime<Utc>) -> Result<Access> { Ok(Access::Refused) }
    pub async fn member_snapshot(_: &mut AsyncPgConnection, _: GymId, _: AccountId, _: DateTime<Utc>) -> Result<Value> { Ok(Value::Null) }
    pub async fn roster_snapshot(_: &mut AsyncPgConnection, _: GymId, _: AccountId, _: DateTime<Utc>) -> Result<Value> { Ok(Value::Null) }
}
