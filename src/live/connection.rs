//! One socket: reading, pings, expiry and close; what it is subscribed to. Its commands are in [`super::commands`].

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_ws::{AggregatedMessage, AggregatedMessageStream, ProtocolError as WsError};
use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::outbox::Outbox;
use super::protocol::close::Close;
use super::protocol::{Codec, Command, Reply, json};
use super::registry::{ConnectionGuard, SubscriptionGuard};
use super::sequencer::GymLog;
use super::{Hub, commands, frame, rights};
use crate::app::App;
use crate::auth::Caller;
use crate::error::Lang;

/// How long after the end of its token a connection may still refresh it.
const REFRESH_GRACE: Duration = Duration::from_secs(25);
/// How long a client may take to answer a close.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// What is known of a connection after `connect`.
#[derive(Clone, Copy)]
pub struct Session {
    /// Whose it is.
    pub caller: Caller,
    /// When its token runs out.
    pub expires_at: Instant,
}

#[derive(Default)]
struct State {
    session: Option<Session>,
    /// Its gym's sequencer, kept alive by it.
    log: Option<Arc<GymLog>>,
    guard: Option<ConnectionGuard>,
    subscriptions: HashMap<String, SubscriptionGuard>,
    /// When a right to watch runs out by itself.
    authorise_at: Option<Instant>,
    commands: VecDeque<Command>,
    /// Whether a task works through `commands`.
    working: bool,
}

/// A socket, from its upgrade on.
pub struct Connection {
    /// The id that the client is told.
    pub id: String,
    /// Its messages' encoding.
    pub codec: Codec,
    /// The language of its errors.
    pub lang: Lang,
    /// What waits to be written.
    pub outbox: Arc<Outbox>,
    hub: Hub,
    state: Mutex<State>,
    next_number: AtomicU32,
    authorise: AtomicBool,
    /// Wakes the reader.
    woken: Notify,
}

