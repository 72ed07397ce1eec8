//! What a failed statement means, without its words: whether the server is going away, and whether another attempt may help.
//!
//! Postgres says both by SQLSTATE, but the driver (diesel-async 0.9) hands on eight states only, as a
//! `DatabaseErrorKind`. Deadlocks (40P01) and shutdowns (57P01 to 57P03) come as `DatabaseErrorKind::Unknown`, with a
//! message in the server's language: `lc_messages`, which only a superuser may set for a session. So no message is read:
//!
//! - **Going away**: Postgres ends the connection after such an error, and after no other. [`undo`] asks the connection.
//! - **Deadlock**: nothing is kept of a transaction that failed before COMMIT, so another attempt is sound after any error,
//!   and [`may_pass`] allows it after all that have no kind. A fault of ours is found twice more, and told then.
//!
//! The mend upstream is two more arms in the driver's `from_tokio_postgres_error`: 40P01 as `SerializationFailure`, and
//! 57P01 to 57P03 as `ClosedConnection`. With it, neither rule here needs `Unknown`.

use std::time::Duration;

use diesel::result::{DatabaseErrorKind as Kind, Error as DieselError};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};

use super::{rollback, timeouts};
use crate::error::{Code, Error};

/// Undoes a transaction that failed with `error`. Returns the error, as [`Code::Unavailable`] where the connection is gone.
pub async fn undo(conn: &mut AsyncPgConnection, mut error: Error) -> Error {
    rollback(conn).await;
    if has_no_kind(&error) && is_gone(conn).await {
        error.code = Code::Unavailable;
    }
    error
}

/// Whether another attempt at a transaction that failed before COMMIT, `after` it began, may succeed. Not where the first
/// took as long as a statement may: that was no deadlock, which Postgres finds within seconds, and more load is no cure.
#[must_use]
pub fn may_pass(error: &Error, after: Duration, statement_timeout: Duration) -> bool {
    match error.cause() {
        Some(DieselError::DatabaseError(Kind::SerializationFailure, _)) => true,
        // One that is `Unavailable` is a connection's end.
        Some(DieselError::DatabaseError(Kind::Unknown, _)) => error.code == Code::Internal && after < statement_timeout,
        _ => false,
    }
}

fn has_no_kind(error: &Error) -> bool {
    matches!(error.cause(), Some(DieselError::DatabaseError(Kind::Unknown, _)))
}

/// Whether nothing can be asked on the connection any more.
async fn is_gone(conn: &mut AsyncPgConnection) -> bool {
    let asked = tokio::time::timeout(timeouts::ROLLBACK, conn.batch_execute("")).await;
    !matches!(asked, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATEMENT: Duration = Duration::from_secs(15);

    fn failed(kind: Kind) -> Error {
        DieselError::DatabaseError(kind, Box::new("se ha detectado un deadlock".to_owned())).into()
    }

    #[test]
    fn an_error_without_a_kind_is_worth_another_attempt_within_the_time_of_a_statement() {
        let second = Duration::from_secs(1);
        assert!(may_pass(&failed(Kind::Unknown), second, STATEMENT));
        assert!(!may_pass(&failed(Kind::Unknown), STATEMENT, STATEMENT));
        assert!(may_pass(&failed(Kind::SerializationFailure), STATEMENT, STATEMENT));
    }

    #[test]
    fn what_is_refused_or_has_no_connection_is_not_tried_again() {
        let mut gone = failed(Kind::Unknown);
        gone.code = Code::Unavailable;
        let refused = [
            failed(Kind::ForeignKeyViolation),
            failed(Kind::ClosedConnection),
            Error::new(Code::Conflict),
            Error::new(Code::Internal),
            gone,
        ];
        for error in refused {
            assert!(!may_pass(&error, Duration::ZERO, STATEMENT), "{error:?}");
        }
    }
}
