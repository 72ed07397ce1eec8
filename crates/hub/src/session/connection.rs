//! The state of one socket: its session, its subscriptions, and its waiting commands. `ws::socket` reads the socket,
//! and `commands` executes the commands.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Hub;
use crate::backend::{Language, Session};
use crate::fanout::registry::SubscriptionGuard;
use crate::fanout::subscription::{Doubt, Subscription};
use crate::ids::LogId;
use crate::log::sequencer::SequencedLog;
use crate::protocol::close::Close;
use crate::protocol::{Answer, ClientInfo, Codec, Command, Reply};
use crate::session::pending::Pending;
use crate::session::table::ConnectionGuard;
use crate::ws::admission::{Newcomer, Place};
use crate::ws::frame;
use crate::ws::outbox::Outbox;

/// State shared by the task that reads the socket and the task that executes commands.
#[derive(Default)]
struct Inner {
    session: Option<Session>,
    /// The connection, as other clients see it.
    info: Arc<ClientInfo>,
    /// Keeps the sequencer of the session's own log alive.
    log: Option<Arc<SequencedLog>>,
    guard: Option<ConnectionGuard<Connection>>,
    subscriptions: HashMap<String, SubscriptionGuard>,
    /// When the next right expires, which requires a check.
    authorise_at: Option<Instant>,
    pending: Pending,
    /// Set on disconnect: commands still running must register nothing after this.
    left: bool,
}

/// Counts of a socket's traffic so far.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Commands accepted.
    pub commands: u64,
    /// Publications accepted into the outbox.
    pub deliveries: u64,
    /// Bytes that the socket accepted.
    pub bytes: u64,
    /// Bytes that wait in the outbox.
    pub waiting_bytes: usize,
    /// Time since the upgrade.
    pub open_for: Duration,
}

/// A socket, from its upgrade on.
pub struct Connection {
    /// The id sent to the client.
    pub id: String,
    /// The encoding of its messages.
    pub codec: Codec,
    /// The language of its error replies.
    pub lang: Language,
    /// The queue of frames to write.
    pub outbox: Arc<Outbox>,
    hub: Hub,
    opened: Instant,
    place: Weak<Place>,
    inner: Mutex<Inner>,
    next_number: AtomicU32,
    authorise: AtomicBool,
    /// The number of doubts so far.
    doubts: AtomicU64,
    /// Notified after a check of the connection's rights.
    checked: Notify,
    /// Wakes the task that reads the socket.
    woken: Notify,
}

impl Newcomer for Connection {
    fn send_away(&self, close: Close) {
        self.close_when_done(close);
    }

    fn give_way(&self) {
        self.outbox.give_up(Close::TooManyRequests);
        self.outbox.leave();
        self.woken.notify_one();
    }
}

impl Connection {
    /// Creates a connection that has not sent `connect` yet.
    #[must_use]
    pub fn new(hub: Hub, codec: Codec, lang: Language, outbox: Arc<Outbox>, place: &Arc<Place>) -> Arc<Self> {
        let connection = Arc::new(Self {
            id: uuid::Uuid::new_v4().to_string(),
            codec,
            lang,
            outbox,
            hub,
            opened: Instant::now(),
            place: Arc::downgrade(place),
            inner: Mutex::default(),
            next_number: AtomicU32::new(1),
            authorise: AtomicBool::new(false),
            doubts: AtomicU64::new(0),
            checked: Notify::new(),
            woken: Notify::new(),
        });
        let newcomer: Arc<dyn Newcomer> = connection.clone();
        place.taken_by(&newcomer);
        connection
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hub that the connection belongs to.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The session, once connected.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        self.lock().session.clone()
    }

    /// The connection, as other clients see it.
    #[must_use]
    pub fn info(&self) -> Arc<ClientInfo> {
        self.lock().info.clone()
    }

    /// The sequencer of the session's own log, once connected.
    #[must_use]
    pub fn log(&self) -> Option<Arc<SequencedLog>> {
        self.lock().log.clone()
    }

