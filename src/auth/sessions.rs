//! Sessions: signed-in devices. A session's row has the generation of its current refresh token; [`super::refresh`] has
//! the tokens, and decides which of them are good. If any other is sent, somebody has copied it, so the session ends.

use actix_web::HttpRequest;
use actix_web::http::header;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult, Queryable,
    Selectable, SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::Caller;
use super::refresh::{FIRST, Generations, PREDECESSOR_LIVES, Verdict, judge};
use crate::config::Config;
use crate::db::schema::sessions;
use crate::http::peer;
use crate::ids::{AccountId, GymId, SessionId};

/// Stored length of a user agent in characters; the rest is cut off.
const USER_AGENT_CHARS: usize = 200;
/// Days for which the database keeps sessions that have ended.
pub const REMEMBERED_DAYS: i64 = 7;

/// The device that signs in or refreshes.
#[derive(Clone, Debug, Default)]
pub struct Device {
    user_agent: Option<String>,
    ip_address: Option<String>,
}

impl Device {
    /// Reads user agent and IP address from a request.
    #[must_use]
    pub fn of(request: &HttpRequest, config: &Config) -> Self {
        let user_agent = request.headers().get(header::USER_AGENT).and_then(|v| v.to_str().ok());
        Self {
            user_agent: user_agent.map(|text| text.chars().take(USER_AGENT_CHARS).collect()),
            ip_address: peer::address(request, config).map(|ip| ip.to_string()),
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The account signed out.
    Logout,
    /// The account ended it in its list of sessions, or switched to another gym.
    Ended,
    /// The password was changed.
    Password,
    /// A refresh token that is void was sent.
    Reuse,
    /// The membership is no longer active.
    Access,
}

impl Reason {
    /// Its name in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Ended => "ended",
            Self::Password => "password",
            Self::Reuse => "reuse",
            Self::Access => "access",
        }
    }
}

/// How long a session lives.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// The time without a refresh after which it ends.
    pub unused: TimeDelta,
    /// The time after its sign-in at which it ends in any case.
    pub at_most: TimeDelta,
}

impl Life {
    /// The configured life.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            unused: TimeDelta::days(config.session_days),
            at_most: TimeDelta::days(config.session_max_days),
        }
    }

    /// When a session ends that is used now.
    #[must_use]
    pub fn end(self, signed_in_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        (now + self.unused).min(signed_in_at + self.at_most)
    }
}

/// An open session, as its account may see it.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = sessions)]
pub struct OpenSession {
    /// Its identifier.
    pub id: SessionId,
    /// Time of the sign-in.
    pub created_at: DateTime<Utc>,
    /// Time of the last sign-in or refresh.
    pub last_used_at: DateTime<Utc>,
    /// User agent at the last sign-in or refresh.
    pub user_agent: Option<String>,
    /// IP address at the last sign-in or refresh.
    pub ip_address: Option<String>,
}

/// Opens a session of an account that has just proved its password. Its generation is [`FIRST`].
pub async fn open(
    conn: &mut AsyncPgConnection,
    (gym, account): (GymId, AccountId),
    device: &Device,
    life: Life,
    now: DateTime<Utc>,
) -> QueryResult<SessionId> {
    let session = SessionId::new();
    diesel::insert_into(sessions::table)
        .values((
            sessions::id.eq(session),
            sessions::gym_id.eq(gym),
            sessions::account_id.eq(account),
            sessions::created_at.eq(now),
            sessions::signed_in_at.eq(now),
            sessions::last_used_at.eq(now),
            sessions::expires_at.eq(life.end(now, now)),
            sessions::generation.eq(FIRST),
            sessions::user_agent.eq(&device.user_agent),
            sessions::ip_address.eq(&device.ip_address),
        ))
        .execute(conn)
        .await?;
    Ok(session)
}

/// Limits a session that replaces another to the other's absolute life: a switch to another gym asks for no password.
/// Needs the system role.
pub async fn inherit_life(
    conn: &mut AsyncPgConnection,
    from: SessionId,
    to: SessionId,
    life: Life,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let signed_in_at: DateTime<Utc> = sessions::table
        .find(from)
        .select(sessions::signed_in_at)
        .first(conn)
        .await?;
    diesel::update(sessions::table.find(to))
        .set((
            sessions::signed_in_at.eq(signed_in_at),
            sessions::expires_at.eq(life.end(signed_in_at, now)),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// A session with its gym and account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The gym.
    pub gym: GymId,
    /// The account.
    pub account: AccountId,
    /// The session.
    pub session: SessionId,
}

impl Owned {
    /// The session of a caller.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        Self {
            gym: caller.gym,
            account: caller.account,
            session: caller.session,
        }
    }
}

/// The outcome of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The token was good; with the generation that the answer carries.
    Rotated(Owned, i64),
    /// A token that is void was sent: somebody has a copy.
    Reused(Owned),
    /// The session has ended or expired, or does not exist.
    Refused,
}

