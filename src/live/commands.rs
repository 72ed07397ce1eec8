//! What a client asks for over its socket. A connection's commands are worked through in order, by a task of their own, so
//! that reading, pongs and close never wait for them; an accepted command is finished even when its socket has gone.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use super::connection::{Connection, Session};
use super::protocol::close::Close;
use super::protocol::{
    Answer, Command, ConnectRequest, ConnectResult, Empty, ErrorReply, ProtocolError, RefreshRequest, Reply,
    RpcRequest, RpcResult, SubscribeRequest,
};
use super::registry::SubscriptionGuard;
use super::state::{self, Outcome};
use super::subscription::{Ready, Subscription};
use crate::app::{App, For};
use crate::auth::Caller;
use crate::auth::access::{self, Standing};
use crate::error::{Code, Error, Result};
use crate::events::Channel;

/// Works through a connection's commands until none waits.
pub(super) async fn work(app: App, connection: Arc<Connection>) {
    while let Some(command) = connection.next_command() {
        let id = command.id;
        match answer(&app, &connection, command).await {
            Ok(Some(answer)) => connection.reply(&Reply { id, answer }),
            Ok(None) => {}
            Err(close) => connection.close(close),
        }
    }
}

/// The answer to a command; none where it has been sent, or none is due.
async fn answer(app: &App, connection: &Arc<Connection>, command: Command) -> Result<Option<Answer>, Close> {
    let id = command.id;
    let open = connection.outbox.closed().is_none();
    if let Some(request) = command.connect {
        return connect(app, connection, id, request).await;
    }
    let Some(session) = connection.session() else {
        return Err(Close::BadRequest);
    };
    if let Some(request) = command.rpc {
        return Ok(Some(rpc(app, connection, &session.caller, request).await));
    }
    if !open || command.send.is_some() {
        return Ok(None);
    }
    if let Some(request) = command.subscribe {
        return Ok(subscribe(app, connection, id, &session.caller, request).await);
    }
    if let Some(request) = command.unsubscribe {
        connection.forget(&request.channel);
        return Ok(Some(Answer::Unsubscribe(Empty {})));
    }
    if let Some(request) = command.refresh {
        return refresh(app, connection, &session.caller, &request).map(Some);
    }
    if command.publish.is_some() {
        return Ok(Some(Answer::Error(ErrorReply::denied(connection.lang))));
    }
    let known = command.presence.is_some()
        || command.presence_stats.is_some()
        || command.history.is_some()
        || command.sub_refresh.is_some();
    if known {
        Ok(Some(Answer::Error(ProtocolError::NotAvailable.into())))
    } else {
        Err(Close::BadRequest)
    }
}

/// Verifies a token.
fn verify(app: &App, token: &str) -> Result<Session, Error> {
    let now = app.clock.now();
    let verified = app.tokens.verify(token, now)?;
    let left = (verified.expires_at - now).to_std().unwrap_or_default();
    Ok(Session {
        caller: verified.caller,
        expires_at: Instant::now() + left,
    })
}

/// Seconds that a client has left before it must refresh, at least one.
fn ttl(session: &Session) -> u32 {
    let left = session.expires_at.saturating_duration_since(Instant::now()).as_secs();
    u32::try_from(left.max(1)).unwrap_or(u32::MAX)
}

