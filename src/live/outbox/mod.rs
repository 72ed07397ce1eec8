//! What waits to be written to one connection: ready frames, bounded in bytes. Producers on any thread push; where nothing
//! waits, a frame goes to the socket at once ([`Direct`]), else the response body on the connection's worker takes it.
//! Nothing here waits, so one stuck client delays nobody.
//!
//! Two ways to one socket are sound because the short one is taken only while the other is known to be empty: the server asks
//! the body for more only when its own buffer is written (`h1_write_buffer_size(1)`), and a frame that the kernel took in
//! part leaves its rest at the head of the queue, where nothing overtakes or drops it.
//!
//! Over the bound a channel is dropped as a whole. Replies are always accepted, but no command is begun while more than the
//! bound waits ([`Outbox::room`]), so a client that asks and never reads costs the bound, one reply and the commands that may
//! wait. Bytes that do not move for too long are given up by the connection's reader.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::counters::Counters;
use super::direct::Direct;
use super::door::Place;
use super::frame;
use super::protocol::close::Close;

/// Bytes of one connection that the node's counter need not know of at once.
const REPORTED: u64 = 16 * 1024;

/// The number of a subscription on its connection; frames carry it so that a channel can be dropped as a whole.
pub type SubscriptionNumber = u32;

struct Queue {
    frames: VecDeque<(Option<SubscriptionNumber>, Bytes)>,
    bytes: usize,
    /// When a frame was last taken, or began to wait behind none.
    moved_at: Instant,
    /// Why it was closed; nothing is accepted after.
    closed: Option<Close>,
    /// The reader has ended: when what waits is written, the socket ends too.
    ended: bool,
    /// Channels' frames that were accepted.
    deliveries: u64,
    /// Bytes that the socket took, and those of them that the node's counter knows of.
    sent: u64,
    reported: u64,
    /// The body or its socket has gone.
    gone: bool,
    /// The short way.
    direct: Option<Arc<Direct>>,
    long: Long,
}

/// What the long way is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Long {
    /// Nothing waits here, and nothing in the server's own buffer: the body was asked for more and had none.
    Idle,
    /// It may be writing.
    Busy,
    /// It has the rest of a frame that was sent in part: the first that waits.
    Rest,
}

/// What became of a frame on the short way.
enum Sent {
    /// It is gone.
    Whole,
    /// This is left.
    Part(Bytes),
    /// Nothing: it takes the long way.
    Nothing(Bytes),
}

impl Queue {
    /// Sends at once what the kernel takes.
    fn send(&mut self, frame: Bytes) -> Sent {
        let Some(direct) = self.direct.as_ref().filter(|_| self.long == Long::Idle) else {
            return Sent::Nothing(frame);
        };
        let sent = direct.send(&frame);
        self.sent += sent as u64;
        if sent == frame.len() {
            return Sent::Whole;
        }
        self.long = Long::Busy;
        if sent == 0 {
            return Sent::Nothing(frame);
        }
        self.long = Long::Rest;
        Sent::Part(frame.slice(sent..))
    }

    fn put(&mut self, owner: Option<SubscriptionNumber>, frame: Bytes) {
        if self.frames.is_empty() {
            self.moved_at = Instant::now();
        }
        self.bytes += frame.len();
        self.frames.push_back((owner, frame));
    }

    /// Drops what waits, but for the rest of a frame: what comes after would be read as its continuation.
    fn clear(&mut self) {
        let rest = self.frames.pop_front().filter(|_| self.long == Long::Rest);
        self.frames = rest.into_iter().collect();
        self.bytes = self.frames.iter().map(|(_, frame)| frame.len()).sum();
    }
}

/// The queue of one connection.
pub struct Outbox {
    queue: Mutex<Queue>,
    waker: AtomicWaker,
    /// The body or its socket has gone.
    gone: Notify,
    /// Everything that waited was taken, or nothing more will be.
    emptied: Notify,
    /// Much began to wait.
    grown: Notify,
    bound: usize,
    counters: Option<Arc<Counters>>,
}

