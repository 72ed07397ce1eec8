//! What a client asks for over its socket. A connection's commands are worked through in order, by a task of their own, so
//! that reading, pongs and close never wait for them; an accepted command is finished even when its socket has gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use diesel_async::AsyncPgConnection;
use serde_json::Value;
use tokio::time::Instant;

use super::connection::{Connection, Session};
use super::protocol::close::Close;
use super::protocol::{
    Answer, Command, ConnectRequest, ConnectResult, Empty, ErrorReply, Payload, ProtocolError, Publication,
    RefreshRequest, Reply, RpcRequest, RpcResult, SubscribeRequest, SubscribeResult,
};
use super::registry::SubscriptionGuard;
use super::subscription::Subscription;
use crate::app::{App, For};
use crate::auth::Caller;
use crate::auth::access::{self, Standing};
use crate::error::{Code, Error, Result};
use crate::events::{Access, Channel, log};

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
                    results.push(state(app, connection, conn, &caller, *channel, from).await?);
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
            } => {
                result.subs.insert(subscription.channel.to_string(), state);
                live.push((subscription, position));
            }
            Outcome::Refused(_) => connection.forget(&subscription.channel),
        }
    }
    connection.reply(&Reply {
        id,
        answer: Answer::Connect(result),
    });
    for (subscription, position) in live {
        subscription.go_live(position);
    }
    Ok(None)
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

/// What came of reading a channel's state.
enum Outcome {
    State { result: SubscribeResult, position: u64 },
    Refused(ErrorReply),
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
            state(app, connection, conn, caller, channel, &request).await
        })
        .await;
    let refused = match read {
        Ok(Outcome::State { result, position }) => {
            if !subscription.ended() {
                // The reply is queued before the first publication.
                connection.reply(&Reply {
                    id,
                    answer: Answer::Subscribe(result),
                });
                if !subscription.go_live(position) {
                    // It was revoked between the look and here, when the client had not been told of it yet.
                    connection.forget(&request.channel);
                    connection.close(Close::StateInvalidated);
                }
                return None;
            }
            ErrorReply::denied(connection.lang)
        }
        Ok(Outcome::Refused(error)) => error,
        Err(error) => {
            error.log();
            ErrorReply::of(&error, connection.lang)
        }
    };
    connection.forget(&request.channel);
    Some(Answer::Error(refused))
}

/// Authorises and reads a channel's state in the snapshot of `conn`: what was missed, or all there is.
async fn state(
    app: &App,
    connection: &Connection,
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    channel: Channel,
    request: &SubscribeRequest,
) -> Result<Outcome> {
    let hub = connection.hub();
    let now = app.clock.now();
    let until = match (hub.table().authorise)(conn, caller, channel, now).await? {
        Access::Granted { until } => until,
        Access::Refused => return Ok(Outcome::Refused(ErrorReply::denied(connection.lang))),
    };
    if let Some(left) = until.map(|until| (until - now).to_std().unwrap_or_default()) {
        connection.authorise_at(Instant::now() + left + Duration::from_millis(1));
    }
    let head = log::head(conn, caller.gym)
        .await?
        .ok_or_else(|| Error::not_found("gym"))?;
    let name = channel.to_string();
    let mut result = SubscribeResult {
        recoverable: true,
        positioned: true,
        epoch: head.epoch.clone(),
        was_recovering: request.recover,
        ..SubscribeResult::default()
    };
    let same_epoch = request.epoch.is_empty() || *request.epoch == *head.epoch;
    if request.recover && same_epoch && request.offset <= head.seq {
        let limit = hub.limits().recover_events;
        if let Some(missed) = log::channel_since(conn, caller.gym, &name, request.offset, head.seq, limit).await? {
            hub.counters.recoveries.fetch_add(1, Ordering::Relaxed);
            result.recovered = true;
            result.offset = request.offset;
            result.publications = missed
                .into_iter()
                .map(|(offset, payload)| Publication {
                    data: Payload(payload),
                    offset,
                })
                .collect();
            return Ok(Outcome::State {
                result,
                position: head.seq,
            });
        }
    }
    if request.recover && request.flag & 2 != 0 {
        return Ok(Outcome::Refused(ProtocolError::Unrecoverable.into()));
    }
    hub.counters.snapshots.fetch_add(1, Ordering::Relaxed);
    let snapshot = snapshot(connection, conn, caller, channel, now).await?.to_string();
    result.offset = head.seq;
    result.data = Some(if snapshot.len() > hub.limits().snapshot_bytes {
        serde_json::json!({"fetch": true, "url": format!("/api/v1/live/snapshots/{name}")})
            .to_string()
            .into()
    } else {
        snapshot.into()
    });
    Ok(Outcome::State {
        result,
        position: head.seq,
    })
}

/// The snapshot, with who is online where it shows people.
async fn snapshot(
    connection: &Connection,
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    channel: Channel,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Value> {
    let hub = connection.hub();
    let mut snapshot = (hub.table().snapshot)(conn, caller.gym, channel, now).await?;
    let shown: Vec<String> = match snapshot.get("members").and_then(Value::as_object) {
        Some(members) if matches!(channel, Channel::Roster(_)) => {
            let online = hub.online(caller.gym);
            online
                .iter()
                .map(ToString::to_string)
                .filter(|a| members.contains_key(a))
                .collect()
        }
        _ => return Ok(snapshot),
    };
    if let Some(snapshot) = snapshot.as_object_mut() {
        snapshot.insert(
            "online".into(),
            shown.into_iter().map(|a| (a, Value::Bool(true))).collect(),
        );
    }
    Ok(snapshot)
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

/// How often a check is tried while the database cannot be read.
const ATTEMPTS: u32 = 3;

/// Checks all rights of a connection again: its session and roles, and each subscription. Where they cannot be read, the
/// connection is closed rather than left open.
pub(super) async fn authorise_again(app: App, connection: Arc<Connection>) {
    for attempt in 1..=ATTEMPTS {
        match authorise_once(&app, &connection).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(connection.id = connection.id, error.cause = ?error, "cannot check rights again");
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
            }
        }
    }
    connection.close(Close::ServerError);
}

async fn authorise_once(app: &App, connection: &Arc<Connection>) -> Result<()> {
    let Some(session) = connection.session() else {
        return Ok(());
    };
    let caller = session.caller;
    let subscriptions = connection.subscriptions();
    let (standing, refused) = app
        .read(For::gym(caller.gym), async |conn| {
            let now = app.clock.now();
            let standing = access::standing(conn, &caller.claim(), now).await?;
            let mut refused = Vec::new();
            for subscription in &subscriptions {
                let Ok(channel) = subscription.channel.parse::<Channel>() else {
                    continue;
                };
                match (connection.hub().table().authorise)(conn, &caller, channel, now).await? {
                    Access::Refused => refused.push(subscription.clone()),
                    Access::Granted { until: Some(until) } => {
                        let left = (until - now).to_std().unwrap_or_default();
                        connection.authorise_at(Instant::now() + left + Duration::from_millis(1));
                    }
                    Access::Granted { until: None } => {}
                }
            }
            Ok((standing, refused))
        })
        .await?;
    match standing {
        Standing::Good => {
            for subscription in refused {
                subscription.revoke();
                connection.forget(&subscription.channel);
            }
        }
        Standing::RolesChanged => connection.close(Close::StateInvalidated),
        Standing::SessionEnded | Standing::NotActive => connection.close(Close::ForceDisconnect),
    }
    Ok(())
}
