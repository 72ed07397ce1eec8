//! Sessions: signed-in devices. A session has a chain of refresh tokens, of which only the latest works. If a used
//! token is sent again, somebody has copied it, so the session ends. The database stores only hashes of refresh tokens.

use actix_web::HttpRequest;
use actix_web::http::header;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult, Queryable,
    Selectable, SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use sha2::{Digest as _, Sha256};

use super::Caller;
use crate::config::Config;
use crate::db::schema::{refresh_tokens, sessions};
use crate::http::peer;
use crate::ids::{AccountId, GymId, SessionId};

/// Stored length of a user agent in characters; the rest is cut off.
const USER_AGENT_CHARS: usize = 200;
/// Days for which the database keeps used refresh tokens (so that reuse is detected) and ended sessions.
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
    /// A used refresh token was sent again.
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

/// A refresh token: 32 random bytes.
struct RefreshToken([u8; 32]);

impl RefreshToken {
    fn new() -> Self {
        Self(rand::random())
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    fn text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    /// A fast hash is enough, because nobody can guess 32 random bytes.
    fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0).to_vec()
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

/// Opens a session that expires after `unused` without a refresh. Returns its id and its first refresh token.
pub async fn open(
    conn: &mut AsyncPgConnection,
    (gym, account): (GymId, AccountId),
    device: &Device,
    unused: TimeDelta,
    now: DateTime<Utc>,
) -> QueryResult<(SessionId, String)> {
    let session = SessionId::new();
    diesel::insert_into(sessions::table)
        .values((
            sessions::id.eq(session),
            sessions::gym_id.eq(gym),
            sessions::account_id.eq(account),
            sessions::created_at.eq(now),
            sessions::last_used_at.eq(now),
            sessions::expires_at.eq(now + unused),
            sessions::user_agent.eq(&device.user_agent),
            sessions::ip_address.eq(&device.ip_address),
        ))
        .execute(conn)
        .await?;
    let token = add_token(conn, gym, session, now).await?;
    Ok((session, token))
}

async fn add_token(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    session: SessionId,
    now: DateTime<Utc>,
) -> QueryResult<String> {
    let token = RefreshToken::new();
    diesel::insert_into(refresh_tokens::table)
        .values((
            refresh_tokens::token_hash.eq(token.hash()),
            refresh_tokens::gym_id.eq(gym),
            refresh_tokens::session_id.eq(session),
            refresh_tokens::issued_at.eq(now),
        ))
        .execute(conn)
        .await?;
    Ok(token.text())
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
#[derive(Debug)]
pub enum Rotation {
    /// The token worked and is now used; with the next token.
    Rotated(Owned, String),
    /// The token had been used before.
    Reused(Owned),
    /// The token is unknown, or its session has ended or expired.
    Refused,
}

/// Exchanges a refresh token for the next one. If two requests send the same token at once, the row lock lets one
/// through, and the other then finds the token used. Needs the system role.
pub async fn rotate(
    conn: &mut AsyncPgConnection,
    token: &str,
    device: &Device,
    unused: TimeDelta,
    now: DateTime<Utc>,
) -> QueryResult<Rotation> {
    let Some(token) = RefreshToken::parse(token) else {
        return Ok(Rotation::Refused);
    };
    let hash = token.hash();
    let found: Option<(SessionId, Option<DateTime<Utc>>)> = refresh_tokens::table
        .find(&hash)
        .select((refresh_tokens::session_id, refresh_tokens::used_at))
        .for_update()
        .first(conn)
        .await
        .optional()?;
    let Some((session, used_at)) = found else {
        return Ok(Rotation::Refused);
    };
    let open = sessions::table
        .find(session)
        .filter(sessions::ended_at.is_null().and(sessions::expires_at.gt(now)));
    if used_at.is_some() {
        let owner = open
            .select((sessions::gym_id, sessions::account_id))
            .first(conn)
            .await
            .optional()?;
        return Ok(owner.map_or(Rotation::Refused, |(gym, account)| {
            Rotation::Reused(Owned { gym, account, session })
        }));
    }
    let owner = diesel::update(open)
        .set((
            sessions::last_used_at.eq(now),
            sessions::expires_at.eq(now + unused),
            sessions::user_agent.eq(&device.user_agent),
            sessions::ip_address.eq(&device.ip_address),
        ))
        .returning((sessions::gym_id, sessions::account_id))
        .get_result(conn)
        .await
        .optional()?;
    let Some((gym, account)) = owner else {
        return Ok(Rotation::Refused);
    };
    diesel::update(refresh_tokens::table.find(&hash))
        .set(refresh_tokens::used_at.eq(now))
        .execute(conn)
        .await?;
    let next = add_token(conn, gym, session, now).await?;
    Ok(Rotation::Rotated(Owned { gym, account, session }, next))
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
    fn a_refresh_token_has_43_characters_and_a_stable_hash() {
        let token = RefreshToken::new();
        assert_eq!(token.text().len(), 43);
        let read = RefreshToken::parse(&token.text()).expect("a token");
        assert_eq!(read.hash(), token.hash());
        assert_ne!(RefreshToken::new().hash(), token.hash());
        for other in [
            "",
            "abc",
            &format!("{}=", token.text()),
            &"A".repeat(44),
            &"ü".repeat(43),
        ] {
            assert!(RefreshToken::parse(other).is_none(), "{other}");
        }
    }
}
