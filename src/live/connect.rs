//! `connect`: who a socket is, and the channels that the server subscribes it to.

use std::collections::BTreeMap;
use std::sync::Arc;

use diesel_async::AsyncPgConnection;
use tokio::time::Instant;

use super::connection::{Connection, Session};
use super::protocol::close::Close;
use super::protocol::{
    Answer, ConnectRequest, ConnectResult, ErrorReply, ProtocolError, RefreshRequest, SubscribeRequest,
};
use super::sequencer::GymLog;
use super::state::{self, Outcome, Place, Source};
use super::subscribe::{go_live, register};
use super::subscription::{Ready, Subscription};
use crate::app::{App, For};
use crate::auth::Caller;
use crate::auth::access::Standing;
use crate::error::{Code, Error, Result};

const VERSION: &str = concat!("liveplan ", env!("CARGO_PKG_VERSION"));

/// Answers `connect`.
pub(super) async fn connect(
    app: &App,
    connection: &Arc<Connection>,
    id: u32,
    request: ConnectRequest,
) -> Result<Option<Answer>, Close> {
    if connection.session().is_some() {
        return Err(Close::BadRequest);
    }
    if connection.hub().is_draining() {
        return Err(Close::Shutdown);
    }
    let failed = |error: Error| Ok(Some(Answer::Error(ErrorReply::of(&error, connection.lang))));
    let session = match (connection.hub().table().authenticate)(app, &request.token).await {
        Ok(Some(session)) => session,
        Ok(None) => return Err(Close::BadRequest),
        Err(error) if error.code == Code::Unauthenticated => return Err(Close::InvalidToken),
        Err(error) => {
            error.log();
            return failed(error);
        }
    };
    let log = match connection.hub().gym(session.caller.gym).await {
        Ok(log) => log,
        Err(error) if error.code == Code::NotFound => return Err(Close::InvalidToken),
        Err(error) => {
            error.log();
            return failed(error);
        }
    };
    let Some(turn) = connection.hub().turn().await else {
        return Ok(Some(Answer::Error(ProtocolError::TooManyRequests.into())));
    };
    // Entered before access is checked: a revocation that commits in between finds the connection.
    connection.enter(session.clone(), log.clone())?;
    let opened = open(connection, &session, request.subs);
    let read = read(app, connection, &session, &log, &opened).await;
    drop(turn);
    let (standing, results) = match read {
        Ok(read) => read,
        Err(error) => {
            error.log();
            return Err(Close::ServerError);
        }
    };
    match standing {
        Standing::Good => {}
        // A new token has the new roles; the connection ends, since it entered under the old ones.
        Standing::RolesChanged => {
            let expired = ErrorReply::of(&Error::new(Code::TokenExpired), connection.lang);
            connection.reply(id, Answer::Error(expired));
            return Err(Close::StateInvalidated);
        }
        Standing::SessionEnded => return Err(Close::InvalidToken),
        Standing::NotActive => return Err(Close::ForceDisconnect),
    }
    make_room(connection, &session);
    let mut result = connected(app, connection, &session);
    let mut live = Vec::new();
    for ((subscription, _), outcome) in opened.into_iter().zip(results) {
        match outcome {
            Outcome::State {
                result: state,
                position,
            } => match subscription.ready() {
                Ready::Open => {
                    result.subs.insert(subscription.channel.to_string(), state);
                    live.push((subscription, position));
                }
                Ready::Lost => return Err(Close::InsufficientState),
                Ready::Revoked => connection.forget(&subscription.channel),
            },
            Outcome::Refused(_) => connection.forget(&subscription.channel),
        }
    }
    // Before the answer, which may be with the client at once.
    connection.connected();
    connection.reply(id, Answer::Connect(result));
    for (subscription, position) in live {
        go_live(connection, session.caller.gym, &subscription, position);
    }
    Ok(None)
}

