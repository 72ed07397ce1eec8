//! Classifies a failed statement without reading its message: is the server shutting down, and may a retry succeed?
//!
//! Postgres answers both with the SQLSTATE, but the driver (diesel-async 0.9) passes on eight states only, as
//! [`DatabaseErrorKind`](Kind). Deadlocks (40P01) and shutdowns (57P01 to 57P03) arrive as [`Kind::Unknown`], with a
//! message in the server's language (`lc_messages`, which only a superuser may set for a session). Instead of the
//! message:
//!
//! - **Shutdown**: Postgres closes the connection after such an error and after no other, so [`undo`] tests the
//!   connection.
//! - **Deadlock**: nothing remains of a transaction that failed before COMMIT, so a retry is safe after any error.
//!   [`may_pass`] allows one after every error without a kind. A bug of ours fails again and is reported after the
//!   retries.
//!
//! The fix upstream is two more arms in the driver's `from_tokio_postgres_error`: 40P01 as `SerializationFailure`, and
//! 57P01 to 57P03 as `ClosedConnection`. With it, neither rule here needs `Unknown`.

use std::time::Duration;

use diesel::result::{DatabaseErrorKind as Kind, Error as DieselError};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};

use super::{rollback, timeouts};
use crate::error::{Code, Error};

/// Rolls back a transaction that failed with `error`. Returns the error, as [`Code::Unavailable`] if the connection is
/// lost.
pub async fn undo(conn: &mut AsyncPgConnection, mut error: Error) -> Error {
    rollback(conn).await;
    if has_no_kind(&error) && is_gone(conn).await {
        error.code = Code::Unavailable;
    }
    error
}

/// Whether a retry of a transaction may succeed, if it failed before COMMIT, `after` its start. An attempt that lasted
/// a whole `statement_timeout` was overload and no deadlock (Postgres detects one within seconds); a retry would add
/// load.
#[must_use]
pub fn may_pass(error: &Error, after: Duration, statement_timeout: Duration) -> bool {
    match error.cause() {
        Some(DieselError::DatabaseError(Kind::SerializationFailure, _)) => true,
        // `undo` has marked a lost connection as `Unavailable`.
        Some(DieselError::DatabaseError(Kind::Unknown, _)) => error.code == Code::Internal && after < statement_timeout,
        _ => false,
    }
}

fn has_no_kind(error: &Error) -> bool {
    matches!(error.cause(), Some(DieselError::DatabaseError(Kind::Unknown, _)))
}

/// Whether the connection no longer answers.
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
    fn an_error_without_a_kind_is_retried_unless_it_took_a_statement_timeout() {
        let second = Duration::from_secs(1);
        assert!(may_pass(&failed(Kind::Unknown), second, STATEMENT));
        assert!(!may_pass(&failed(Kind::Unknown), STATEMENT, STATEMENT));
        assert!(may_pass(&failed(Kind::SerializationFailure), STATEMENT, STATEMENT));
    }

    #[test]
    fn a_refusal_or_a_lost_connection_is_not_retried() {
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
