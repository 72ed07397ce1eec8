//! Whether a token's session still holds: it has not ended, the membership is active, and roles are those of the token.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Bool, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension as _, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::db::statement::{Bind as _, statement};
use crate::error::{Code, Error, Result};
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

/// Looks up how a claim stands, in a transaction that sees its gym.
pub async fn standing(conn: &mut AsyncPgConnection, claim: &AccessClaim, now: DateTime<Utc>) -> Result<Standing> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Bool)]
        open: bool,
        #[diesel(sql_type = Bool)]
        active: bool,
        #[diesel(sql_type = BigInt)]
        access_version: i64,
    }
    let row: Option<Row> = statement(
        "SELECT s.ended_at IS NULL AND s.expires_at > $ AS open, m.status = 'active' AS active, m.access_version
         FROM sessions s JOIN memberships m USING (gym_id, account_id) WHERE s.id = $ AND s.account_id = $",
    )
    .bind::<Timestamptz, _>(now)
    .bind::<SqlUuid, _>(claim.session)
    .bind::<SqlUuid, _>(claim.account)
    .get_result(conn)
    .await
    .optional()?;
    Ok(match row {
        None => Standing::SessionEnded,
        Some(row) if !row.active => Standing::NotActive,
        Some(row) if !row.open => Standing::SessionEnded,
        Some(row) if row.access_version != claim.access_version => Standing::RolesChanged,
        Some(_) => Standing::Good,
    })
}

/// Refuses a claim that does not hold.
pub async fn check(conn: &mut AsyncPgConnection, claim: &AccessClaim, now: DateTime<Utc>) -> Result<()> {
    match standing(conn, claim, now).await? {
        Standing::Good => Ok(()),
        _ => Err(Error::new(Code::SessionEnded)),
    }
}
