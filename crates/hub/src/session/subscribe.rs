//! `subscribe` and `sub_refresh`. A subscription is registered before its right is read, so that a revocation that
//! commits in between finds it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::reauthorise;
use super::start::{self, Outcome, Target, Tickets};
use crate::backend::{Ask, Backend, Failure, Kind, Location, Session, Want};
use crate::fanout::encoded::Encoded;
use crate::fanout::subscription::{Ready, Recipient, Subscription};
use crate::ids::LogId;
use crate::log::sequencer::SequencedLog;
use crate::protocol::close::Close;
use crate::protocol::{Answer, ErrorReply, ProtocolError, SubRefreshRequest, SubRefreshResult, SubscribeRequest};
use crate::session::connection::Connection;
use crate::session::lifetime::{REFRESH_GRACE, ttl};

/// How long a reply waits for the check of a right in doubt: less than the 5 s after which SDKs give up.
const CERTAIN_WITHIN: Duration = Duration::from_secs(3);

/// Registers a pending subscription; returns `None` if the connection has it already or has too many.
pub(crate) fn register(
    connection: &Arc<Connection>,
    id: LogId,
    channel: Arc<str>,
    server_side: bool,
    log: Arc<SequencedLog>,
) -> Option<Arc<Subscription>> {
    let to = Recipient {
        number: connection.next_number(),
        codec: connection.codec,
        outbox: connection.outbox.clone(),
        info: connection.info(),
    };
    let subscription = Subscription::new(channel, server_side, to);
    let guard = connection.hub().registry().subscribe(id, subscription.clone(), log);
    connection.keep(guard).is_none().then_some(subscription)
}

/// Goes live after the reply, and sends a join push if the channel offers presence. If the subscription ended between
/// the reply and this call, the client was not told of the end and believes that it is subscribed; only a new
/// connection can mend that.
pub(crate) fn go_live(connection: &Connection, location: Location, subscription: &Subscription, position: u64) {
    let channel = &subscription.channel;
    let Some(handed) = subscription.go_live(position) else {
        connection.forget(channel);
        connection.close(Close::StateInvalidated);
        return;
    };
    connection.hub().registry().count(handed);
    if location.offers.presence {
        let join = Encoded::join(channel, subscription.join());
        connection.hub().registry().deliver(location.log, channel, join);
    }
}

/// Answers `subscribe`. Returns `None` if the reply was sent, since it must precede the first publication.
pub(crate) async fn subscribe(
    backend: &Arc<dyn Backend>,
    connection: &Arc<Connection>,
    id: u32,
    session: &Session,
    request: &SubscribeRequest,
) -> Option<Answer> {
    match try_subscribe(backend, connection, id, session, request).await {
        Ok(()) => None,
        Err(refused) => Some(Answer::Error(refused)),
    }
}

