//! Whether a token's session still holds: it has not ended, the membership is active, and roles are those of the token.
//!
//! A read asks once, in its snapshot. A change asks twice, since what it asked may end while it waits for a lock: first
//! thing, and again as its last act ([`recheck`]), when nothing can end access any more before its COMMIT.

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

/// What a token claims about its access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessClaim {
    /// Whose token it is.
    pub account: AccountId,
    /// The session it was given to.
    pub session: SessionId,
    /// The version of the membership's roles and status that it was given for.
    pub access_version: i64,
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Good,
    /// The roles are others now; a new token will hold.
    RolesChanged,
    /// The session has ended or its time is over.
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
/// In one order everywhere, the membership before the session as in a suspension, so that two changes do not wait for each
/// other. As strong as the update that may follow: of two shares, each would wait for the other's end.
const HOLD: Statement = sessions!(" ORDER BY s.id FOR NO KEY UPDATE OF m, s");

/// Looks up how claims stand, one after the other, in a transaction that sees their gym.
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

/// Looks up how a claim stands, in a transaction that sees its gym.
pub async fn standing(conn: &mut AsyncPgConnection, claim: &AccessClaim, now: DateTime<Utc>) -> Result<Standing> {
    let found = standings(conn, std::slice::from_ref(claim), now).await?;
    Ok(found.into_iter().next().unwrap_or(Standing::SessionEnded))
}

/// Refuses a claim that does not hold.
pub async fn check(conn: &mut AsyncPgConnection, claim: &AccessClaim, now: DateTime<Utc>) -> Result<()> {
    match standing(conn, claim, now).await? {
        Standing::Good => Ok(()),
        _ => Err(Error::new(Code::SessionEnded)),
    }
}

/// Refuses a change one of whose claims has ended since it was checked. As the change's last act.
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

/// Refuses a claim that does not hold, and keeps one that does as it is until the transaction ends.
pub async fn hold(conn: &AsyncPgConnection, claim: &AccessClaim, now: DateTime<Utc>) -> Result<()> {
    recheck(conn, std::slice::from_ref(claim), now, Kept::ByRows).await
}

/// The same for the caller of a change that is about to end that very access: it would not be found any more by the
/// change's last act, and need not be.
pub async fn hold_own(tx: &mut Tx, caller: &Caller) -> Result<()> {
    hold(tx, &caller.claim(), tx.now).await?;
    tx.access_is_held();
    Ok(())
}
