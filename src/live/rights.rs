//! Checks what a connection may still do, when something has changed or a right runs out by itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::{Connection, REFRESH_GRACE};
use super::protocol::close::Close;
use crate::app::{App, For};
use crate::auth::access::Standing;
use crate::error::Result;
use crate::events::Access;

/// How often a check is tried while the database cannot be read.
const ATTEMPTS: u32 = 3;

/// Checks all rights of a connection again: its session and roles, and each subscription. Where they cannot be read, the
/// connection is closed rather than left open.
pub(super) async fn check_again(app: App, connection: Arc<Connection>) {
    for attempt in 1..=ATTEMPTS {
        match check_once(&app, &connection).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(connection.id = connection.id, error.cause = ?error, "cannot check rights again");
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
            }
        }
    }
    connection.close(Close::ServerError);
}

async fn check_once(app: &App, connection: &Arc<Connection>) -> Result<()> {
    let Some(session) = connection.session() else {
        return Ok(());
    };
    let caller = session.caller;
    let table = connection.hub().table();
    let subscriptions = connection.subscriptions();
    let (standing, refused) = app
        .read(For::gym(caller.gym), async |conn| {
            let now = app.clock.now();
            let standing = (table.standing)(conn, &caller, now).await?;
            let mut refused = Vec::new();
            for subscription in &subscriptions {
                match (table.authorise)(conn, &caller, &subscription.channel, now).await? {
                    Access::Refused => refused.push(subscription.clone()),
                    Access::Granted { until: Some(until) } => {
                        let left = (until - now).to_std().unwrap_or_default();
                        connection.authorise_at(Instant::now() + left + Duration::from_millis(1));
                    }
                    Access::Granted { until: None } => {}
                }
            }
            Ok((standing, refused))
        })
        .await?;
    match ended_by(standing) {
        None => {
            for subscription in refused {
                subscription.revoke();
                connection.forget_this(&subscription);
            }
            expire(connection);
        }
        Some(close) => connection.close(close),
    }
    Ok(())
}

/// How a connection ends whose session or roles do not hold; none where they do. With new roles the client comes back with
/// a new token; the end of a session or membership is the end.
pub(super) const fn ended_by(standing: Standing) -> Option<Close> {
    match standing {
        Standing::Good => None,
        Standing::RolesChanged => Some(Close::StateInvalidated),
        Standing::SessionEnded | Standing::NotActive => Some(Close::ForceDisconnect),
    }
}

/// Ends the subscriptions whose token has run out, and comes back for those that will.
fn expire(connection: &Connection) {
    let now = Instant::now();
    for subscription in connection.subscriptions() {
        match subscription.expires_at().map(|at| at + REFRESH_GRACE) {
            Some(at) if at <= now => {
                subscription.expire();
                connection.forget_this(&subscription);
            }
            Some(at) => connection.authorise_at(at + Duration::from_millis(1)),
            None => {}
        }
    }
}
