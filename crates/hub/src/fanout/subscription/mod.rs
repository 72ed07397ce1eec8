//! One connection's subscription to one channel: held back until its snapshot is read, then live, and ended for good. While its
//! right is in doubt it is held back again.

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

/// The connection that a subscription belongs to, as far as it needs it.
#[derive(Clone)]
pub struct Recipient {
    /// The subscription's number on its connection.
    pub number: SubscriptionNumber,
    /// How its messages are encoded.
    pub codec: Codec,
    /// Where its frames go.
    pub outbox: Arc<Outbox>,
    /// Who it is, for others.
    pub info: Arc<ClientInfo>,
}

/// Where it is between its beginning and its end.
enum Phase {
    /// What comes is held back: its snapshot is being read, or its right is in doubt.
    Held(Box<Held>),
    /// Everything up to `last` was sent.
    Live { last: u64 },
    /// Nothing more is sent.
    Ended { lost: bool },
}

impl Phase {
    /// Whether the client was told that it is subscribed, and not yet that it is no more.
    fn is_told(&self) -> bool {
        match self {
            Self::Held(held) => held.is_answered(),
            Self::Live { .. } => true,
            Self::Ended { .. } => false,
        }
    }
}

/// What was handed to connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// Frames of channels.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Subscriptions that ended since their client reads too slowly.
    pub lost: u64,
}

impl Handed {
    /// Adds what became of a frame.
    fn note(&mut self, pushed: Pushed, messages: usize, frame: &Bytes) {
        if pushed == Pushed::Queued {
            self.frames += messages as u64;
            self.bytes += frame.len() as u64;
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.lost += other.lost;
    }
}

/// How a subscription whose state was read can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Its reply may be sent.
    Open,
    /// The hub lost track meanwhile: the client should try again.
    Lost,
    /// It was ended meanwhile: the client may not watch.
    Revoked,
}

/// A subscription. What a delivery touches comes first, in one line of the processor's cache.
#[repr(C, align(64))]
pub struct Subscription {
    phase: Mutex<Phase>,
    to: Recipient,
    /// Channel name.
    pub channel: Arc<str>,
    /// Whether the server opened it.
    pub server_side: bool,
    /// Whether the others were told that it joined.
    joined: AtomicBool,
    /// When the token that it was opened with runs out.
    expires_at: Mutex<Option<Instant>>,
}

impl Subscription {
    /// A pending subscription.
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

    /// Takes publications, in the order of the log's log. Offset 0 is one that is not stored.
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

    /// Ends it since its client reads too slowly, or more came than may be held back.
    fn lose_slow(&self, mut phase: MutexGuard<'_, Phase>, handed: &mut Handed) {
        *phase = Phase::Ended { lost: true };
        drop(phase);
        handed.lost = 1;
        self.tell(Unsubscribe::InsufficientState, Close::Slow);
    }

    /// Pushes what is after `last`, in one piece where it can.
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

    /// Goes live at the position of its snapshot, with what was held back after it; in doubt, only up to there. To be called after the
    /// reply was queued. None where it was ended meanwhile.
    pub fn go_live(&self, position: u64) -> Option<Handed> {
        let mut phase = self.lock();
        let Phase::Held(held) = &mut *phase else {
            return None;
        };
        held.answered(position);
        Some(self.let_go(phase))
    }

    /// Its right is in doubt: what comes from there on is held back until it is [certain](Self::certain) or over.
    pub fn doubt(&self, doubt: Doubt) {
        let mut phase = self.lock();
        match &mut *phase {
            Phase::Live { last } => *phase = Phase::Held(Box::new(Held::doubted(*last, doubt))),
            Phase::Held(held) => held.doubt(doubt),
            Phase::Ended { .. } => {}
        }
    }

    /// Whether its right is in doubt.
    pub fn in_doubt(&self) -> bool {
        matches!(&*self.lock(), Phase::Held(held) if held.in_doubt())
    }

    /// Its right was found to hold, by a read that began after all doubts up to this number: what they held back goes out.
    pub fn certain(&self, up_to: u64) -> Handed {
        let mut phase = self.lock();
        if let Phase::Held(held) = &mut *phase
            && held.certain(up_to)
        {
            return self.let_go(phase);
        }
        Handed::default()
    }

    /// Sends what may be sent of what is held back, and holds back no longer than it must.
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

    /// Ends it silently; returns whether the client had been told that it was subscribed.
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

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.ready() != Ready::Open
    }

    /// Whether its reply may be sent, and else why not.
    pub fn ready(&self) -> Ready {
        match *self.lock() {
            Phase::Ended { lost: true } => Ready::Lost,
            Phase::Ended { lost: false } => Ready::Revoked,
            Phase::Held(_) | Phase::Live { .. } => Ready::Open,
        }
    }

    /// Ends it because the client may no longer watch.
    pub fn revoke(&self) {
        if self.end() {
            self.tell_unsubscribed(Unsubscribe::Server);
        }
    }

    /// Ends it because its token has run out.
    pub fn expire(&self) {
        if self.end() {
            self.tell_unsubscribed(Unsubscribe::Expired);
        }
    }

    /// Says when its token runs out.
    pub fn set_expiry(&self, at: Option<Instant>) {
        *self.expires_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// When its token runs out.
    pub fn expires_at(&self) -> Option<Instant> {
        *self.expires_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, for others, where its client was told that it is subscribed.
    pub fn watcher(&self) -> Option<&Arc<ClientInfo>> {
        self.lock().is_told().then_some(&self.to.info)
    }

    /// Notes that the others are told that it joined, and returns who.
    pub fn join(&self) -> &Arc<ClientInfo> {
        self.joined.store(true, Ordering::Release);
        &self.to.info
    }

    /// Who left, where the others were told that it had joined; once.
    pub fn left(&self) -> Option<&Arc<ClientInfo>> {
        self.joined.swap(false, Ordering::AcqRel).then_some(&self.to.info)
    }

    /// Ends it because the hub cannot say what was missed.
    pub fn lose(&self) {
        if self.finish(true) {
            self.tell(Unsubscribe::InsufficientState, Close::InsufficientState);
        }
    }

    /// A client subscribes again by itself, except to what the server opened: there only a new connection helps.
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