    /// The connection's traffic so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let (deliveries, bytes) = self.outbox.traffic();
        Traffic {
            commands: self.lock().pending.taken(),
            deliveries,
            bytes,
            waiting_bytes: self.outbox.waiting_bytes(),
            open_for: self.opened.elapsed(),
        }
    }

    /// Returns a number for a new subscription.
    pub fn next_number(&self) -> u32 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Queues the reply to a command.
    pub fn reply(&self, id: u32, answer: Answer) {
        match self.codec.encode(&Reply::to(id, answer)) {
            Ok(message) => self.outbox.push_control(&frame::message(self.codec, &message)),
            Err(error) => {
                tracing::error!(connection.id = self.id, error.cause = ?error, "cannot encode a reply");
                self.close(Close::ServerError);
            }
        }
    }

    /// Closes the connection behind the waiting frames.
    pub fn close(&self, close: Close) {
        self.outbox.close(close);
        self.woken.notify_one();
    }

    /// Closes the connection after its accepted commands are answered; accepts no more.
    pub fn close_when_done(&self, close: Close) {
        let working = self.lock().pending.close_when_done(close);
        if !working {
            self.close(close);
        }
    }

    /// True while the connection accepts commands; false once it is to be closed.
    #[must_use]
    pub fn takes_commands(&self) -> bool {
        self.lock().pending.closing().is_none() && self.outbox.closed().is_none()
    }

    /// Called when the client has sent a valid token.
    pub(crate) fn identified(&self) {
        if let Some(place) = self.place.upgrade() {
            place.identified();
        }
    }

    /// Called when `connect` is being answered: the pings start, and the place no longer counts as an unfinished
    /// connect.
    pub(crate) fn connected(&self) {
        self.woken.notify_one();
        if let Some(place) = self.place.upgrade() {
            place.connected();
        }
    }

    /// Enters the connection under its user. From here on, access events of the user find it.
    ///
    /// # Errors
    /// The close if the log has too many sockets on this node, or if the connection ended meanwhile.
    pub fn enter(self: &Arc<Self>, session: Session, log: Arc<SequencedLog>) -> Result<(), Close> {
        let bound = self.hub.limits().sockets_per_log;
        let Some(guard) = self
            .hub
            .connections()
            .enter(session.log, session.user, self.clone(), bound)
        else {
            return Err(Close::TooManyRequests);
        };
        let mut inner = self.lock();
        if inner.left {
            drop(inner);
            return Err(Close::Normal);
        }
        inner.info = Arc::new(ClientInfo {
            user: session.name.to_string(),
            client: self.id.clone(),
        });
        inner.session = Some(session);
        inner.log = Some(log);
        let old = inner.guard.replace(guard);
        drop(inner);
        drop(old);
        self.hub.presence_soon();
        Ok(())
    }

    /// Replaces the session after a refresh, with a new token of the same user.
    pub fn renew(&self, session: Session) {
        self.lock().session = Some(session);
        self.woken.notify_one();
    }

    /// Keeps a subscription. Returns it if the channel is already subscribed, if there are too many, or if the
    /// connection has ended.
    pub fn keep(&self, guard: SubscriptionGuard) -> Option<SubscriptionGuard> {
        let mut inner = self.lock();
        let name = guard.subscription.channel.to_string();
        let refused = match inner.subscriptions.get(&name) {
            // An ended subscription makes way for its successor.
            Some(there) => !there.subscription.ended(),
            None => inner.subscriptions.len() >= self.hub.limits().channels,
        };
        if refused || inner.left {
            return Some(guard);
        }
        let old = inner.subscriptions.insert(name, guard);
        drop(inner);
        drop(old);
        None
    }

    /// Returns the subscription to a channel, unless it has ended.
    #[must_use]
    pub fn subscription(&self, channel: &str) -> Option<Arc<Subscription>> {
        let inner = self.lock();
        let guard = inner.subscriptions.get(channel)?;
        (!guard.subscription.ended()).then(|| guard.subscription.clone())
    }

    /// Drops the subscription to a channel.
    pub fn forget(&self, channel: &str) {
        let gone = self.lock().subscriptions.remove(channel);
        drop(gone);
    }

    /// Drops exactly this subscription, not a successor to the same channel.
    pub fn forget_this(&self, subscription: &Arc<Subscription>) {
        let mut inner = self.lock();
        let there = inner.subscriptions.get(&*subscription.channel);
        let gone = if there.is_some_and(|guard| Arc::ptr_eq(&guard.subscription, subscription)) {
            inner.subscriptions.remove(&*subscription.channel)
        } else {
            None
        };
        drop(inner);
        drop(gone);
    }

    /// The connection's subscriptions.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.lock()
            .subscriptions
            .values()
            .map(|g| g.subscription.clone())
            .collect()
    }

    /// Schedules a check of the rights at an instant; the earliest one counts.
    pub fn authorise_at(&self, at: Instant) {
        let mut inner = self.lock();
        inner.authorise_at = Some(inner.authorise_at.map_or(at, |there| there.min(at)));
        drop(inner);
        self.woken.notify_one();
    }

    /// Puts the connection's rights in doubt from a change of a log on: its subscriptions hold back until a check.
    /// Subscriptions of other logs hold back at once, and so do all subscriptions if `log` is `None`.
    pub fn doubt(&self, log: Option<LogId>, from: u64) {
        // Counted first: a check that sees this number begins to read after it, and so sees the effects of the change.
        let number = self.doubts.fetch_add(1, Ordering::SeqCst) + 1;
        let inner = self.lock();
        let subscriptions: Vec<_> = inner
            .subscriptions
            .values()
            .map(|guard| (Some(guard.log()) == log, guard.subscription.clone()))
            .collect();
        drop(inner);
        for (same, subscription) in subscriptions {
            let from = if same { from } else { 0 };
            subscription.doubt(Doubt { from, number });
        }
    }

    /// Returns the number of doubts so far. A check that begins to read now answers all of them.
    pub(crate) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::SeqCst)
    }

    /// Notifies those who wait for a check that it has succeeded or failed for good.
    pub(crate) fn checked(&self) {
        self.checked.notify_one();
    }

    /// Waits while a subscription's right is in doubt; returns false after `within`.
    pub(crate) async fn certain_of(&self, subscription: &Subscription, within: Duration) -> bool {
        let certain = async {
            while subscription.in_doubt() {
                self.checked.notified().await;
            }
        };
        tokio::time::timeout(within, certain).await.is_ok()
    }

    /// Requests a check of the rights now. May be called on any thread.
    pub fn authorise_again(&self) {
        self.authorise.store(true, Ordering::Release);
        self.woken.notify_one();
    }

    /// Returns the next waiting command; `None` ends the task that executes them.
    pub fn next_command(&self) -> Option<Command> {
        let mut inner = self.lock();
        let next = inner.pending.next();
        let closing = inner.pending.closing().filter(|_| next.is_none());
        drop(inner);
        if let Some(close) = closing {
            self.close(close);
        }
        next
    }

    /// Queues all commands of a frame of `bytes` bytes, or none. Returns whether a task must be started.
    ///
    /// # Errors
    /// The close for a client that has too much waiting, or that sent a command without an id or with the id of an
    /// unanswered one.
    pub(crate) fn queue(&self, commands: Vec<Command>, bytes: usize) -> Result<bool, Close> {
        self.lock().pending.put(commands, bytes, self.hub.limits())
    }

    /// Drops everything that the connection holds; the guards remove it from the registry.
    pub(crate) fn leave(&self) {
        let mut inner = self.lock();
        inner.left = true;
        let gone = (
            std::mem::take(&mut inner.subscriptions),
            inner.guard.take(),
            inner.log.take(),
        );
        drop(inner);
        drop(gone);
    }

    /// Waits until the connection was closed, got a new token, or needs a check of its rights.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// True once per requested check.
    pub(crate) fn must_authorise(&self) -> bool {
        self.authorise.swap(false, Ordering::AcqRel)
    }

    /// When the next right expires.
    pub(crate) fn rights_end_at(&self) -> Option<Instant> {
        self.lock().authorise_at
    }

    /// True once per expired right.
    pub(crate) fn rights_have_ended(&self, now: Instant) -> bool {
        self.lock().authorise_at.take_if(|at| *at <= now).is_some()
    }
}
