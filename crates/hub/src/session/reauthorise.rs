//! Checks what a connection may still do, when something has changed or a right runs out by itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::start;
use crate::backend::{Ask, Backend, Failure, Standing, Want};
use crate::protocol::close::Close;
use crate::session::connection::Connection;
use crate::session::lifetime::REFRESH_GRACE;

/// How often a check is tried while the database cannot be read.
const ATTEMPTS: u32 = 3;

/// Checks all rights of a connection again: its session and roles, and each subscription. What was held back meanwhile goes out
/// where the right holds. Where they cannot be read, the connection is closed rather than left open.
pub(crate) async fn check_again(backend: Arc<dyn Backend>, connection: Arc<Connection>) {
    for attempt in 1..=ATTEMPTS {
        match check_once(&*backend, &connection).await {
            Ok(()) => {
                connection.checked();
                return;
            }
            Err(failure) => {
                tracing::warn!(connection.id = connection.id, error.cause = ?failure, "cannot check rights again");
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
    // After what others are told of the same change.
    for subscription in refused {
        subscription.revoke();
        connection.forget_this(subscription);
    }
    expire(connection);
    Ok(())
}

/// How a connection ends whose session or roles do not hold; none where they do. With new roles the client comes back with
/// a new token; the end of a session or membership is the end.
pub(crate) const fn ended_by(standing: Standing) -> Option<Close> {
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