/// Closes an account's oldest sockets where it has too many now. Its newest is the one that somebody looks at, and the
/// oldest may be dead ones that nobody has noticed: so a phone with a bad line is never locked out.
fn make_room(connection: &Connection, session: &Session) {
    let caller = &session.caller;
    let all = connection.hub().registry().connections_of(caller.gym, caller.account);
    let over = all.len().saturating_sub(connection.hub().limits().sockets_per_account);
    for oldest in &all[..over] {
        oldest.close(Close::ConnectionLimit);
    }
}

/// Enters the server-side subscriptions, each with the position that the client has of it.
fn open(
    connection: &Arc<Connection>,
    session: &Session,
    mut positions: BTreeMap<String, SubscribeRequest>,
) -> Vec<(Arc<Subscription>, SubscribeRequest)> {
    let Some(log) = connection.log() else { return Vec::new() };
    let mut opened = Vec::new();
    for channel in (connection.hub().table().server_side)(session) {
        let from = positions.remove(&channel).unwrap_or_default();
        if let Some(subscription) = register(connection, session.caller.gym, channel.into(), true, log.clone()) {
            opened.push((subscription, from));
        }
    }
    opened
}

/// Reads how the session stands and, where it does, the state of its channels.
async fn read(
    app: &App,
    connection: &Connection,
    session: &Session,
    log: &GymLog,
    opened: &[(Arc<Subscription>, SubscribeRequest)],
) -> Result<(Standing, Vec<Outcome>)> {
    let caller = &session.caller;
    app.read(For::gym(caller.gym), async |conn| {
        let standing = (connection.hub().table().standing)(conn, caller, app.clock.now()).await?;
        let mut results = Vec::new();
        if standing == Standing::Good {
            for (subscription, from) in opened {
                let place = Place {
                    gym: caller.gym,
                    channel: &subscription.channel,
                    log,
                };
                results.push(read_own(app, connection, conn, caller, place, from).await?);
            }
        }
        Ok((standing, results))
    })
    .await
}

/// Seconds that a client has left before it must refresh, at least one; 0 where the token has no end.
pub(super) fn ttl(expires_at: Option<Instant>) -> u32 {
    expires_at.map_or(0, |at| {
        let left = at.saturating_duration_since(Instant::now()).as_secs();
        u32::try_from(left.max(1)).unwrap_or(u32::MAX)
    })
}

/// The state of a channel that is the caller's own, so that few others could share it: in the snapshot that is there.
async fn read_own(
    app: &App,
    connection: &Connection,
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    place: Place<'_>,
    from: &SubscribeRequest,
) -> Result<Outcome> {
    match state::authorise(app, connection, conn, caller, place.channel).await? {
        Some(refused) => Ok(Outcome::Refused(refused)),
        None => state::read(app, connection.hub(), place, Source::Conn(conn), from).await,
    }
}

fn connected(app: &App, connection: &Connection, session: &Session) -> ConnectResult {
    ConnectResult {
        ping: app.config.live_ping_seconds,
        pong: true,
        session: session.caller.session.to_string(),
        node: connection.hub().node.clone(),
        time: app.clock.now().timestamp_millis(),
        ..refreshed(connection, session)
    }
}

fn refreshed(connection: &Connection, session: &Session) -> ConnectResult {
    ConnectResult {
        client: connection.id.clone(),
        version: VERSION.to_owned(),
        expires: session.expires_at.is_some(),
        ttl: ttl(session.expires_at),
        ..ConnectResult::default()
    }
}

/// Answers `refresh`.
pub(super) async fn refresh(
    app: &App,
    connection: &Connection,
    before: &Session,
    request: &RefreshRequest,
) -> Result<Answer, Close> {
    let session = match (connection.hub().table().authenticate)(app, &request.token).await {
        Ok(Some(session)) => session,
        Err(error) if error.code == Code::TokenExpired => {
            return Ok(Answer::Error(ErrorReply::of(&error, connection.lang)));
        }
        Ok(None) | Err(_) => return Err(Close::InvalidToken),
    };
    if session.caller.account != before.caller.account || session.caller.gym != before.caller.gym {
        return Err(Close::InvalidToken);
    }
    let answer = Answer::Refresh(refreshed(connection, &session));
    connection.renew(session);
    // The new token's session and roles are checked as at connect.
    connection.authorise_again();
    Ok(answer)
}