/// What became of a channel's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Queued,
    /// The queue is over its bound: what waited for this subscription was dropped, and it must be ended.
    Overflow,
    /// The connection is closed.
    Closed,
}

impl Outbox {
    /// An empty queue that holds up to `bound` bytes of channels' frames.
    #[must_use]
    pub fn new(bound: usize) -> Arc<Self> {
        Self::make(bound, None)
    }

    /// One whose bytes are counted.
    #[must_use]
    pub fn counted(bound: usize, counters: Arc<Counters>) -> Arc<Self> {
        Self::make(bound, Some(counters))
    }

    fn make(bound: usize, counters: Option<Arc<Counters>>) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue {
                frames: VecDeque::new(),
                bytes: 0,
                moved_at: Instant::now(),
                closed: None,
                ended: false,
                deliveries: 0,
                sent: 0,
                reported: 0,
                gone: false,
                direct: None,
                long: Long::Busy,
            }),
            waker: AtomicWaker::new(),
            gone: Notify::new(),
            emptied: Notify::new(),
            grown: Notify::new(),
            bound,
            counters,
        })
    }

    /// Opens the short way.
    pub fn open_direct(&self, direct: Arc<Direct>) {
        self.lock().direct = Some(direct);
    }

    /// Channels' frames that were accepted, and bytes that the socket took.
    pub fn traffic(&self) -> (u64, u64) {
        let queue = self.lock();
        (queue.deliveries, queue.sent)
    }

    /// Brings the node's counter up to date with what the socket took.
    pub fn settle(&self) {
        self.report(&mut self.lock());
    }

    /// Tells the node's counter what the socket took: once a burst and not once a frame, since all sockets share it.
    fn report(&self, queue: &mut Queue) {
        let new = queue.sent - std::mem::replace(&mut queue.reported, queue.sent);
        if let Some(counters) = self.counters.as_ref().filter(|_| new > 0) {
            counters.sent_bytes.add(new);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a reply, ping or other frame of no channel. It is always accepted: each answers one command, and a command
    /// is begun only while there is [room](Self::room).
    pub fn push_control(&self, frame: Bytes) {
        let queue = self.lock();
        if queue.closed.is_none() {
            self.put(queue, None, frame);
        }
    }

    fn put(&self, mut queue: MutexGuard<'_, Queue>, owner: Option<SubscriptionNumber>, frame: Bytes) {
        let (owner, frame) = match queue.send(frame) {
            Sent::Whole => {
                if queue.sent - queue.reported > REPORTED {
                    self.report(&mut queue);
                }
                return;
            }
            Sent::Part(rest) => (None, rest),
            Sent::Nothing(frame) => (owner, frame),
        };
        // So much that its reader should look when it last moved.
        let much = (self.bound / 4).max(1);
        let grows = queue.bytes < much && queue.bytes + frame.len() >= much;
        queue.put(owner, frame);
        drop(queue);
        if grows {
            self.grown.notify_one();
        }
        self.waker.wake();
    }

    /// Queues the answer to a client's ping, except where the client pings and does not read.
    pub fn push_pong(&self, payload: &[u8]) {
        if self.waiting_bytes() <= self.bound {
            self.push_control(frame::pong(payload));
        }
    }

    /// Queues a frame of a subscription.
    pub fn push(&self, subscription: SubscriptionNumber, frame: &Bytes) -> Pushed {
        let mut queue = self.lock();
        if queue.closed.is_some() {
            return Pushed::Closed;
        }
        if queue.bytes + frame.len() > self.bound && queue.bytes > 0 {
            let mut freed = 0;
            queue.frames.retain(|(owner, frame)| {
                let keep = *owner != Some(subscription);
                freed += if keep { 0 } else { frame.len() };
                keep
            });
            queue.bytes -= freed;
            return Pushed::Overflow;
        }
        queue.deliveries += 1;
        self.put(queue, Some(subscription), frame.clone());
        Pushed::Queued
    }

    /// Sends what waits and then a close frame; nothing is accepted after. The first close counts.
    pub fn close(&self, close: Close) {
        self.close_with(close, frame::close(close));
    }

    /// Answers the client's close with its own code. Nothing is sent where we closed first.
    pub fn answer_close(&self, code: Option<u16>) {
        self.close_with(Close::Normal, frame::close_answer(code));
    }

    fn close_with(&self, close: Close, frame: Bytes) {
        let mut queue = self.lock();
        if queue.closed.is_none() {
            queue.closed = Some(close);
            self.put(queue, None, frame);
            self.emptied.notify_one();
        }
    }

    /// Throws away what waits: nobody reads it. Where it was not closed yet, `close` is why, and all that is still sent.
    pub fn give_up(&self, close: Close) {
        self.lock().clear();
        self.close(close);
    }

    /// Ends the socket once what waits is written. Until then it stays open after a close, so that the client reads the
    /// close frame: a socket that is closed with unread bytes is reset, and what was sent last is lost.
    pub fn end(&self) {
        self.lock().ended = true;
        self.waker.wake();
    }

    /// Waits until the body or its socket has gone.
    pub async fn gone(&self) {
        while !self.lock().gone {
            self.gone.notified().await;
        }
    }

    /// Waits until no more than the bound waits to be written, or it does not matter any more.
    pub async fn room(&self) {
        loop {
            {
                let queue = self.lock();
                if queue.bytes <= self.bound || queue.closed.is_some() || queue.gone {
                    return;
                }
            }
            self.emptied.notified().await;
        }
    }

    /// Waits until much waits to be written.
    pub async fn grown(&self) {
        self.grown.notified().await;
    }

    /// Since when what waits has not moved; none where nothing waits.
    pub fn stuck_since(&self) -> Option<Instant> {
        let queue = self.lock();
        (!queue.frames.is_empty()).then_some(queue.moved_at)
    }

    /// Why the connection was closed from our side.
    pub fn closed(&self) -> Option<Close> {
        self.lock().closed
    }

    /// Bytes that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.lock().bytes
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let take = |queue: &mut Queue| {
            if let Some((_, frame)) = queue.frames.pop_front() {
                queue.bytes = queue.bytes.saturating_sub(frame.len());
                queue.sent += frame.len() as u64;
                queue.moved_at = Instant::now();
                queue.long = Long::Busy;
                return Poll::Ready(Some(frame));
            }
            queue.long = if queue.ended { Long::Busy } else { Long::Idle };
            self.report(queue);
            self.emptied.notify_one();
            if !queue.ended {
                return Poll::Pending;
            }
            if let Some(direct) = &queue.direct {
                direct.finish();
            }
            Poll::Ready(None)
        };
        let first = take(&mut self.lock());
        if first.is_ready() {
            return first;
        }
        self.waker.register(cx.waker());
        // A frame may have come between the look and the registration.
        take(&mut self.lock())
    }
}

/// The response body of a socket: the connection's queue. It lives as long as the socket.
pub struct Body {
    outbox: Arc<Outbox>,
    _place: Option<Arc<Place>>,
}

impl Body {
    /// The body that writes what waits, and keeps the socket's place.
    #[must_use]
    pub fn new(outbox: Arc<Outbox>, place: Option<Arc<Place>>) -> Self {
        Self { outbox, _place: place }
    }
}

impl MessageBody for Body {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.outbox.poll_frame(cx).map(|frame| frame.map(Ok))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut queue = self.outbox.lock();
        // The socket is closed when its last handle is gone.
        queue.direct = None;
        queue.long = Long::Busy;
        queue.clear();
        queue.gone = true;
        self.outbox.report(&mut queue);
        drop(queue);
        self.outbox.gone.notify_one();
        self.outbox.emptied.notify_one();
    }
}

#[cfg(test)]
mod tests;
