//! How long the database may take, in one table: by Postgres' own clock, and by ours, for a server that vanishes without a word.
//!
//! A transaction whose deadline strikes is dropped where it waits. Its connection counts as broken from then on, so that the pool
//! closes it; Postgres undoes the transaction when it hears of that, or when it has been idle for [`Timeouts::idle`].

use std::future::Future;
use std::time::Duration;

use crate::error::{Code, Error};

/// How long the database may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To make a connection, with its handshake; to get one from the pool; to begin a transaction.
    pub connect: Duration,
    /// For one statement, COMMIT too: Postgres' `statement_timeout`.
    pub statement: Duration,
    /// Between two statements of a transaction: Postgres' `idle_in_transaction_session_timeout`.
    pub idle: Duration,
    /// For a transaction up to COMMIT, and for COMMIT once more, by our own clock. Longer than `statement`, so that Postgres, where
    /// it is there, speaks first.
    pub transaction: Duration,
    /// Until bytes that were sent must be acknowledged by the other machine's kernel (`TCP_USER_TIMEOUT`).
    pub unacknowledged: Duration,
    /// Between keepalive probes of a connection on which nothing is said, of which [`KEEPALIVE_PROBES`] may be lost.
    pub keepalive: Duration,
}

/// Lost keepalive probes after which a connection is given up.
pub const KEEPALIVE_PROBES: u32 = 3;

/// The life of a connection for migrations or for retiring partitions.
pub const MAINTENANCE: Duration = Duration::from_mins(15);
/// `statement_timeout` of such a connection: detaching a partition waits for every transaction that may still read it.
pub const MAINTENANCE_STATEMENT: Duration = Duration::from_mins(10);
/// For what a node reads and writes before it serves, such as the starter foods, and for commands such as `epoch rotate`.
pub const START: Duration = Duration::from_mins(1);
/// For ROLLBACK, after which the connection is closed instead.
pub const ROLLBACK: Duration = Duration::from_secs(2);

impl Timeouts {
    /// With this for a statement, and a third more for a transaction.
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

/// Runs `work` up to a deadline, at which it is dropped. A connection that it had taken is then not used again, since it is in
/// the middle of a transaction. The work has a place of its own in memory, so that the futures of those who wait stay small.
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
    fn our_deadlines_are_longer_than_those_of_postgres() {
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