impl Connection {
    /// A connection that has said nothing yet.
    #[must_use]
    pub fn new(hub: Hub, codec: Codec, lang: Lang) -> Arc<Self> {
        let outbox = Outbox::new(hub.limits().outbox_bytes);
        Arc::new(Self {
            id: uuid::Uuid::new_v4().to_string(),
            codec,
            lang,
            outbox,
            hub,
            state: Mutex::default(),
            next_number: AtomicU32::new(1),
            authorise: AtomicBool::new(false),
            woken: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hub it belongs to.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Who it is, once connected.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        self.lock().session
    }

    /// A number for a new subscription.
    pub fn next_number(&self) -> u32 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a reply.
    pub fn reply(&self, reply: &Reply) {
        match json::encode_reply(reply) {
            Ok(bytes) => self.outbox.push_control(match self.codec {
                Codec::Json => frame::text(&bytes),
            }),
            Err(error) => {
                tracing::error!(connection.id = self.id, error.cause = %error, "cannot encode a reply");
                self.close(Close::ServerError);
            }
        }
    }

    /// Closes it, after what waits.
    pub fn close(&self, close: Close) {
        self.outbox.close(close);
        self.woken.notify_one();
    }

    /// Enters the connection under its account. From here on a change of access finds it.
    pub fn enter(self: &Arc<Self>, session: Session, log: Arc<GymLog>) {
        let guard = self
            .hub
            .registry()
            .connect(session.caller.gym, session.caller.account, self.clone());
        let mut state = self.lock();
        state.session = Some(session);
        state.log = Some(log);
        let old = state.guard.replace(guard);
        drop(state);
        drop(old);
        self.hub.presence_soon();
    }

    /// Takes a new token of the same account.
    pub fn renew(&self, session: Session) {
        self.lock().session = Some(session);
        self.woken.notify_one();
    }

    /// Keeps a subscription. None where the channel is subscribed already or there are too many.
    pub fn keep(&self, guard: SubscriptionGuard) -> Option<SubscriptionGuard> {
        let mut state = self.lock();
        let name = guard.subscription.channel.to_string();
        let taken = state.subscriptions.get(&name).is_some_and(|g| !g.subscription.ended());
        if taken || state.subscriptions.len() >= self.hub.limits().channels {
            return Some(guard);
        }
        let old = state.subscriptions.insert(name, guard);
        drop(state);
        drop(old);
        None
    }

    /// Whether the channel is subscribed.
    #[must_use]
    pub fn watches(&self, channel: &str) -> bool {
        self.lock()
            .subscriptions
            .get(channel)
            .is_some_and(|g| !g.subscription.ended())
    }

    /// Forgets a subscription.
    pub fn forget(&self, channel: &str) {
        let gone = self.lock().subscriptions.remove(channel);
        drop(gone);
    }

    /// What it is subscribed to.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Arc<super::subscription::Subscription>> {
        self.lock()
            .subscriptions
            .values()
            .map(|g| g.subscription.clone())
            .collect()
    }

    /// Asks for the rights to be checked again at an instant.
    pub fn authorise_at(&self, at: Instant) {
        let mut state = self.lock();
        state.authorise_at = Some(state.authorise_at.map_or(at, |there| there.min(at)));
        drop(state);
        self.woken.notify_one();
    }

    /// Asks for the rights to be checked again now. May be called on any thread.
    pub fn authorise_again(&self) {
        self.authorise.store(true, Ordering::Release);
        self.woken.notify_one();
    }

    /// The next command of its queue; none ends the task that works through it.
    pub fn next_command(&self) -> Option<Command> {
        let mut state = self.lock();
        let next = state.commands.pop_front();
        state.working = next.is_some();
        next
    }

    /// Queues commands; returns whether a task has to be started. Errors where too many wait.
    fn queue(&self, commands: Vec<Command>) -> Result<bool, Close> {
        let mut state = self.lock();
        for command in commands {
            if state.commands.len() >= self.hub.limits().pending_commands {
                return Err(Close::TooManyRequests);
            }
            state.commands.push_back(command);
        }
        Ok(!state.commands.is_empty() && !std::mem::replace(&mut state.working, true))
    }

    /// Forgets everything; the guards leave the registry.
    fn leave(&self) {
        let mut state = self.lock();
        let gone = (
            std::mem::take(&mut state.subscriptions),
            state.guard.take(),
            state.log.take(),
        );
        drop(state);
        drop(gone);
    }
}

/// Leaves the registry however the reader ends.
struct Leave(Arc<Connection>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.leave();
        self.0.hub.closed(&self.0);
    }
}

/// The deadlines of a reader.
struct Timers {
    connect_by: Instant,
    ping_at: Option<Instant>,
    pong_by: Option<Instant>,
    closed_by: Option<Instant>,
}

