//! One connection's subscription to one channel: held back until its snapshot is read, then live, and ended for good.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::time::Instant;

use crate::fanout::encoded::{Bundle, framed};
use crate::protocol::close::{Close, Unsubscribe};
use crate::protocol::{ClientInfo, Codec, Event, Push, Reply, Unsubscribed};
use crate::ws::outbox::{Outbox, Pushed, SubscriptionNumber};

/// Publications held back while a snapshot is read. Over it the subscription starts anew, as for a slow client.
const HELD_PUBLICATIONS: usize = 1024;

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

enum State {
    /// Its snapshot is being read; what comes meanwhile is held back.
    Pending { held: Vec<(u64, Bytes)>, overflowed: bool },
    /// Everything up to `last` was sent.
    Live { last: u64 },
    /// Nothing more is sent.
    Ended { lost: bool },
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
    state: Mutex<State>,
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
        let state = Mutex::new(State::Pending {
            held: Vec::new(),
            overflowed: false,
        });
        Arc::new(Self {
            channel,
            server_side,
            to,
            state,
            joined: AtomicBool::new(false),
            expires_at: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes publications, in the order of the gym's log. Offset 0 is one that is not stored.
    pub fn deliver(&self, bundle: &Bundle) -> Handed {
        let mut handed = Handed::default();
        let mut state = self.lock();
        let pushed = match &mut *state {
            State::Pending { held, overflowed } => {
                for message in bundle.messages() {
                    if held.len() < HELD_PUBLICATIONS {
                        held.push((message.offset(), message.frame(self.to.codec).clone()));
                    } else {
                        *overflowed = true;
                    }
                }
                return handed;
            }
            State::Live { last } => self.push(last, bundle, &mut handed),
            State::Ended { .. } => return handed,
        };
        if pushed == Pushed::Overflow {
            *state = State::Ended { lost: true };
            drop(state);
            handed.lost = 1;
            self.tell(Unsubscribe::InsufficientState, Close::Slow);
        }
        handed
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

    /// Goes live at the position of its snapshot, with what was held back after it. To be called after the reply was
    /// queued. None where it was ended meanwhile.
    pub fn go_live(&self, position: u64) -> Option<Handed> {
        let mut handed = Handed::default();
        let mut state = self.lock();
        let State::Pending { held, overflowed } = &mut *state else {
            return None;
        };
        let (held, overflowed) = (std::mem::take(held), *overflowed);
        let mut last = position;
        let mut full = overflowed;
        for (offset, frame) in held {
            if full || (offset > 0 && offset <= last) {
                continue;
            }
            last = last.max(offset);
            let pushed = self.to.outbox.push(self.to.number, &frame);
            handed.note(pushed, 1, &frame);
            full = pushed == Pushed::Overflow;
        }
        *state = if full {
            State::Ended { lost: true }
        } else {
            State::Live { last }
        };
        drop(state);
        if full {
            handed.lost = 1;
            self.tell(Unsubscribe::InsufficientState, Close::Slow);
        }
        Some(handed)
    }

    /// Ends it silently; returns whether the client had been told that it was subscribed.
    pub fn end(&self) -> bool {
        self.finish(false)
    }

    fn finish(&self, lost: bool) -> bool {
        let mut state = self.lock();
        match *state {
            // The first reason counts.
            State::Ended { .. } => false,
            State::Pending { .. } => {
                *state = State::Ended { lost };
                false
            }
            State::Live { .. } => {
                *state = State::Ended { lost };
                true
            }
        }
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.ready() != Ready::Open
    }

    /// Whether its reply may be sent, and else why not.
    pub fn ready(&self) -> Ready {
        match *self.lock() {
            State::Ended { lost: true } => Ready::Lost,
            State::Ended { lost: false } => Ready::Revoked,
            State::Pending { .. } | State::Live { .. } => Ready::Open,
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
        matches!(*self.lock(), State::Live { .. }).then_some(&self.to.info)
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
mod tests {
    use super::*;
    use crate::fanout::encoded::Encoded;

    fn subscription(bound: usize) -> (Arc<Outbox>, Arc<Subscription>) {
        let outbox = Outbox::new(bound, None);
        let to = Recipient {
            number: 1,
            codec: Codec::Json,
            outbox: outbox.clone(),
            info: Arc::default(),
        };
        let subscription = Subscription::new("plan:x".into(), false, to);
        (outbox, subscription)
    }

    fn publication(offset: u64) -> Encoded {
        Encoded::publication("plan:x", &Bytes::from_static(b"{}"), offset)
    }

    #[test]
    fn what_comes_together_goes_out_together_without_what_was_there() {
        let (outbox, subscription) = subscription(10_000);
        assert!(subscription.go_live(5).is_some());
        let bundle = |offsets: std::ops::RangeInclusive<u64>| Bundle::new(offsets.map(publication).collect());
        let one = publication(6).frame(Codec::Json).len();
        assert_eq!(subscription.deliver(&bundle(4..=7)).frames, 2);
        assert_eq!(outbox.waiting_bytes(), 2 * one);
        assert_eq!(subscription.deliver(&bundle(8..=9)).frames, 2);
        assert_eq!(subscription.deliver(&bundle(8..=9)).frames, 0);
        assert_eq!((outbox.waiting_bytes(), outbox.traffic().0), (4 * one, 4));
    }

    fn deliver(subscription: &Subscription, offset: u64) {
        subscription.deliver(&publication(offset).into());
    }

    #[test]
    fn what_came_during_the_snapshot_follows_it_without_what_it_held() {
        let (outbox, subscription) = subscription(10_000);
        for offset in [4, 5, 6] {
            deliver(&subscription, offset);
        }
        assert_eq!(outbox.waiting_bytes(), 0);
        let one = publication(5).frame(Codec::Json).len();
        assert_eq!(
            subscription.go_live(5).map(|h| (h.frames, h.bytes)),
            Some((1, one as u64))
        );
        assert_eq!(outbox.waiting_bytes(), one);
        deliver(&subscription, 6);
        assert_eq!(outbox.waiting_bytes(), one);
        deliver(&subscription, 9);
        assert_eq!(outbox.waiting_bytes(), 2 * one);
    }

    #[test]
    fn one_that_ended_while_pending_never_goes_live() {
        let (outbox, subscription) = subscription(10_000);
        subscription.revoke();
        assert_eq!(subscription.go_live(1), None);
        deliver(&subscription, 2);
        assert_eq!(outbox.waiting_bytes(), 0);
    }

    #[test]
    fn one_that_was_lost_while_pending_can_be_told_from_one_that_was_revoked() {
        let (_outbox, lost) = subscription(10_000);
        lost.lose();
        let (_outbox, revoked) = subscription(10_000);
        revoked.revoke();
        revoked.lose();
        assert_eq!((lost.ready(), revoked.ready()), (Ready::Lost, Ready::Revoked));
    }

    #[test]
    fn a_slow_clients_channel_ends_with_a_word() {
        let (outbox, subscription) = subscription(100);
        assert!(subscription.go_live(0).is_some());
        let mut handed = Handed::default();
        for offset in 1..10 {
            handed.add(subscription.deliver(&publication(offset).into()));
        }
        assert_eq!(handed.lost, 1);
        assert!(handed.frames > 0 && handed.bytes <= 100, "{handed:?}");
        assert!(subscription.ended());
        assert!(outbox.closed().is_none());
        assert!(outbox.waiting_bytes() > 0);
    }
}
