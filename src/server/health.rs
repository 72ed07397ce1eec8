//! `healthz`: the process is alive. `readyz`: the node can serve; the response shows the state of its dependencies.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::app::{App, For};
use crate::db;
use crate::events::partitions::{self, WARN_BELOW_DAYS};

/// Deadline of the database in a readiness check; shorter than the usual timeout of a probe.
const DATABASE_WITHIN: Duration = Duration::from_secs(2);

/// Mounts both endpoints.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/healthz", web::get().to(show_health))
        .route("/readyz", web::get().to(show_readiness));
}

/// Mounts both endpoints for a server without a database, which is ready as soon as it listens.
pub fn routes_alone(config: &mut web::ServiceConfig) {
    config
        .route("/healthz", web::get().to(show_health))
        .route("/readyz", web::get().to(show_health));
}

async fn show_health() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

async fn show_readiness(app: web::Data<App>) -> HttpResponse {
    let today = app.clock.now().date_naive();
    let ahead = db::within(
        DATABASE_WITHIN,
        app.read(For::SYSTEM, async |conn| Ok(partitions::last_day(conn, today).await?)),
    )
    .await;
    let database = ahead.is_ok();
    // `None` if today has no partition: then no change can be committed.
    let days = ahead.ok().flatten().map(|last| (last - today).num_days());
    let draining = app.hub.is_draining();
    let (sockets, subscriptions) = app.hub.counts();
    let ready = days.is_some() && !draining;
    let mut warnings = Vec::new();
    if database && days.is_none_or(|days| days < WARN_BELOW_DAYS) {
        warnings.push("live_events has partitions for less than 3 days ahead");
    }
    if !app.hub.broker_is_up() {
        warnings.push("Redis is out of reach: changes reach other nodes within a second instead of at once");
    }
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    HttpResponse::build(status).json(json!({
        "status": if ready { "ready" } else { "not ready" },
        "database": database, "draining": draining, "partition_days_ahead": days,
        "broker": app.hub.broker_is_up(), "sockets": sockets, "subscriptions": subscriptions, "warnings": warnings,
    }))
}
