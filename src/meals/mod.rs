//! meals

use utoipa_actix_web::service_config::ServiceConfig;

/// Routes.
pub fn routes(_config: &mut ServiceConfig) {}

#[expect(missing_docs, clippy::unused_async, reason = "stub")]
pub async fn rpc_complete(_: &crate::app::App, _: &crate::auth::Caller, _: serde_json::Value) -> crate::error::Result<String> { Ok(String::new()) }
#[expect(missing_docs, clippy::unused_async, reason = "stub")]
pub async fn rpc_undo(_: &crate::app::App, _: &crate::auth::Caller, _: serde_json::Value) -> crate::error::Result<String> { Ok(String::new()) }
