//! `connect`: authenticates a socket and opens its server-side subscriptions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::commands;
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
    connection.identified();
    if let Err(failure) = commands::admit(&**backend, &session).await {
        return failed(failure);
    }
    let log = match connection.hub().log(backend, session.log).await {
        Ok(log) => log,
        Err(failure) if failure.kind == Kind::NotFound => return Err(Close::InvalidToken),
        Err(failure) => return failed(failure),
    };
    let Some(turn) = connection.hub().turn().await else {
        return Ok(Some(Answer::Error(ProtocolError::TooManyRequests.into())));
    };
    // The connection is entered before its access is checked, so that a revocation that commits in between finds it.
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
        // A new token has the new roles. The connection closes, because it was entered under the old ones.
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
    // Must precede the reply, because the client may act on it at once.
    connection.connected();
    connection.reply(id, Answer::Connect(result));
    for (subscription, location, position) in live {
        go_live(connection, location, &subscription, position);
    }
    Ok(None)
}

/// Closes a user's oldest sockets over the bound. The newest socket is probably in use, while the oldest may be dead
/// without anybody having noticed; so a client on a bad network is never locked out.
fn make_room(connection: &Connection, session: &Session) {
    let all = connection.hub().connections().of_user(session.log, session.user);
    let over = all.len().saturating_sub(connection.hub().limits().sockets_per_user);
    for oldest in &all[..over] {
        oldest.close(Close::ConnectionLimit);
    }
}

/// A registered server-side subscription.
struct Opened {
    subscription: Arc<Subscription>,
    location: Location,
    /// The client's last position in the channel.
    from: SubscribeRequest,
}

/// Registers the server-side subscriptions, each with the client's last position in its channel.
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

/// Builds the asks for the channels, and the publications that the replay buffer already has for them.
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
    // Session and roles of the new token are checked as at connect.
    connection.authorise_again();
    Ok(answer)
}