async fn try_subscribe(
    backend: &Arc<dyn Backend>,
    connection: &Arc<Connection>,
    id: u32,
    session: &Session,
    request: &SubscribeRequest,
) -> Result<(), ErrorReply> {
    let lang = connection.lang;
    let failed = |failure: Failure| failure.logged(lang);
    let Some(location) = backend.locate(session, &request.channel) else {
        return Err(ProtocolError::UnknownChannel.into());
    };
    let token_lasts = match request.token.as_str() {
        "" => None,
        token => backend
            .subscription_token(session, &request.channel, token)
            .transpose()
            .map_err(failed)?
            .flatten(),
    };
    let log = match connection.log() {
        Some(own) if own.id() == location.log => own,
        _ => connection.hub().log(backend, location.log).await.map_err(failed)?,
    };
    let channel = request.channel.as_str().into();
    let Some(subscription) = register(connection, location.log, channel, false, log.clone()) else {
        return Err(if connection.subscription(&request.channel).is_some() {
            ProtocolError::AlreadySubscribed.into()
        } else {
            ProtocolError::LimitExceeded.into()
        });
    };
    let target = Target {
        location,
        channel: &subscription.channel,
        log: &log,
    };
    let refused = match read(&**backend, connection, session, target, request).await {
        Ok(Ok(Outcome::Begun { .. })) if !connection.certain_of(&subscription, CERTAIN_WITHIN).await => {
            backend.failure(Kind::Unavailable).reply(lang)
        }
        Ok(Ok(Outcome::Begun { mut result, position })) => match subscription.ready() {
            Ready::Open => {
                (result.expires, result.ttl) = expiry(connection, &subscription, token_lasts);
                connection.reply(id, Answer::Subscribe(result));
                go_live(connection, location, &subscription, position);
                return Ok(());
            }
            Ready::Lost => backend.failure(Kind::Unavailable).reply(lang),
            Ready::Revoked => backend.failure(Kind::Denied).reply(lang),
        },
        Ok(Ok(Outcome::Refused(error))) => error,
        // A close rather than a refusal: the client would take a refusal as final, although a new token may restore its
        // right.
        Ok(Err(close)) => {
            connection.forget(&request.channel);
            connection.close(close);
            return Ok(());
        }
        Err(failure) => failed(failure),
    };
    connection.forget(&request.channel);
    Err(refused)
}

/// Checks this session's right in a snapshot of its own, and only then reads the data that all subscribers share.
/// Returns a close if the session or its roles do not hold.
async fn read(
    backend: &dyn Backend,
    connection: &Connection,
    session: &Session,
    target: Target<'_>,
    request: &SubscribeRequest,
) -> Result<Result<Outcome, Close>, Failure> {
    let hub = connection.hub();
    let tickets = Tickets::take(hub, target, request);
    // The tickets are taken before the wait for a permit, so that subscribers that wait together share their reads.
    let Some(turn) = hub.turn().await else {
        return Ok(Ok(Outcome::Refused(ProtocolError::TooManyRequests.into())));
    };
    let asks = [Ask {
        channel: target.channel.clone(),
        want: Want::Right,
    }];
    let right = backend.read(target.location.log, Some(session), &asks, &**hub).await;
    drop(turn);
    let right = right?;
    if let Some(close) = reauthorise::ended_by(right.standing) {
        return Ok(Err(close));
    }
    let granted = right.answers.into_iter().next();
    if granted.and_then(|answer| start::granted(connection, answer)).is_none() {
        let denied = backend.failure(Kind::Denied).reply(connection.lang);
        return Ok(Ok(Outcome::Refused(denied)));
    }
    let outcome = start::read(backend, hub, target, tickets, request).await?;
    Ok(Ok(outcome))
}

/// Sets when a subscription's token expires. Returns whether it does, and in how many seconds.
fn expiry(connection: &Connection, subscription: &Subscription, lasts: Option<Duration>) -> (bool, u32) {
    let at = lasts.map(|lasts| Instant::now() + lasts);
    subscription.set_expiry(at);
    if let Some(at) = at {
        connection.authorise_at(at + REFRESH_GRACE + Duration::from_millis(1));
    }
    (at.is_some(), ttl(at))
}

/// Answers `sub_refresh`.
pub(crate) fn refresh(
    backend: &dyn Backend,
    connection: &Connection,
    session: &Session,
    request: &SubRefreshRequest,
) -> Answer {
    let lang = connection.lang;
    let Some(checked) = backend.subscription_token(session, &request.channel, &request.token) else {
        return Answer::Error(ProtocolError::NotAvailable.into());
    };
    let Some(subscription) = connection.subscription(&request.channel) else {
        return Answer::Error(backend.failure(Kind::Denied).reply(lang));
    };
    match checked {
        Ok(lasts) => {
            let (expires, ttl) = expiry(connection, &subscription, lasts);
            Answer::SubRefresh(SubRefreshResult { expires, ttl })
        }
        Err(failure) => Answer::Error(failure.logged(lang)),
    }
}
