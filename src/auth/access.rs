//! Checks a token's access: the session has not ended, the membership is active, and the roles are those of the token.
//!
//! A read checks once, in its snapshot. A change checks twice, since access may end while it waits for a lock: as its
//! first statement, and as its last one ([`recheck`]), under locks that no revocation can pass before the COMMIT.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::Caller;
use crate::db::statement::{Bind as _, Statement, statement};
use crate::error::{Code, Error, Result};
use crate::events::{Kept, Tx};
use crate::ids::{AccountId, SessionId};

/// A token's claims about access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessClaim {
    /// The account that the token names.
    pub account: AccountId,
    /// The session it was issued in.
    pub session: SessionId,
    /// The version of the membership's roles and status when it was issued.
    pub access_version: i64,
}

/// The current validity of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The claim is valid.
    Good,
    /// The roles have changed; a new token will be valid.
    RolesChanged,
    /// The session has ended or expired.
    SessionEnded,
    /// The membership is not active.
    NotActive,
}

#[derive(QueryableByName)]
struct SessionRow {
    #[diesel(sql_type = SqlUuid)]
    session: SessionId,
    #[diesel(sql_type = SqlUuid)]
    account: AccountId,
    #[diesel(sql_type = Bool)]
    open: bool,
    #[diesel(sql_type = Bool)]
    active: bool,
    #[diesel(sql_type = BigInt)]
    access_version: i64,
}

impl SessionRow {
    fn standing(&self, claim: &AccessClaim) -> Standing {
        if self.account != claim.account {
            Standing::SessionEnded
        } else if !self.active {
            Standing::NotActive
        } else if !self.open {
            Standing::SessionEnded
        } else if self.access_version != claim.access_version {
            Standing::RolesChanged
        } else {
            Standing::Good
        }
    }
}

macro_rules! sessions {
    ($tail:literal) => {
        statement(concat!(
            "SELECT s.id AS session, s.account_id AS account, s.ended_at IS NULL AND s.expires_at > $ AS open,
                    m.status = 'active' AS active, m.access_version
             FROM sessions s JOIN memberships m USING (gym_id, account_id) WHERE s.id = ANY($)",
            $tail
        ))
    };
}

const FIND: Statement = sessions!("");
/// Locks rows in the same order as a suspension does, the membership before the session, so that two changes cannot
/// deadlock. The locks are as strong as those of a later UPDATE: if two changes held share locks and each updated, they
/// would deadlock.
const HOLD: Statement = sessions!(" ORDER BY s.id FOR NO KEY UPDATE OF m, s");

/// The standings of claims, in the order of `claims`, in a transaction that sees their gym.
pub async fn standings(
    conn: &AsyncPgConnection,
    claims: &[AccessClaim],
    now: DateTime<Utc>,
) -> QueryResult<Vec<Standing>> {
    look(FIND, conn, claims, now).await
}

async fn look(
    sessions: Statement,
    mut conn: &AsyncPgConnection,
    claims: &[AccessClaim],
    now: DateTime<Utc>,
) -> QueryResult<Vec<Standing>> {
    let ids: Vec<_> = claims.iter().map(|c| c.session).collect();
    let rows: Vec<SessionRow> = sessions
        .bind::<Timestamptz, _>(now)
        .bind::<Array<SqlUuid>, _>(ids)
        .load(&mut conn)
        .await?;
    let rows: HashMap<_, _> = rows.into_iter().map(|row| (row.session, row)).collect();
    let standing = |claim: &AccessClaim| match rows.get(&claim.session) {
        None => Standing::SessionEnded,
        Some(row) => row.standing(claim),
    };
    Ok(claims.iter().map(standing).collect())
}

/// The standing of a claim, in a transaction that sees its gym.
pub async fn standing(conn: &mut AsyncPgConnection, claim: &AccessClaim, now: DateTime<Utc>) -> Result<Standing> {
    let found = standings(conn, std::slice::from_ref(claim), now).await?;
    Ok(found.into_iter().next().unwrap_or(Standing::SessionEnded))
}

/// Refuses an invalid claim.
pub async fn check(conn: &mut AsyncPgConnection, claim: &AccessClaim, now: DateTime<Utc>) -> Result<()> {
    match standing(conn, claim, now).await? {
        Standing::Good => Ok(()),
        _ => Err(Error::new(Code::SessionEnded)),
    }
}

/// Refuses a change if one of its claims has become invalid since it was checked. Runs as the change's last statement.
pub async fn recheck(conn: &AsyncPgConnection, claims: &[AccessClaim], now: DateTime<Utc>, kept: Kept) -> Result<()> {
    let sessions = match kept {
        Kept::ByLog => FIND,
        Kept::ByRows => HOLD,
    };
    let found = look(sessions, conn, claims, now).await?;
    if found.into_iter().all(|standing| standing == Standing::Good) {
        Ok(())
    } else {
        Err(Error::new(Code::SessionEnded))
    }
}

/// Refuses an invalid claim, and locks a valid one's rows until the transaction ends, so that it stays valid.
pub async fn hold(conn: &AsyncPgConnection, claim: &AccessClaim, now: DateTime<Utc>) -> Result<()> {
    recheck(conn, std::slice::from_ref(claim), now, Kept::ByRows).await
}

/// Does the same for a change that ends its caller's own access, such as a sign-out. The check behind its last
/// statement would refuse it, so this turns that check off.
pub async fn hold_own(tx: &mut Tx, caller: &Caller) -> Result<()> {
    hold(tx, &caller.claim(), tx.now).await?;
    tx.access_is_held();
    Ok(())
}
