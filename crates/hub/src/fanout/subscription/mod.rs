//! One connection's subscription to one channel. It is pending until its snapshot has been read, then live, and finally
//! ended for good. While its right is in doubt it holds back publications again.

mod held;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::time::Instant;

use crate::fanout::encoded::{Bundle, Encoded, framed};
use crate::protocol::close::{Close, Unsubscribe};
use crate::protocol::{ClientInfo, Codec, Event, Push, Reply, Unsubscribed};
use crate::ws::outbox::{Outbox, Pushed, SubscriptionNumber};
pub use held::Doubt;
use held::{Held, Released};

/// The parts of a connection that its subscription needs.
#[derive(Clone)]
pub struct Recipient {
    /// The subscription's number on its connection.
    pub number: SubscriptionNumber,
    /// The encoding of the connection's messages.
    pub codec: Codec,
    /// The connection's outbox.
    pub outbox: Arc<Outbox>,
    /// The connection, as other clients see it.
    pub info: Arc<ClientInfo>,
}

/// The phase of a subscription's life.
enum Phase {
    /// Publications are held back: the snapshot is being read, or the right is in doubt.
    Held(Box<Held>),
    /// Everything up to `last` was sent.
    Live { last: u64 },
    /// Nothing more is sent.
    Ended { lost: bool },
}

impl Phase {
    /// True if the client knows that it is subscribed, and has not been told of the end.
    fn is_told(&self) -> bool {
        match self {
            Self::Held(held) => held.is_answered(),
            Self::Live { .. } => true,
            Self::Ended { .. } => false,
        }
    }
}

/// Counts of what was handed to connections' outboxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// Frames of channels.
    pub frames: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Subscriptions that ended because their client reads too slowly.
    pub lost: u64,
}

impl Handed {
    /// Counts a frame if the outbox accepted it.
    fn note(&mut self, pushed: Pushed, messages: usize, frame: &Bytes) {
        if pushed == Pushed::Queued {
            self.frames += messages as u64;
            self.bytes += frame.len() as u64;
        }
    }

    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.lost += other.lost;
    }
}

/// Whether a subscription can go live once its state has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// The reply may be sent.
    Open,
    /// Publications were lost meanwhile: the client should try again.
    Lost,
    /// The right ended meanwhile: the client may not subscribe.
    Revoked,
}

/// A subscription. The fields that every delivery touches come first, so that they share one CPU cache line.
#[repr(C, align(64))]
pub struct Subscription {
    phase: Mutex<Phase>,
    to: Recipient,
    /// The channel's name.
    pub channel: Arc<str>,
    /// Whether it is a server-side subscription.
    pub server_side: bool,
    /// Whether a join push was sent to the other subscribers.
    joined: AtomicBool,
    /// When the subscription's token expires.
    expires_at: Mutex<Option<Instant>>,
}

