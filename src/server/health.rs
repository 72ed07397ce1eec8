//! `healthz`: the process is alive. `readyz`: the node can serve. Everybody learns only whether it is ready; the
//! listener of the metrics shows the state of its dependencies.
//!
//! A background task checks the database, so that no request for readiness costs a transaction.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;
use tokio::time::Instant;

use crate::app::{App, For};
use crate::config::Config;
use crate::db;
use crate::events::partitions::{self, WARN_BELOW_DAYS};
use crate::parts::Part;

/// Interval between two checks.
const EVERY: Duration = Duration::from_secs(1);
/// Deadline of the database in a check.
const DATABASE_WITHIN: Duration = Duration::from_secs(2);
/// Age at which a check no longer counts. Longer than an interval and a deadline, so that only checks that no longer
/// run reach it.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// The last check of the database.
#[derive(Default)]
pub struct Checked(Mutex<Option<Check>>);

#[derive(Clone, Copy)]
struct Check {
    at: Instant,
    database: Database,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Database {
    /// Whether it answered.
    up: bool,
    /// Days after today with a partition for live events; `None` if today has none: then no change can be committed.
    partition_days_ahead: Option<i64>,
}

impl Part for Checked {
    fn new(_: &Config) -> Self {
        Self::default()
    }
}

impl Checked {
    fn set(&self, database: Database, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Check { at, database });
    }

    /// The database as last seen; as down if that was too long ago.
    fn database(&self, now: Instant) -> Database {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|check| now.saturating_duration_since(check.at) < GOOD_FOR)
            .map(|check| check.database)
            .unwrap_or_default()
    }
}

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

/// Mounts `readyz` with its details, for operators.
pub fn detailed_routes(config: &mut web::ServiceConfig) {
    config.route("/readyz", web::get().to(show_details));
}

/// Checks the database once.
pub async fn check(app: &App) {
    let today = app.clock.now().date_naive();
    let last_day = db::within(
        DATABASE_WITHIN,
        app.read(For::SYSTEM, async |conn| Ok(partitions::last_day(conn, today).await?)),
    )
    .await;
    let database = Database {
        up: last_day.is_ok(),
        partition_days_ahead: last_day.ok().flatten().map(|last| (last - today).num_days()),
    };
    app.part::<Checked>().set(database, Instant::now());
}

/// Checks the database every second.
pub async fn tend(app: App) {
    loop {
        tokio::time::sleep(EVERY).await;
        check(&app).await;
    }
}

async fn show_health() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

/// Whether the node can serve, and the state of its database.
fn readiness(app: &App) -> (bool, Database) {
    let database = app.part::<Checked>().database(Instant::now());
    let ready = database.partition_days_ahead.is_some() && !app.hub.is_draining();
    (ready, database)
}

fn said(ready: bool) -> (StatusCode, &'static str) {
    if ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    }
}

async fn show_readiness(app: web::Data<App>) -> HttpResponse {
    let (status, word) = said(readiness(&app).0);
    HttpResponse::build(status).json(json!({"status": word}))
}

async fn show_details(app: web::Data<App>) -> HttpResponse {
    let (ready, database) = readiness(&app);
    let (status, word) = said(ready);
    let (sockets, subscriptions) = app.hub.counts();
    let mut warnings = Vec::new();
    if database.up && database.partition_days_ahead.is_none_or(|days| days < WARN_BELOW_DAYS) {
        warnings.push("live_events has partitions for less than 3 days ahead");
    }
    if !app.hub.broker_is_up() {
        warnings.push("Redis is out of reach: changes reach other nodes within a second instead of at once");
    }
    HttpResponse::build(status).json(json!({
        "status": word, "database": database.up, "draining": app.hub.is_draining(),
        "partition_days_ahead": database.partition_days_ahead, "broker": app.hub.broker_is_up(),
        "sockets": sockets, "subscriptions": subscriptions, "warnings": warnings,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_counts_until_it_is_too_old() {
        let (checked, start) = (Checked::default(), Instant::now());
        assert_eq!(checked.database(start), Database::default(), "there was no check");
        let up = Database {
            up: true,
            partition_days_ahead: Some(14),
        };
        checked.set(up, start);
        assert_eq!(checked.database(start + GOOD_FOR - Duration::from_millis(1)), up);
        assert_eq!(checked.database(start + GOOD_FOR), Database::default());
    }
}