/// Reads a socket until its end. `_session` keeps actix-ws's own body open meanwhile.
pub async fn read(
    app: App,
    connection: Arc<Connection>,
    mut stream: AggregatedMessageStream,
    _session: actix_ws::Session,
    too_big: Rc<Cell<bool>>,
) {
    let leave = Leave(connection.clone());
    let limits = connection.hub.limits().clone();
    let ping_every = Duration::from_secs(app.config.live_ping_seconds.into());
    let now = Instant::now();
    let mut timers = Timers {
        connect_by: now + limits.connect_within,
        ping_at: None,
        pong_by: None,
        closed_by: None,
    };
    loop {
        if connection.outbox.closed().is_some() && timers.closed_by.is_none() {
            // What it watches is of no use any more; the client has a moment to answer the close.
            connection.leave();
            timers.closed_by = Some(Instant::now() + CLOSE_WITHIN);
        }
        let deadline = next_deadline(&connection, &timers);
        tokio::select! {
            message = stream.next() => match message {
                Some(Ok(message)) => match take(&app, &connection, message) {
                    Taken::More => {}
                    Taken::Pong => timers.pong_by = None,
                    Taken::End => break,
                },
                Some(Err(error)) => {
                    connection.close(match error {
                        WsError::Overflow => Close::TooBig,
                        _ => Close::Protocol,
                    });
                    // A decode error does not end the stream, so we end it.
                    break;
                }
                None => {
                    if too_big.get() {
                        connection.close(Close::TooBig);
                    }
                    break;
                }
            },
            () = connection.woken.notified() => {
                if connection.authorise.swap(false, Ordering::AcqRel) {
                    actix_web::rt::spawn(rights::check_again(app.clone(), connection.clone()));
                }
            }
            () = tokio::time::sleep_until(deadline) => {
                if !tick(&app, &connection, &mut timers, ping_every, limits.pong_within) {
                    break;
                }
            }
        }
        if timers.ping_at.is_none() && connection.session().is_some() {
            // The first ping at a random moment, so that sockets that came together do not ping together.
            timers.ping_at = Some(Instant::now() + ping_every.mul_f64(rand::random_range(0.5..1.0)));
        }
    }
    drop(leave);
    // The close frame still has to leave; the body ends when it has.
    for _ in 0..50 {
        if connection.outbox.closed().is_none() || connection.outbox.is_drained() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn next_deadline(connection: &Connection, timers: &Timers) -> Instant {
    if let Some(at) = timers.closed_by {
        return at;
    }
    let state = connection.lock();
    let mut deadline = match state.session {
        None => timers.connect_by,
        Some(session) => session.expires_at + REFRESH_GRACE,
    };
    for at in [timers.ping_at, timers.pong_by, state.authorise_at]
        .into_iter()
        .flatten()
    {
        deadline = deadline.min(at);
    }
    deadline
}

/// Acts on the deadlines that have passed; false ends the reader.
fn tick(
    app: &App,
    connection: &Arc<Connection>,
    timers: &mut Timers,
    ping_every: Duration,
    pong_within: Duration,
) -> bool {
    let now = Instant::now();
    let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
    if past(timers.closed_by) {
        return false;
    }
    match connection.session() {
        None if timers.connect_by <= now => connection.close(Close::Stale),
        Some(session) if session.expires_at + REFRESH_GRACE <= now => connection.close(Close::Expired),
        _ => {}
    }
    if past(timers.pong_by) {
        connection.close(Close::NoPong);
        return true;
    }
    if past(timers.ping_at) {
        connection.outbox.push_control(match connection.codec {
            Codec::Json => frame::text(json::PING),
        });
        timers.ping_at = Some(now + ping_every);
        timers.pong_by = timers.pong_by.or(Some(now + pong_within));
    }
    let mut state = connection.lock();
    let again = past(state.authorise_at);
    if again {
        state.authorise_at = None;
    }
    drop(state);
    if again {
        actix_web::rt::spawn(rights::check_again(app.clone(), connection.clone()));
    }
    true
}

enum Taken {
    More,
    Pong,
    End,
}

fn take(app: &App, connection: &Arc<Connection>, message: AggregatedMessage) -> Taken {
    let text = match message {
        AggregatedMessage::Text(text) => text,
        AggregatedMessage::Ping(payload) => {
            connection.outbox.push_control(frame::pong(&payload));
            return Taken::More;
        }
        AggregatedMessage::Pong(_) => return Taken::More,
        AggregatedMessage::Close(_) => {
            connection.outbox.close(Close::Normal);
            return Taken::End;
        }
        AggregatedMessage::Binary(_) => {
            connection.close(Close::BadRequest);
            return Taken::More;
        }
    };
    if connection.outbox.closed().is_some() {
        return Taken::More;
    }
    let Ok(mut commands) = json::decode(&text) else {
        connection.close(Close::BadRequest);
        return Taken::More;
    };
    let before = commands.len();
    commands.retain(|c| !c.is_pong());
    let ponged = commands.len() < before;
    if !commands.is_empty() {
        match connection.queue(commands) {
            Ok(true) => {
                actix_web::rt::spawn(commands::work(app.clone(), connection.clone()));
            }
            Ok(false) => {}
            Err(close) => connection.close(close),
        }
    }
    if ponged { Taken::Pong } else { Taken::More }
}
