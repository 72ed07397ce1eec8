//! What waits to be written to one connection: ready frames, bounded in bytes. Producers on any thread push; the response
//! body on the connection's worker takes. Nothing here waits, so one stuck client delays nobody.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use super::counters::Counters;
use super::frame;
use super::protocol::close::Close;

/// The number of a subscription on its connection; frames carry it so that a channel can be dropped as a whole.
pub type SubscriptionNumber = u32;

#[derive(Default)]
struct Queue {
    frames: VecDeque<(Option<SubscriptionNumber>, Bytes)>,
    bytes: usize,
    /// Why it was closed; nothing is accepted after.
    closed: Option<Close>,
    /// The reader has ended: when what waits is written, the socket ends too.
    ended: bool,
    /// Channels' frames that were accepted.
    deliveries: u64,
    /// Bytes that the socket took, and those of them that the node's counter knows of.
    sent: u64,
    reported: u64,
}

/// The queue of one connection.
pub struct Outbox {
    queue: Mutex<Queue>,
    waker: AtomicWaker,
    /// The body or its socket has gone.
    gone: Notify,
    /// Everything that waited was taken.
    emptied: Notify,
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
            queue: Mutex::default(),
            waker: AtomicWaker::new(),
            gone: Notify::new(),
            emptied: Notify::new(),
            bound,
            counters,
        })
    }

    /// Channels' frames that were accepted, and bytes that the socket took.
    pub fn traffic(&self) -> (u64, u64) {
        let queue = self.lock();
        (queue.deliveries, queue.sent)
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

    /// Queues a reply, ping or other frame of no channel. It is always accepted: each answers one command, and commands
    /// are bounded.
    pub fn push_control(&self, frame: Bytes) {
        let mut queue = self.lock();
        if queue.closed.is_some() {
            return;
        }
        queue.bytes += frame.len();
        queue.frames.push_back((None, frame));
        drop(queue);
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
        queue.bytes += frame.len();
        queue.deliveries += 1;
        queue.frames.push_back((Some(subscription), frame.clone()));
        drop(queue);
        self.waker.wake();
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
            queue.frames.push_back((None, frame));
            drop(queue);
            self.waker.wake();
        }
    }

    /// Ends the socket once what waits is written. Until then it stays open after a close, so that the client reads the
    /// close frame: a socket that is closed with unread bytes is reset, and what was sent last is lost.
    pub fn end(&self) {
        self.lock().ended = true;
        self.waker.wake();
    }

    /// Waits until the body or its socket has gone.
    pub async fn gone(&self) {
        self.gone.notified().await;
    }

    /// Waits until no more than the bound waits to be written, or the socket has gone.
    pub async fn room(&self) {
        while self.waiting_bytes() > self.bound {
            self.emptied.notified().await;
        }
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
                return Poll::Ready(Some(frame));
            }
            self.report(queue);
            self.emptied.notify_one();
            if queue.ended { Poll::Ready(None) } else { Poll::Pending }
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

/// The response body of a socket: the connection's queue.
pub struct Body(Arc<Outbox>);

impl Body {
    /// The body that writes what waits.
    #[must_use]
    pub fn new(outbox: Arc<Outbox>) -> Self {
        Self(outbox)
    }
}

impl MessageBody for Body {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.0.poll_frame(cx).map(|frame| frame.map(Ok))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.frames = VecDeque::new();
        queue.bytes = 0;
        self.0.report(&mut queue);
        drop(queue);
        self.0.gone.notify_one();
        self.0.emptied.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_of(n: usize) -> Bytes {
        Bytes::from(vec![0; n])
    }

    #[test]
    fn a_slow_connection_loses_a_whole_channel_and_keeps_the_others() {
        let outbox = Outbox::new(100);
        assert_eq!(outbox.push(1, &frame_of(40)), Pushed::Queued);
        assert_eq!(outbox.push(2, &frame_of(40)), Pushed::Queued);
        assert_eq!(outbox.push(1, &frame_of(40)), Pushed::Overflow);
        assert_eq!(outbox.waiting_bytes(), 40);
        assert_eq!(outbox.push(2, &frame_of(40)), Pushed::Queued);
    }

    #[test]
    fn replies_are_accepted_by_a_full_queue_and_nothing_after_a_close() {
        let outbox = Outbox::new(10);
        assert_eq!(outbox.push(1, &frame_of(10)), Pushed::Queued);
        outbox.push_control(frame_of(50));
        assert_eq!(outbox.waiting_bytes(), 60);
        outbox.close(Close::Shutdown);
        outbox.close(Close::Slow);
        assert_eq!(outbox.closed(), Some(Close::Shutdown));
        assert_eq!(outbox.push(1, &frame_of(1)), Pushed::Closed);
    }

    #[test]
    fn an_empty_queue_accepts_a_frame_over_its_bound() {
        assert_eq!(Outbox::new(10).push(1, &frame_of(50)), Pushed::Queued);
    }
}
