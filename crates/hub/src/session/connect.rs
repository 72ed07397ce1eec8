//! `connect`: who a socket is, and the channels that the server subscribes it to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::start::{self, Outcome, Own, Target};
use crate::backend::{Answers, Ask, Backend, Failure, Identity, Kind, Location, Session, Standing};
use crate::fanout::subscription::{Ready, Subscription};
use crate::log::sequencer::SequencedLog;
use crate::protocol::close::Close;
use crate::protocol::{Answer, ConnectRequest, ConnectResult, ProtocolError, RefreshRequest, SubscribeRequest};
use crate::session::connection::Connection;
use crate::session::lifetime::ttl;
use crate::session::subscribe::{go_live, register};

/// Answers `connect`.
pub(crate) async fn connect(
    backend: &Arc<dyn Backend>,
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
    let failed = |failure: Failure| Ok(Some(Answer::Error(failure.logged(connection.lang))));
    let Identity { session, channels } = match backend.authenticate(&request.token).await {
        Ok(Some(identity)) => identity,
        Ok(None) => return Err(Close::BadRequest),
        Err(failure) if failure.kind == Kind::Unauthenticated => return Err(Close::InvalidToken),
        Err(failure) => return failed(failure),
    };
    let log = match connection.hub().log(backend, session.log).await {
        Ok(log) => log,
        Err(failure) if failure.kind == Kind::NotFound => return Err(Close::InvalidToken),
        Err(failure) => return failed(failure),
    };
    let Some(turn) = connection.hub().turn().await else {
        return Ok(Some(Answer::Error(ProtocolError::TooManyRequests.into())));
    };
    // Entered before access is checked: a revocation that commits in between finds the connection.
    connection.enter(session.clone(), log.clone())?;
    let opened = open(&**backend, connection, &session, channels, request.subs);
    let (asks, own) = ask(connection, &log, &opened);
    let hub = connection.hub();
    let read = backend.read(session.log, Some(&session), &asks, &**hub).await;
    drop(turn);
    let Answers {
        standing,
        head,
        answers,
    } = match read {
        Ok(read) => read,
        Err(failure) => {
            failure.log();
            return Err(Close::ServerError);
        }
    };
    match standing {
        Standing::Good => {}
        // A new token has the new roles; the connection ends, since it entered under the old ones.
        Standing::RolesChanged => {
            let expired = backend.failure(Kind::TokenExpired).reply(connection.lang);
            connection.reply(id, Answer::Error(expired));
            return Err(Close::StateInvalidated);
        }
        Standing::SessionEnded => return Err(Close::InvalidToken),
        Standing::NotActive => return Err(Close::ForceDisconnect),
    }
    make_room(connection, &session);
    let mut result = connected(connection, &session);
    let mut live = Vec::new();
    for ((opened, own), answer) in opened.into_iter().zip(own).zip(answers) {
        let Opened {
            subscription,
            from,
            location,
        } = opened;
        let outcome = start::granted(connection, answer).map(|found| start::own(hub, own, found, head.as_ref(), &from));
        match outcome {
            Some(Outcome::Begun {
                result: state,
                position,
            }) => match subscription.ready() {
                Ready::Open => {
                    result.subs.insert(subscription.channel.to_string(), state);
                    live.push((subscription, location, position));
                }
                Ready::Lost => return Err(Close::InsufficientState),
                Ready::Revoked => connection.forget(&subscription.channel),
            },
            Some(Outcome::Refused(_)) | None => connection.forget(&subscription.channel),
        }
    }
    // Before the answer, which may be with the client at once.
    connection.connected();
    connection.reply(id, Answer::Connect(result));
    for (subscription, location, position) in live {
        go_live(connection, location, &subscription, position);
    }
    Ok(None)
}

/// Closes a user's oldest sockets where it has too many now. Its newest is the one that somebody looks at, and the
/// oldest may be dead ones that nobody has noticed: so a client with a bad line is never locked out.
fn make_room(connection: &Connection, session: &Session) {
    let all = connection.hub().connections().of_user(session.log, session.user);
    let over = all.len().saturating_sub(connection.hub().limits().sockets_per_user);
    for oldest in &all[..over] {
        oldest.close(Close::ConnectionLimit);
    }
}

/// A server-side subscription that is entered.
struct Opened {
    subscription: Arc<Subscription>,
    location: Location,
    /// The position that the client has of it.
    from: SubscribeRequest,
}

/// Enters the server-side subscriptions, each with the position that the client has of it.
fn open(
    backend: &dyn Backend,
    connection: &Arc<Connection>,
    session: &Session,
    channels: Vec<Arc<str>>,
    mut positions: BTreeMap<String, SubscribeRequest>,
) -> Vec<Opened> {
    let Some(log) = connection.log() else { return Vec::new() };
    let mut opened = Vec::new();
    for channel in channels {
        let from = positions.remove(&*channel).unwrap_or_default();
        let Some(location) = backend.locate(session, &channel) else {
            continue;
        };
        if let Some(subscription) = register(connection, session.log, channel, true, log.clone()) {
            opened.push(Opened {
                subscription,
                location,
                from,
            });
        }
    }
    opened
}

/// What to ask for the channels, and with what this node remembers of them.
fn ask(connection: &Connection, log: &SequencedLog, opened: &[Opened]) -> (Vec<Ask>, Vec<Own>) {
    let own = |opened: &Opened| {
        let target = Target {
            location: opened.location,
            channel: &opened.subscription.channel,
            log,
        };
        start::ask_own(connection.hub(), target, &opened.from)
    };
    opened.iter().map(own).unzip()
}

fn connected(connection: &Connection, session: &Session) -> ConnectResult {
    ConnectResult {
        ping: connection.hub().limits().ping_seconds,
        pong: true,
        session: session.id.to_string(),
        node: connection.hub().node.clone(),
        time: connection.hub().now().timestamp_millis(),
        ..refreshed(connection, session)
    }
}

fn refreshed(connection: &Connection, session: &Session) -> ConnectResult {
    ConnectResult {
        client: connection.id.clone(),
        version: connection.hub().version.to_owned(),
        expires: session.expires_at.is_some(),
        ttl: ttl(session.expires_at),
        ..ConnectResult::default()
    }
}

/// Answers `refresh`.
pub(crate) async fn refresh(
    backend: &dyn Backend,
    connection: &Connection,
    before: &Session,
    request: &RefreshRequest,
) -> Result<Answer, Close> {
    let session = match backend.authenticate(&request.token).await {
        Ok(Some(identity)) => identity.session,
        Err(failure) if failure.kind == Kind::TokenExpired => {
            return Ok(Answer::Error(failure.reply(connection.lang)));
        }
        Ok(None) | Err(_) => return Err(Close::InvalidToken),
    };
    if session.user != before.user || session.log != before.log {
        return Err(Close::InvalidToken);
    }
    let answer = Answer::Refresh(refreshed(connection, &session));
    connection.renew(session);
    // The new token's session and roles are checked as at connect.
    connection.authorise_again();
    Ok(answer)
}
