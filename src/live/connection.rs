//! One socket: reading, pings, expiry and close; what it is subscribed to. Its commands are in [`super::commands`].

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::web;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::outbox::Outbox;
use super::protocol::close::Close;
use super::protocol::{Answer, ClientInfo, Codec, Command, Reply};
use super::reader::{Message, Next, Reader};
use super::registry::{ConnectionGuard, SubscriptionGuard};
use super::sequencer::GymLog;
use super::subscription::Subscription;
use super::{Hub, commands, frame, rights};
use crate::app::App;
use crate::auth::Caller;
use crate::error::Lang;

/// How long after the end of a token it may still be refreshed.
pub(super) const REFRESH_GRACE: Duration = Duration::from_secs(25);
/// How long a client may take to answer a close.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How long a client that broke the WebSocket protocol may go on sending; it is not listened to.
const FAILED_WITHIN: Duration = Duration::from_secs(1);

/// What is known of a connection after `connect`.
#[derive(Clone)]
pub struct Session {
    /// Whose it is.
    pub caller: Caller,
    /// Whose it is, in words for others.
    pub user: Arc<str>,
    /// When its token runs out, where it does.
    pub expires_at: Option<Instant>,
}

#[derive(Default)]
struct State {
    session: Option<Session>,
    /// Who it is, for others.
    info: Arc<ClientInfo>,
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
    pub fn new(hub: Hub, codec: Codec, lang: Lang, outbox: Arc<Outbox>) -> Arc<Self> {
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
        self.lock().session.clone()
    }

    /// Who it is, for others.
    #[must_use]
    pub fn info(&self) -> Arc<ClientInfo> {
        self.lock().info.clone()
    }

    /// The sequencer of its own gym, once connected.
    #[must_use]
    pub fn log(&self) -> Option<Arc<GymLog>> {
        self.lock().log.clone()
    }

    /// A number for a new subscription.
    pub fn next_number(&self) -> u32 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Answers the command of that id.
    pub fn reply(&self, id: u32, answer: Answer) {
        match self.codec.encode(&Reply::to(id, answer)) {
            Ok(message) => self.outbox.push_control(frame::message(self.codec, &message)),
            Err(error) => {
                tracing::error!(connection.id = self.id, error.cause = ?error, "cannot encode a reply");
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
        state.info = Arc::new(ClientInfo {
            user: session.user.to_string(),
            client: self.id.clone(),
        });
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

    /// The subscription to a channel.
    #[must_use]
    pub fn subscription(&self, channel: &str) -> Option<Arc<Subscription>> {
        let state = self.lock();
        let guard = state.subscriptions.get(channel)?;
        (!guard.subscription.ended()).then(|| guard.subscription.clone())
    }

    /// Forgets a subscription.
    pub fn forget(&self, channel: &str) {
        let gone = self.lock().subscriptions.remove(channel);
        drop(gone);
    }

    /// What it is subscribed to.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Arc<Subscription>> {
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
    /// Whether it was closed and has left the registry.
    left: bool,
}

/// Reads a socket until its end.
pub async fn read(app: App, connection: Arc<Connection>, mut reader: Reader<web::Payload>) {
    let leave = Leave(connection.clone());
    let limits = connection.hub.limits().clone();
    let ping_every = Duration::from_secs(app.config.live_ping_seconds.into());
    let now = Instant::now();
    let mut timers = Timers {
        connect_by: now + limits.connect_within,
        ping_at: None,
        pong_by: None,
        closed_by: None,
        left: false,
    };
    loop {
        if connection.outbox.closed().is_some() && !std::mem::replace(&mut timers.left, true) {
            // What it watches is of no use any more; the client has a moment to answer the close.
            connection.leave();
            timers.closed_by = timers.closed_by.or(Some(Instant::now() + CLOSE_WITHIN));
        }
        let deadline = next_deadline(&connection, &timers);
        tokio::select! {
            next = reader.next() => match next {
                Next::Message(message) => match take(&app, &connection, message) {
                    Taken::More => {}
                    Taken::Pong => timers.pong_by = None,
                    Taken::End => break,
                },
                Next::Failed(close) => {
                    connection.close(close);
                    timers.closed_by = Some(Instant::now() + FAILED_WITHIN);
                }
                Next::Ended => break,
            },
            () = connection.outbox.gone() => break,
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
    connection.outbox.end();
}

fn next_deadline(connection: &Connection, timers: &Timers) -> Instant {
    if let Some(at) = timers.closed_by {
        return at;
    }
    let state = connection.lock();
    let token = match &state.session {
        None => Some(timers.connect_by),
        Some(session) => session.expires_at.map(|at| at + REFRESH_GRACE),
    };
    [token, timers.ping_at, timers.pong_by, state.authorise_at]
        .into_iter()
        .flatten()
        .min()
        // Between `connect` and the first ping of a token without an end nothing is due.
        .unwrap_or_else(|| Instant::now() + CLOSE_WITHIN)
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
        Some(session) if past(session.expires_at.map(|at| at + REFRESH_GRACE)) => connection.close(Close::Expired),
        _ => {}
    }
    if past(timers.pong_by) {
        connection.close(Close::NoPong);
        return true;
    }
    if past(timers.ping_at) {
        let ping = frame::message(connection.codec, connection.codec.ping());
        connection.outbox.push_control(ping);
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

fn take(app: &App, connection: &Arc<Connection>, message: Message) -> Taken {
    let frame = match (message, connection.codec) {
        (Message::Text(frame), Codec::Json) | (Message::Binary(frame), Codec::Protobuf) => frame,
        (Message::Ping(payload), _) => {
            connection.outbox.push_pong(&payload);
            return Taken::More;
        }
        (Message::Pong, _) => return Taken::More,
        (Message::Close(code), _) => {
            connection.outbox.answer_close(code);
            return Taken::End;
        }
        (Message::Text(_) | Message::Binary(_), _) => {
            connection.close(Close::BadRequest);
            return Taken::More;
        }
    };
    if connection.outbox.closed().is_some() {
        return Taken::More;
    }
    let Ok(mut commands) = connection.codec.decode(&frame) else {
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