async fn connect(
    app: &App,
    connection: &Arc<Connection>,
    id: u32,
    mut request: ConnectRequest,
) -> Result<Option<Answer>, Close> {
    if connection.session().is_some() || request.token.is_empty() {
        return Err(Close::BadRequest);
    }
    let session = match verify(app, &request.token) {
        Ok(session) => session,
        Err(error) if error.code == Code::TokenExpired => {
            return Ok(Some(Answer::Error(ErrorReply::of(&error, connection.lang))));
        }
        Err(_) => return Err(Close::InvalidToken),
    };
    let caller = session.caller;
    let failed = |error: Error| {
        error.log();
        Ok(Some(Answer::Error(ErrorReply::of(&error, connection.lang))))
    };
    let log = match connection.hub().gym(caller.gym).await {
        Ok(log) => log,
        Err(error) if error.code == Code::NotFound => return Err(Close::InvalidToken),
        Err(error) => return failed(error),
    };
    // Entered before access is checked: a revocation that commits in between finds the connection.
    connection.enter(session, log);
    let mut opened = Vec::new();
    for channel in (connection.hub().table().server_side)(&caller) {
        if let Some(subscription) = register(connection, &caller, channel, true) {
            let from = request.subs.remove(&*subscription.channel).unwrap_or_default();
            opened.push((channel, subscription, from));
        }
    }
    let read = app
        .read(For::gym(caller.gym), async |conn| {
            let standing = access::standing(conn, &caller.claim(), app.clock.now()).await?;
            let mut results = Vec::new();
            if standing == Standing::Good {
                for (channel, _, from) in &opened {
                    results.push(state::read(app, connection, conn, &caller, *channel, from).await?);
                }
            }
            Ok((standing, results))
        })
        .await;
    let (standing, results) = match read {
        Ok(read) => read,
        Err(error) => {
            connection.close(Close::ServerError);
            error.log();
            return Ok(None);
        }
    };
    match standing {
        Standing::Good => {}
        // A new token has the new roles; the connection ends, since it entered under the old ones.
        Standing::RolesChanged => {
            let expired = ErrorReply::of(&Error::new(Code::TokenExpired), connection.lang);
            connection.reply(&Reply {
                id,
                answer: Answer::Error(expired),
            });
            return Err(Close::StateInvalidated);
        }
        Standing::SessionEnded => return Err(Close::InvalidToken),
        Standing::NotActive => return Err(Close::ForceDisconnect),
    }
    let mut result = connected(app, connection, &session);
    let mut live = Vec::new();
    for ((_, subscription, _), outcome) in opened.into_iter().zip(results) {
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
    connection.reply(&Reply {
        id,
        answer: Answer::Connect(result),
    });
    for (subscription, position) in live {
        go_live(connection, &subscription, position);
    }
    Ok(None)
}

/// Goes live after the reply. One that ended between the reply and here was not told to the client, which believes that it
/// is subscribed: only a new connection mends that.
fn go_live(connection: &Connection, subscription: &Subscription, position: u64) {
    if !subscription.go_live(position) {
        connection.forget(&subscription.channel);
        connection.close(Close::StateInvalidated);
    }
}

fn connected(app: &App, connection: &Connection, session: &Session) -> ConnectResult {
    ConnectResult {
        client: connection.id.clone(),
        version: concat!("liveplan ", env!("CARGO_PKG_VERSION")),
        expires: true,
        ttl: ttl(session),
        ping: app.config.live_ping_seconds,
        pong: true,
        session: session.caller.session.to_string(),
        node: connection.hub().node.clone(),
        time: app.clock.now().timestamp_millis(),
        ..ConnectResult::default()
    }
}

/// Enters a pending subscription; none where the connection has it or has too many.
fn register(
    connection: &Arc<Connection>,
    caller: &Caller,
    channel: Channel,
    server_side: bool,
) -> Option<Arc<Subscription>> {
    let hub = connection.hub();
    let subscription = Subscription::new(
        channel.to_string().into(),
        server_side,
        connection.next_number(),
        connection.codec,
        connection.outbox.clone(),
    );
    let guard: SubscriptionGuard = hub.registry().subscribe(caller.gym, subscription.clone());
    connection.keep(guard).is_none().then_some(subscription)
}

async fn subscribe(
    app: &App,
    connection: &Arc<Connection>,
    id: u32,
    caller: &Caller,
    request: SubscribeRequest,
) -> Option<Answer> {
    let Ok(channel) = request.channel.parse::<Channel>() else {
        return Some(Answer::Error(ProtocolError::UnknownChannel.into()));
    };
    let Some(subscription) = register(connection, caller, channel, false) else {
        let error = if connection.watches(&request.channel) {
            ProtocolError::AlreadySubscribed
        } else {
            ProtocolError::LimitExceeded
        };
        return Some(Answer::Error(error.into()));
    };
    let read = app
        .read(For::from(caller), async |conn| {
            state::read(app, connection, conn, caller, channel, &request).await
        })
        .await;
    let refused = match read {
        Ok(Outcome::State { result, position }) => match subscription.ready() {
            Ready::Open => {
                // The reply is queued before the first publication.
                connection.reply(&Reply {
                    id,
                    answer: Answer::Subscribe(result),
                });
                go_live(connection, &subscription, position);
                return None;
            }
            Ready::Lost => ErrorReply::of(&Error::new(Code::Unavailable), connection.lang),
            Ready::Revoked => ErrorReply::denied(connection.lang),
        },
        Ok(Outcome::Refused(error)) => error,
        Err(error) => {
            error.log();
            ErrorReply::of(&error, connection.lang)
        }
    };
    connection.forget(&request.channel);
    Some(Answer::Error(refused))
}

fn refresh(app: &App, connection: &Connection, caller: &Caller, request: &RefreshRequest) -> Result<Answer, Close> {
    let session = match verify(app, &request.token) {
        Ok(session) => session,
        Err(error) if error.code == Code::TokenExpired => {
            return Ok(Answer::Error(ErrorReply::of(&error, connection.lang)));
        }
        Err(_) => return Err(Close::InvalidToken),
    };
    if session.caller.account != caller.account || session.caller.gym != caller.gym {
        return Err(Close::InvalidToken);
    }
    connection.renew(session);
    // The new token's session and roles are checked as at connect.
    connection.authorise_again();
    Ok(Answer::Refresh(ConnectResult {
        client: connection.id.clone(),
        version: concat!("liveplan ", env!("CARGO_PKG_VERSION")),
        expires: true,
        ttl: ttl(&session),
        ..ConnectResult::default()
    }))
}

async fn rpc(app: &App, connection: &Connection, caller: &Caller, request: RpcRequest) -> Answer {
    let data = match request.data.as_deref().map(|raw| serde_json::from_str(raw.get())) {
        Some(Ok(data)) => data,
        None => Value::Null,
        Some(Err(_)) => return Answer::Error(ProtocolError::BadRequest.into()),
    };
    match (connection.hub().table().call)(app, caller, &request.method, data).await {
        Ok(json) => Answer::Rpc(RpcResult { data: json.into() }),
        Err(error) => {
            error.log();
            Answer::Error(ErrorReply::of(&error, connection.lang))
        }
    }
}
