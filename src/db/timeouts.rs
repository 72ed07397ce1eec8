//! All timeouts of the database in one place: those that Postgres enforces, and ours, for a server that stops
//! answering.
//!
//! When a transaction's deadline passes, its future is dropped. The connection then counts as broken, so the pool
//! closes it. Postgres rolls the transaction back when it notices the close, or after [`Timeouts::idle`].

use std::future::Future;
use std::time::Duration;

use crate::error::{Code, Error};

/// Timeouts of connections, statements and transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For each of: opening a connection with its handshake, taking one from the pool, beginning a transaction.
    pub connect: Duration,
    /// For one statement, including COMMIT: the `statement_timeout` of Postgres.
    pub statement: Duration,
    /// Between two statements of a transaction: the `idle_in_transaction_session_timeout` of Postgres.
    pub idle: Duration,
    /// For a transaction up to COMMIT, and again for COMMIT, by our own clock. Longer than `statement`, so that a
    /// reachable Postgres reports its own timeout first.
    pub transaction: Duration,
    /// Until the peer's kernel must have acknowledged sent bytes (`TCP_USER_TIMEOUT`).
    pub unacknowledged: Duration,
    /// Between TCP keepalive probes on an idle connection; [`KEEPALIVE_PROBES`] lost probes close it.
    pub keepalive: Duration,
}

/// Number of lost keepalive probes after which a connection is closed.
pub const KEEPALIVE_PROBES: u32 = 3;

/// Lifetime of a connection for migrations or for retiring partitions.
pub const MAINTENANCE: Duration = Duration::from_mins(15);
/// `statement_timeout` of such a connection: detaching a partition waits for every transaction that may still read it.
pub const MAINTENANCE_STATEMENT: Duration = Duration::from_mins(10);
/// For the reads and writes of a node before it serves, such as the starter foods, and for commands such as
/// `epoch rotate`.
pub const START: Duration = Duration::from_mins(1);
/// For ROLLBACK, after which the connection is closed instead.
pub const ROLLBACK: Duration = Duration::from_secs(2);

impl Timeouts {
    /// The defaults, with this timeout for a statement and a third more for a transaction.
    #[must_use]
    pub fn with_statement(statement: Duration) -> Self {
        Self {
            connect: Duration::from_secs(5),
            statement,
            idle: Duration::from_secs(30),
            transaction: statement.saturating_add(statement / 3),
            unacknowledged: Duration::from_secs(10),
            keepalive: Duration::from_secs(5),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::with_statement(Duration::from_secs(15))
    }
}

/// The database did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the database did not answer within {0:?}")]
pub struct Overdue(Duration);

impl From<Overdue> for Error {
    fn from(overdue: Overdue) -> Self {
        Self::new(Code::Unavailable).caused_by(overdue)
    }
}

/// Runs `work` and drops it at the deadline. The pool then closes a connection that `work` had taken, because it is
/// still in a transaction. `work` is boxed, so that the futures of callers stay small.
pub fn within<T, E: From<Overdue>>(
    deadline: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    let work = Box::pin(work);
    async move {
        match tokio::time::timeout(deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(Overdue(deadline).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_deadlines_are_longer_than_the_timeouts_of_postgres() {
        for statement in [
            Duration::from_millis(1),
            Duration::from_secs(15),
            Duration::from_hours(1),
        ] {
            let timeouts = Timeouts::with_statement(statement);
            assert!(timeouts.transaction > timeouts.statement, "{timeouts:?}");
        }
        const { assert!(MAINTENANCE.as_secs() > MAINTENANCE_STATEMENT.as_secs()) }
    }
}