impl Subscription {
    /// Creates a pending subscription.
    #[must_use]
    pub fn new(channel: Arc<str>, server_side: bool, to: Recipient) -> Arc<Self> {
        Arc::new(Self {
            channel,
            server_side,
            to,
            phase: Mutex::new(Phase::Held(Box::default())),
            joined: AtomicBool::new(false),
            expires_at: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes publications in the order of the log. Offset 0 marks one that is not stored.
    pub fn deliver(&self, bundle: &Bundle) -> Handed {
        let mut handed = Handed::default();
        let mut phase = self.lock();
        let pushed = match &mut *phase {
            Phase::Live { last } => self.push(last, bundle, &mut handed),
            Phase::Held(held) => {
                let frame = |message: &Encoded| (message.offset(), message.frame(self.to.codec).clone());
                let go = bundle.messages().iter().filter_map(|message| held.put(frame(message)));
                self.push_each(go, &mut handed)
            }
            Phase::Ended { .. } => return handed,
        };
        if pushed == Pushed::Overflow {
            self.lose_slow(phase, &mut handed);
        }
        handed
    }

    fn push_each(&self, frames: impl Iterator<Item = Bytes>, handed: &mut Handed) -> Pushed {
        for frame in frames {
            let pushed = self.to.outbox.push(self.to.number, &frame);
            handed.note(pushed, 1, &frame);
            if pushed != Pushed::Queued {
                return pushed;
            }
        }
        Pushed::Queued
    }

    /// Ends the subscription because its client reads too slowly, or because more publications came than may be held
    /// back.
    fn lose_slow(&self, mut phase: MutexGuard<'_, Phase>, handed: &mut Handed) {
        *phase = Phase::Ended { lost: true };
        drop(phase);
        handed.lost = 1;
        self.tell(Unsubscribe::InsufficientState, Close::Slow);
    }

    /// Pushes the publications after `last`, as one piece if possible.
    fn push(&self, last: &mut u64, bundle: &Bundle, handed: &mut Handed) -> Pushed {
        if let Some(end) = bundle.follows(*last) {
            *last = end;
            let frames = bundle.frames(self.to.codec);
            let count = bundle.messages().len();
            let pushed = self.to.outbox.push_together(self.to.number, frames, count);
            handed.note(pushed, count, frames);
            return pushed;
        }
        for message in bundle.messages() {
            let offset = message.offset();
            if offset > 0 && offset <= *last {
                continue;
            }
            *last = (*last).max(offset);
            let frame = message.frame(self.to.codec);
            let pushed = self.to.outbox.push(self.to.number, frame);
            handed.note(pushed, 1, frame);
            if pushed != Pushed::Queued {
                return pushed;
            }
        }
        Pushed::Queued
    }

    /// Goes live at the position of its snapshot and sends the publications held back above it; in doubt, only those
    /// before the doubt. Must be called after the reply was queued. Returns `None` if the subscription ended meanwhile.
    pub fn go_live(&self, position: u64) -> Option<Handed> {
        let mut phase = self.lock();
        let Phase::Held(held) = &mut *phase else {
            return None;
        };
        held.answered(position);
        Some(self.let_go(phase))
    }

    /// Puts the right in doubt: publications from there on are held back until the right is [certain](Self::certain) or
    /// has ended.
    pub fn doubt(&self, doubt: Doubt) {
        let mut phase = self.lock();
        match &mut *phase {
            Phase::Live { last } => *phase = Phase::Held(Box::new(Held::doubted(*last, doubt))),
            Phase::Held(held) => held.doubt(doubt),
            Phase::Ended { .. } => {}
        }
    }

    /// True while the right is in doubt.
    pub fn in_doubt(&self) -> bool {
        matches!(&*self.lock(), Phase::Held(held) if held.in_doubt())
    }

    /// Answers all doubts up to this number: a read that began after them found that the right holds. Sends what they
    /// held back.
    pub fn certain(&self, up_to: u64) -> Handed {
        let mut phase = self.lock();
        if let Phase::Held(held) = &mut *phase
            && held.certain(up_to)
        {
            return self.let_go(phase);
        }
        Handed::default()
    }

    /// Sends the publications that need not be held back any more, and goes live if nothing else is to be held back.
    fn let_go(&self, mut phase: MutexGuard<'_, Phase>) -> Handed {
        let mut handed = Handed::default();
        let Phase::Held(held) = &mut *phase else {
            return handed;
        };
        let pushed = self.push_each(held.take().into_iter(), &mut handed);
        match held.released() {
            _ if pushed == Pushed::Overflow => self.lose_slow(phase, &mut handed),
            Released::Not => {}
            Released::Live { last } => *phase = Phase::Live { last },
            Released::Overflowed => self.lose_slow(phase, &mut handed),
        }
        handed
    }

    /// Ends the subscription without telling the client; returns whether the client knew that it was subscribed.
    pub fn end(&self) -> bool {
        self.finish(false)
    }

    fn finish(&self, lost: bool) -> bool {
        let mut phase = self.lock();
        let told = phase.is_told();
        // The first reason counts.
        if !matches!(*phase, Phase::Ended { .. }) {
            *phase = Phase::Ended { lost };
        }
        told
    }

    /// True if the subscription has ended.
    pub fn ended(&self) -> bool {
        self.ready() != Ready::Open
    }

    /// Returns whether the reply may be sent, or why not.
    pub fn ready(&self) -> Ready {
        match *self.lock() {
            Phase::Ended { lost: true } => Ready::Lost,
            Phase::Ended { lost: false } => Ready::Revoked,
            Phase::Held(_) | Phase::Live { .. } => Ready::Open,
        }
    }

    /// Ends the subscription because the client's right has ended.
    pub fn revoke(&self) {
        if self.end() {
            self.tell_unsubscribed(Unsubscribe::Server);
        }
    }

    /// Ends the subscription because its token has expired.
    pub fn expire(&self) {
        if self.end() {
            self.tell_unsubscribed(Unsubscribe::Expired);
        }
    }

    /// Sets when the subscription's token expires.
    pub fn set_expiry(&self, at: Option<Instant>) {
        *self.expires_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// When the subscription's token expires.
    pub fn expires_at(&self) -> Option<Instant> {
        *self.expires_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection as other clients see it, if its client knows that it is subscribed.
    pub fn watcher(&self) -> Option<&Arc<ClientInfo>> {
        self.lock().is_told().then_some(&self.to.info)
    }

    /// Records that a join push is sent to the other subscribers, and returns the connection for it.
    pub fn join(&self) -> &Arc<ClientInfo> {
        self.joined.store(true, Ordering::Release);
        &self.to.info
    }

    /// Returns the connection for a leave push, once, if a join push was sent.
    pub fn left(&self) -> Option<&Arc<ClientInfo>> {
        self.joined.swap(false, Ordering::AcqRel).then_some(&self.to.info)
    }

    /// Ends the subscription because missed publications cannot be read.
    pub fn lose(&self) {
        if self.finish(true) {
            self.tell(Unsubscribe::InsufficientState, Close::InsufficientState);
        }
    }

    /// Tells the client of the end. SDKs subscribe again by themselves, but not to server-side subscriptions: those
    /// need a new connection.
    fn tell(&self, why: Unsubscribe, close: Close) {
        if self.server_side {
            self.to.outbox.close(close);
        } else {
            self.tell_unsubscribed(why);
        }
    }

    fn tell_unsubscribed(&self, why: Unsubscribe) {
        let push = Push {
            channel: self.channel.to_string(),
            event: Some(Event::Unsubscribe(Unsubscribed {
                code: why.code(),
                reason: why.reason().to_owned(),
            })),
        };
        self.to.outbox.push_control(&framed(self.to.codec, &Reply::push(push)));
    }
}

#[cfg(test)]
mod tests;
