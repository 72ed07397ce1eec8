//! One socket: whose it is, what it is subscribed to, what waits for it. It is read in `socket`, and its commands are
//! worked through in `commands`.

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

/// What the connection's task and its commands' share.
#[derive(Default)]
struct Inner {
    session: Option<Session>,
    /// Who it is, for others.
    info: Arc<ClientInfo>,
    /// Its log's sequencer, kept alive by it.
    log: Option<Arc<SequencedLog>>,
    guard: Option<ConnectionGuard<Connection>>,
    subscriptions: HashMap<String, SubscriptionGuard>,
    /// When a right to watch runs out by itself.
    authorise_at: Option<Instant>,
    pending: Pending,
    /// It has left the registry: a command that is still under way enters nothing any more.
    left: bool,
}

/// What went over a socket so far.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Commands that came.
    pub commands: u64,
    /// Publications handed to it.
    pub deliveries: u64,
    /// Bytes that it took.
    pub bytes: u64,
    /// Bytes that wait for it to take them.
    pub waiting_bytes: usize,
    /// Since its upgrade.
    pub open_for: Duration,
}

/// A socket, from its upgrade on.
pub struct Connection {
    /// The id that the client is told.
    pub id: String,
    /// Its messages' encoding.
    pub codec: Codec,
    /// The language of its errors.
    pub lang: Language,
    /// What waits to be written.
    pub outbox: Arc<Outbox>,
    hub: Hub,
    opened: Instant,
    place: Weak<Place>,
    inner: Mutex<Inner>,
    next_number: AtomicU32,
    authorise: AtomicBool,
    /// How often its rights came into doubt.
    doubts: AtomicU64,
    /// Rights were checked again.
    checked: Notify,
    /// Wakes the reader.
    woken: Notify,
}

impl Newcomer for Connection {
    fn send_away(&self, close: Close) {
        self.close_when_done(close);
    }
}

impl Connection {
    /// A connection that has said nothing yet.
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

    /// The sequencer of its own log, once connected.
    #[must_use]
    pub fn log(&self) -> Option<Arc<SequencedLog>> {
        self.lock().log.clone()
    }

    /// What went over it so far.
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

    /// A number for a new subscription.
    pub fn next_number(&self) -> u32 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Answers the command of that id.
    pub fn reply(&self, id: u32, answer: Answer) {
        match self.codec.encode(&Reply::to(id, answer)) {
            Ok(message) => self.outbox.push_control(&frame::message(self.codec, &message)),
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

    /// Closes it when the commands that it has accepted are answered; takes no more.
    pub fn close_when_done(&self, close: Close) {
        let working = self.lock().pending.close_when_done(close);
        if !working {
            self.close(close);
        }
    }

    /// Whether it takes commands; not once it is to be closed.
    #[must_use]
    pub fn takes_commands(&self) -> bool {
        self.lock().pending.closing().is_none() && self.outbox.closed().is_none()
    }

    /// `connect` is being answered: the reader begins to ping.
    pub(crate) fn connected(&self) {
        self.woken.notify_one();
        if let Some(place) = self.place.upgrade() {
            place.connected();
        }
    }

    /// Enters the connection under its user. From here on a change of access finds it.
    ///
    /// # Errors
    /// How to close where its log has too many sockets here, or where it has ended meanwhile.
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

    /// Takes a new token of the same user.
    pub fn renew(&self, session: Session) {
        self.lock().session = Some(session);
        self.woken.notify_one();
    }

    /// Keeps a subscription; gives it back where the channel is subscribed already, there are too many, or it has ended.
    pub fn keep(&self, guard: SubscriptionGuard) -> Option<SubscriptionGuard> {
        let mut inner = self.lock();
        let name = guard.subscription.channel.to_string();
        let refused = match inner.subscriptions.get(&name) {
            // One that has ended makes way for its successor.
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

    /// The subscription to a channel.
    #[must_use]
    pub fn subscription(&self, channel: &str) -> Option<Arc<Subscription>> {
        let inner = self.lock();
        let guard = inner.subscriptions.get(channel)?;
        (!guard.subscription.ended()).then(|| guard.subscription.clone())
    }

    /// Forgets the subscription to a channel.
    pub fn forget(&self, channel: &str) {
        let gone = self.lock().subscriptions.remove(channel);
        drop(gone);
    }

    /// Forgets this subscription, and not another that has taken its place.
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
        let mut inner = self.lock();
        inner.authorise_at = Some(inner.authorise_at.map_or(at, |there| there.min(at)));
        drop(inner);
        self.woken.notify_one();
    }

    /// Its rights may have ended with a log's change of this number: from there on its subscriptions hold back what comes, until
    /// they were checked again. What they get of other logs, and without a log all of it, is held back at once.
    pub fn doubt(&self, log: Option<LogId>, from: u64) {
        // Counted first: a check that sees the number reads after it, and so what the change did.
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

    /// How often its rights came into doubt so far. A check that begins to read now answers all of these.
    pub(crate) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::SeqCst)
    }

    /// Rights were checked again, or cannot be: whoever waits for it goes on.
    pub(crate) fn checked(&self) {
        self.checked.notify_one();
    }

    /// Waits while a subscription's right is in doubt; false where that takes too long.
    pub(crate) async fn certain_of(&self, subscription: &Subscription, within: Duration) -> bool {
        let certain = async {
            while subscription.in_doubt() {
                self.checked.notified().await;
            }
        };
        tokio::time::timeout(within, certain).await.is_ok()
    }

    /// Asks for the rights to be checked again now. May be called on any thread.
    pub fn authorise_again(&self) {
        self.authorise.store(true, Ordering::Release);
        self.woken.notify_one();
    }

    /// The next command of its queue; none ends the task that works through it.
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

    /// Queues the commands of a frame of so many bytes, all or none; returns whether a task has to be started.
    ///
    /// # Errors
    /// How to close where too much waits, where a command has no id to be answered under, or one whose answer is due.
    pub(crate) fn queue(&self, commands: Vec<Command>, bytes: usize) -> Result<bool, Close> {
        self.lock().pending.put(commands, bytes, self.hub.limits())
    }

    /// Forgets everything; the guards leave the registry.
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

    /// Waits until it was closed, got a new token, or is to check its rights.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Whether its rights are to be checked again now; asked once.
    pub(crate) fn must_authorise(&self) -> bool {
        self.authorise.swap(false, Ordering::AcqRel)
    }

    /// When a right to watch runs out by itself.
    pub(crate) fn rights_end_at(&self) -> Option<Instant> {
        self.lock().authorise_at
    }

    /// Whether a right to watch has run out by itself; asked once.
    pub(crate) fn rights_have_ended(&self, now: Instant) -> bool {
        self.lock().authorise_at.take_if(|at| *at <= now).is_some()
    }
}
