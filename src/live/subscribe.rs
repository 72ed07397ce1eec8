//! `subscribe` and `sub_refresh`. A subscription is entered before its right is read, so that a revocation that commits in
//! between finds it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::connect::ttl;
use super::connection::{Connection, REFRESH_GRACE, Session};
use super::encoded::Encoded;
use super::protocol::close::Close;
use super::protocol::{Answer, ErrorReply, ProtocolError, SubRefreshRequest, SubRefreshResult, SubscribeRequest};
use super::rights;
use super::sequencer::GymLog;
use super::state::{self, Outcome, Place, Source, Tickets};
use super::subscription::{Ready, Recipient, Subscription};
use crate::app::{App, For};
use crate::auth::Caller;
use crate::error::{Code, Error, Result};
use crate::ids::GymId;

/// Enters a pending subscription; none where the connection has it or has too many.
pub(super) fn register(
    connection: &Arc<Connection>,
    gym: GymId,
    channel: Arc<str>,
    server_side: bool,
    log: Arc<GymLog>,
) -> Option<Arc<Subscription>> {
    let to = Recipient {
        number: connection.next_number(),
        codec: connection.codec,
        outbox: connection.outbox.clone(),
        info: connection.info(),
    };
    let subscription = Subscription::new(channel, server_side, to);
    let guard = connection.hub().registry().subscribe(gym, subscription.clone(), log);
    connection.keep(guard).is_none().then_some(subscription)
}

/// Goes live after the reply, and tells the others where the channel does that. One that ended between the reply and here
/// was not told to the client, which believes that it is subscribed: only a new connection mends that.
pub(super) fn go_live(connection: &Connection, gym: GymId, subscription: &Subscription, position: u64) {
    let channel = &subscription.channel;
    let Some(handed) = subscription.go_live(position) else {
        connection.forget(channel);
        connection.close(Close::StateInvalidated);
        return;
    };
    connection.hub().registry().count(handed);
    if (connection.hub().table().offers)(channel).presence {
        let join = Encoded::join(channel, subscription.join());
        connection.hub().registry().deliver(gym, channel, join);
    }
}

/// Answers `subscribe`; none where the reply was sent, since it has to go out before the first publication.
pub(super) async fn subscribe(
    app: &App,
    connection: &Arc<Connection>,
    id: u32,
    session: &Session,
    request: &SubscribeRequest,
) -> Option<Answer> {
    match try_subscribe(app, connection, id, session, request).await {
        Ok(()) => None,
        Err(refused) => Some(Answer::Error(refused)),
    }
}

async fn try_subscribe(
    app: &App,
    connection: &Arc<Connection>,
    id: u32,
    session: &Session,
    request: &SubscribeRequest,
) -> Result<(), ErrorReply> {
    let caller = &session.caller;
    let table = connection.hub().table();
    let failed = |error: Error| {
        error.log();
        ErrorReply::of(&error, connection.lang)
    };
    let Some(gym) = (table.place)(app, caller, &request.channel).await.map_err(failed)? else {
        return Err(ProtocolError::UnknownChannel.into());
    };
    let token_ends = match table.subscription_token {
        Some(check) if !request.token.is_empty() => {
            check(app, session, &request.channel, &request.token).map_err(failed)?
        }
        _ => None,
    };
    let log = match connection.log() {
        Some(own) if own.gym() == gym => own,
        _ => connection.hub().gym(gym).await.map_err(failed)?,
    };
    let Some(subscription) = register(connection, gym, request.channel.as_str().into(), false, log.clone()) else {
        return Err(if connection.subscription(&request.channel).is_some() {
            ProtocolError::AlreadySubscribed.into()
        } else {
            ProtocolError::LimitExceeded.into()
        });
    };
    let place = Place {
        gym,
        channel: &subscription.channel,
        log: &log,
    };
    let refused = match read(app, connection, caller, place, request).await {
        Ok(Ok(Outcome::State { mut result, position })) => match subscription.ready() {
            Ready::Open => {
                (result.expires, result.ttl) = expiry(app, connection, &subscription, token_ends);
                connection.reply(id, Answer::Subscribe(result));
                go_live(connection, gym, &subscription, position);
                return Ok(());
            }
            Ready::Lost => ErrorReply::of(&Error::new(Code::Unavailable), connection.lang),
            Ready::Revoked => ErrorReply::denied(connection.lang),
        },
        Ok(Ok(Outcome::Refused(error))) => error,
        // Not an answer: the client would take a refusal for the last word on a channel that it may watch again with a
        // new token.
        Ok(Err(close)) => {
            connection.forget(&request.channel);
            connection.close(close);
            return Ok(());
        }
        Err(error) => failed(error),
    };
    connection.forget(&request.channel);
    Err(refused)
}

/// Checks the right of this caller, in a snapshot of its own, and only then reads what all who may watch share. A close
/// where the session or roles do not hold.
async fn read(
    app: &App,
    connection: &Connection,
    caller: &Caller,
    place: Place<'_>,
    request: &SubscribeRequest,
) -> Result<Result<Outcome, Close>> {
    let hub = connection.hub();
    let tickets = Tickets::take(hub, place, request);
    // Waited for with the tickets in hand, so that a crowd shares its reads.
    let Some(turn) = hub.turn().await else {
        return Ok(Ok(Outcome::Refused(ProtocolError::TooManyRequests.into())));
    };
    let right = app
        .read(For::gym(place.gym), async |conn| {
            if let Some(close) = rights::ended_by((hub.table().standing)(conn, caller, app.clock.now()).await?) {
                return Ok(Err(close));
            }
            state::authorise(app, connection, conn, caller, place.channel)
                .await
                .map(Ok)
        })
        .await;
    drop(turn);
    match right? {
        Err(close) => Ok(Err(close)),
        Ok(Some(refused)) => Ok(Ok(Outcome::Refused(refused))),
        Ok(None) => {
            let outcome = state::read(app, hub, place, Source::Shared(tickets), request).await?;
            Ok(Ok(outcome))
        }
    }
}

/// Sets when a subscription's token runs out, and says it to the client: whether it does, and in how many seconds.
fn expiry(app: &App, connection: &Connection, subscription: &Subscription, ends: Option<DateTime<Utc>>) -> (bool, u32) {
    let at = ends.map(|ends| Instant::now() + (ends - app.clock.now()).to_std().unwrap_or_default());
    subscription.set_expiry(at);
    if let Some(at) = at {
        connection.authorise_at(at + REFRESH_GRACE + Duration::from_millis(1));
    }
    (at.is_some(), ttl(at))
}

/// Answers `sub_refresh`.
pub(super) fn refresh(app: &App, connection: &Connection, session: &Session, request: &SubRefreshRequest) -> Answer {
    let Some(check) = connection.hub().table().subscription_token else {
        return Answer::Error(ProtocolError::NotAvailable.into());
    };
    let Some(subscription) = connection.subscription(&request.channel) else {
        return Answer::Error(ErrorReply::denied(connection.lang));
    };
    match check(app, session, &request.channel, &request.token) {
        Ok(ends) => {
            let (expires, ttl) = expiry(app, connection, &subscription, ends);
            Answer::SubRefresh(SubRefreshResult { expires, ttl })
        }
        Err(error) => {
            error.log();
            Answer::Error(ErrorReply::of(&error, connection.lang))
        }
    }
}
