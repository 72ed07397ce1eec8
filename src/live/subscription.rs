//! One connection's subscription to one channel: held back until its snapshot is read, then live, and ended for good.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::frame;
use super::outbox::{Outbox, Pushed, SubscriptionNumber};
use super::protocol::close::{Close, Unsubscribe};
use super::protocol::{Codec, Push, json};

/// Publications held back while a snapshot is read. Over it the subscription starts anew, as for a slow client.
const HELD_PUBLICATIONS: usize = 1024;

/// A message of a channel, encoded and framed at most once a codec, however many watch.
pub struct Encoded<'a> {
    channel: &'a str,
    payload: &'a [u8],
    offset: u64,
    json: std::cell::OnceCell<Bytes>,
}

impl<'a> Encoded<'a> {
    /// A publication; offset 0 for one that is not stored.
    #[must_use]
    pub fn new(channel: &'a str, payload: &'a [u8], offset: u64) -> Self {
        Self {
            channel,
            payload,
            offset,
            json: std::cell::OnceCell::new(),
        }
    }

    /// The frame for a codec.
    pub fn frame(&self, codec: Codec) -> &Bytes {
        match codec {
            Codec::Json => self.json.get_or_init(|| {
                let push = Push::Publication {
                    channel: self.channel,
                    data: self.payload,
                    offset: self.offset,
                };
                frame::text(&json::encode_push(&push))
            }),
        }
    }
}

enum State {
    /// Its snapshot is being read; what comes meanwhile is held back.
    Pending { held: Vec<(u64, Bytes)>, overflowed: bool },
    /// Everything up to `last` was sent.
    Live { last: u64 },
    /// Nothing more is sent.
    Ended { lost: bool },
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

/// A subscription.
pub struct Subscription {
    /// Channel name.
    pub channel: Arc<str>,
    /// Whether the server opened it.
    pub server_side: bool,
    number: SubscriptionNumber,
    codec: Codec,
    outbox: Arc<Outbox>,
    state: Mutex<State>,
}

impl Subscription {
    /// A pending subscription.
    #[must_use]
    pub fn new(
        channel: Arc<str>,
        server_side: bool,
        number: SubscriptionNumber,
        codec: Codec,
        outbox: Arc<Outbox>,
    ) -> Arc<Self> {
        let state = Mutex::new(State::Pending {
            held: Vec::new(),
            overflowed: false,
        });
        Arc::new(Self {
            channel,
            server_side,
            number,
            codec,
            outbox,
            state,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a publication, in the order of the gym's log. Offset 0 is one that is not stored.
    pub fn deliver(&self, message: &Encoded<'_>) {
        let offset = message.offset;
        let mut state = self.lock();
        let pushed = match &mut *state {
            State::Pending { held, overflowed } => {
                if held.len() < HELD_PUBLICATIONS {
                    held.push((offset, message.frame(self.codec).clone()));
                } else {
                    *overflowed = true;
                }
                return;
            }
            State::Live { last } if offset == 0 || offset > *last => {
                *last = (*last).max(offset);
                self.outbox.push(self.number, message.frame(self.codec))
            }
            State::Live { .. } | State::Ended { .. } => return,
        };
        if pushed == Pushed::Overflow {
            *state = State::Ended { lost: true };
            drop(state);
            self.tell(Unsubscribe::InsufficientState, Close::Slow);
        }
    }

    /// Goes live at the position of its snapshot, with what was held back after it. To be called after the reply was
    /// queued. False where it was ended meanwhile.
    pub fn go_live(&self, position: u64) -> bool {
        let mut state = self.lock();
        let State::Pending { held, overflowed } = &mut *state else {
            return false;
        };
        let (held, overflowed) = (std::mem::take(held), *overflowed);
        let mut last = position;
        let mut full = overflowed;
        for (offset, frame) in held {
            if full || (offset > 0 && offset <= last) {
                continue;
            }
            last = last.max(offset);
            full = self.outbox.push(self.number, &frame) == Pushed::Overflow;
        }
        *state = if full {
            State::Ended { lost: true }
        } else {
            State::Live { last }
        };
        drop(state);
        if full {
            self.tell(Unsubscribe::InsufficientState, Close::Slow);
        }
        true
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

    /// Ends it because the hub cannot say what was missed.
    pub fn lose(&self) {
        if self.finish(true) {
            self.tell(Unsubscribe::InsufficientState, Close::InsufficientState);
        }
    }

    /// A client subscribes again by itself, except to what the server opened: there only a new connection helps.
    fn tell(&self, why: Unsubscribe, close: Close) {
        if self.server_side {
            self.outbox.close(close);
        } else {
            self.tell_unsubscribed(why);
        }
    }

    fn tell_unsubscribed(&self, why: Unsubscribe) {
        let push = Push::Unsubscribe {
            channel: &self.channel,
            code: why.code(),
            reason: why.reason(),
        };
        self.outbox.push_control(match self.codec {
            Codec::Json => frame::text(&json::encode_push(&push)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(bound: usize) -> (Arc<Outbox>, Arc<Subscription>) {
        let outbox = Outbox::new(bound);
        let subscription = Subscription::new("plan:x".into(), false, 1, Codec::Json, outbox.clone());
        (outbox, subscription)
    }

    fn deliver(subscription: &Subscription, offset: u64) {
        subscription.deliver(&Encoded::new("plan:x", b"{}", offset));
    }

    #[test]
    fn what_came_during_the_snapshot_follows_it_without_what_it_held() {
        let (outbox, subscription) = subscription(10_000);
        for offset in [4, 5, 6] {
            deliver(&subscription, offset);
        }
        assert_eq!(outbox.waiting_bytes(), 0);
        let one = Encoded::new("plan:x", b"{}", 5).frame(Codec::Json).len();
        assert!(subscription.go_live(5));
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
        assert!(!subscription.go_live(1));
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
        assert!(subscription.go_live(0));
        for offset in 1..10 {
            deliver(&subscription, offset);
        }
        assert!(subscription.ended());
        assert!(outbox.closed().is_none());
        assert!(outbox.waiting_bytes() > 0);
    }
}
