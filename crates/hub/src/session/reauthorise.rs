//! Re-authorisation: checks a connection's session, roles and subscriptions again after an access event, or when a
//! right expires.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::start;
use crate::backend::{Ask, Backend, Failure, Standing, Want};
use crate::protocol::close::Close;
use crate::session::connection::Connection;
use crate::session::lifetime::REFRESH_GRACE;

/// Largest number of attempts to read the rights from the database.
const ATTEMPTS: u32 = 3;

/// Re-authorises a connection: its session, its roles, and every subscription. If a right still holds, its subscription
/// sends the publications that it held back. If all `ATTEMPTS` attempts to read the rights fail, closes the connection.
pub(crate) async fn check_again(backend: Arc<dyn Backend>, connection: Arc<Connection>) {
    for attempt in 1..=ATTEMPTS {
        match check_once(&*backend, &connection).await {
            Ok(()) => {
                connection.checked();
                return;
            }
            Err(failure) => {
                tracing::warn!(connection.id = connection.id, error.cause = ?failure, "cannot re-authorise");
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
            }
        }
    }
    connection.close(Close::ServerError);
    connection.checked();
}

async fn check_once(backend: &dyn Backend, connection: &Arc<Connection>) -> Result<(), Failure> {
    let Some(session) = connection.session() else {
        return Ok(());
    };
    let (answered, subscriptions) = (connection.doubts(), connection.subscriptions());
    let right = |channel: &Arc<str>| Ask {
        channel: channel.clone(),
        want: Want::Right,
    };
    let asks: Vec<_> = subscriptions.iter().map(|s| right(&s.channel)).collect();
    let hub = connection.hub();
    let read = backend.read(session.log, Some(&session), &asks, &**hub).await?;
    if let Some(close) = ended_by(read.standing) {
        connection.close(close);
        return Ok(());
    }
    let mut refused = Vec::new();
    for (subscription, answer) in subscriptions.iter().zip(read.answers) {
        if start::granted(connection, answer).is_some() {
            hub.registry().count(subscription.certain(answered));
        } else {
            refused.push(subscription);
        }
    }
    // Last, so that the client's other subscriptions deliver the change before the client is told that some ended.
    for subscription in refused {
        subscription.revoke();
        connection.forget_this(subscription);
    }
    expire(connection);
    Ok(())
}

/// Returns the close for a connection whose roles have changed or whose session or membership has ended; `None` if
/// neither happened. After a change of roles, the client reconnects with a new token; after an end, it does not.
pub(crate) const fn ended_by(standing: Standing) -> Option<Close> {
    match standing {
        Standing::Good => None,
        Standing::RolesChanged => Some(Close::StateInvalidated),
        Standing::SessionEnded | Standing::NotActive => Some(Close::ForceDisconnect),
    }
}

/// Ends the subscriptions whose token expired more than `REFRESH_GRACE` ago, and schedules a check of those
/// that will expire.
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