/// Exchanges the token of a session's generation for the next one, as [`judge`] decides. Concurrent refreshes wait for
/// each other at the session's row; a second one with the same token gets the same answer as the first. Needs the
/// system role.
pub async fn rotate(
    conn: &mut AsyncPgConnection,
    (session, presented): (SessionId, i64),
    device: &Device,
    life: Life,
    now: DateTime<Utc>,
) -> QueryResult<Rotation> {
    type Row = (GymId, AccountId, i64, Option<DateTime<Utc>>, DateTime<Utc>);
    let open = sessions::table
        .find(session)
        .filter(sessions::ended_at.is_null().and(sessions::expires_at.gt(now)));
    let found: Option<Row> = open
        .select((
            sessions::gym_id,
            sessions::account_id,
            sessions::generation,
            sessions::predecessor_until,
            sessions::signed_in_at,
        ))
        .for_no_key_update()
        .first(conn)
        .await
        .optional()?;
    let Some((gym, account, current, predecessor_until, signed_in_at)) = found else {
        return Ok(Rotation::Refused);
    };
    let owned = Owned { gym, account, session };
    let generations = Generations {
        current,
        predecessor_until,
    };
    let (generation, predecessor_until) = match judge(presented, generations, now) {
        Verdict::Next(next) => (next, Some(now + PREDECESSOR_LIVES)),
        Verdict::Again => (current, predecessor_until),
        Verdict::Reuse => return Ok(Rotation::Reused(owned)),
    };
    diesel::update(sessions::table.find(session))
        .set((
            sessions::generation.eq(generation),
            sessions::predecessor_until.eq(predecessor_until),
            sessions::last_used_at.eq(now),
            sessions::expires_at.eq(life.end(signed_in_at, now)),
            sessions::user_agent.eq(&device.user_agent),
            sessions::ip_address.eq(&device.ip_address),
        ))
        .execute(conn)
        .await?;
    Ok(Rotation::Rotated(owned, generation))
}

/// Gives an open session its next generation after its account has proved its password, and voids all earlier refresh
/// tokens at once. Returns the generation; `None` if the session has ended.
pub async fn renew(
    conn: &mut AsyncPgConnection,
    owned: &Owned,
    life: Life,
    now: DateTime<Utc>,
) -> QueryResult<Option<i64>> {
    let open = sessions::table
        .find(owned.session)
        .filter(
            sessions::gym_id
                .eq(owned.gym)
                .and(sessions::account_id.eq(owned.account)),
        )
        .filter(sessions::ended_at.is_null().and(sessions::expires_at.gt(now)));
    diesel::update(open)
        .set((
            sessions::generation.eq(sessions::generation + 1),
            sessions::predecessor_until.eq(None::<DateTime<Utc>>),
            sessions::signed_in_at.eq(now),
            sessions::last_used_at.eq(now),
            sessions::expires_at.eq(life.end(now, now)),
        ))
        .returning(sessions::generation)
        .get_result(conn)
        .await
        .optional()
}

/// Lists the open sessions of an account in a gym, most recently used first.
pub async fn list(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    account: AccountId,
    now: DateTime<Utc>,
) -> QueryResult<Vec<OpenSession>> {
    sessions::table
        .filter(sessions::gym_id.eq(gym).and(sessions::account_id.eq(account)))
        .filter(sessions::ended_at.is_null().and(sessions::expires_at.gt(now)))
        .order(sessions::last_used_at.desc())
        .select(OpenSession::as_select())
        .load(conn)
        .await
}

/// Ends one session of an account. Returns false if it has already ended. Call `Tx::access_changed` afterwards, so that
/// the session's sockets close.
pub async fn end(conn: &mut AsyncPgConnection, owned: &Owned, reason: Reason, now: DateTime<Utc>) -> QueryResult<bool> {
    let session = sessions::table
        .find(owned.session)
        .filter(
            sessions::gym_id
                .eq(owned.gym)
                .and(sessions::account_id.eq(owned.account)),
        )
        .filter(sessions::ended_at.is_null());
    let ended = diesel::update(session)
        .set((sessions::ended_at.eq(now), sessions::ended_reason.eq(reason.name())))
        .execute(conn)
        .await?;
    Ok(ended == 1)
}

/// Ends all sessions of an account except `kept`, and returns their gyms. The system role ends sessions in all gyms;
/// the application role ends those in the transaction's gym.
pub async fn end_all(
    conn: &mut AsyncPgConnection,
    account: AccountId,
    kept: Option<SessionId>,
    reason: Reason,
    now: DateTime<Utc>,
) -> QueryResult<Vec<GymId>> {
    let kept = kept.map_or(uuid::Uuid::nil(), |session| session.0);
    let open = sessions::table
        .filter(sessions::account_id.eq(account).and(sessions::ended_at.is_null()))
        .filter(sessions::id.ne(SessionId(kept)));
    let mut gyms: Vec<GymId> = diesel::update(open)
        .set((sessions::ended_at.eq(now), sessions::ended_reason.eq(reason.name())))
        .returning(sessions::gym_id)
        .get_results(conn)
        .await?;
    gyms.sort_unstable();
    gyms.dedup();
    Ok(gyms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_is_not_used_and_at_its_end_in_any_case() {
        let (unused, at_most) = (TimeDelta::days(30), TimeDelta::days(90));
        let life = Life { unused, at_most };
        let signed_in_at = DateTime::UNIX_EPOCH;
        let end_if_used_on =
            |day| (life.end(signed_in_at, signed_in_at + TimeDelta::days(day)) - signed_in_at).num_days();
        assert_eq!([0, 59, 60, 61, 89].map(end_if_used_on), [30, 89, 90, 90, 90]);
    }
}
