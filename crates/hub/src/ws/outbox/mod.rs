//! The outbox: the frames that wait to be written to one connection, bounded in bytes. Producers on any thread push
//! frames. If no frame waits, a push writes to the socket at once; otherwise the frame waits for the connection's own
//! task, which writes as soon as the kernel accepts more ([`Outbox::write`]). No push ever waits, so a stuck client
//! delays nobody.
//!
//! Every byte is written under the queue's lock. If the kernel accepts part of a frame, the rest stays at the head of
//! the queue, and nothing overtakes or drops it. So a client reads whole frames in order, whichever thread writes them.
//!
//! Backpressure: if a subscription's frame would exceed the bound, the outbox drops that subscription's waiting frames,
//! and the caller ends the subscription. Replies are always accepted, but no command starts while more bytes than the
//! bound wait ([`Outbox::room`]). So a client that sends commands and never reads costs at most the bound, one reply,
//! and its waiting commands. If the waiting bytes make no progress for `LiveLimits::write_within`, the connection's
//! reader closes the connection.

mod queue;

use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::counters::Counters;
use crate::protocol::close::Close;
use crate::ws::admission::Place;
use crate::ws::frame;
use queue::Queue;

/// Per-connection byte counts are flushed to the shared counter every 16 KiB, because all sockets contend for it.
const REPORTED: u64 = 16 * 1024;

/// The number of a subscription on its connection. Frames carry it, so that all frames of a channel can be dropped
/// together.
pub type SubscriptionNumber = u32;

/// The outbox of one connection. It owns the TCP stream, which closes when the last `Arc` is dropped.
#[repr(C, align(64))]
pub struct Outbox {
    stream: Option<TcpStream>,
    queue: Mutex<Queue>,
    /// Notified when an empty queue gets its first frame.
    filled: Notify,
    /// Notified when the queue is empty, or when nothing more will be written.
    emptied: Notify,
    /// Notified when the waiting bytes pass a quarter of the bound.
    grown: Notify,
    bound: usize,
    counters: Option<Arc<Counters>>,
    /// Admission counts open file descriptors, so this field comes after `stream`: it is dropped after the stream is
    /// closed.
    _place: Option<Arc<Place>>,
}

/// The result of pushing a channel's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The frame was accepted.
    Queued,
    /// The queue is over its bound. The subscription's waiting frames were dropped, and the caller must end the
    /// subscription.
    Overflow,
    /// The connection is closed.
    Closed,
}

impl Outbox {
    /// Creates an empty outbox with a bound for channels' frames, in bytes. Without a stream, no frame is ever written.
    #[must_use]
    pub fn new(bound: usize, stream: Option<TcpStream>) -> Arc<Self> {
        Self::make(bound, stream, None, None)
    }

    /// Creates an outbox that adds its bytes to the node's counters and holds an admission place.
    #[must_use]
    pub fn counted(bound: usize, stream: TcpStream, counters: Arc<Counters>, place: Arc<Place>) -> Arc<Self> {
        Self::make(bound, Some(stream), Some(counters), Some(place))
    }

    fn make(
        bound: usize,
        stream: Option<TcpStream>,
        counters: Option<Arc<Counters>>,
        place: Option<Arc<Place>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue::new(stream.is_none())),
            stream,
            filled: Notify::new(),
            emptied: Notify::new(),
            grown: Notify::new(),
            bound,
            counters,
            _place: place,
        })
    }

    /// Reads received bytes into `buffer` and returns their number; 0 at the end of the stream.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(stream) = &self.stream else {
            return Poll::Ready(Ok(0));
        };
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    /// Returns how many frames of channels the outbox accepted, and how many bytes the socket accepted.
    pub fn traffic(&self) -> (u64, u64) {
        let queue = self.lock();
        (queue.deliveries, queue.sent)
    }

    /// Flushes the connection's byte count to the node's counter.
    pub fn settle(&self) {
        self.report(&mut self.lock());
    }

    /// Adds the bytes sent since the last report to the node's counter. Called once per burst and not per frame,
    /// because all sockets contend for the counter.
    fn report(&self, queue: &mut Queue) {
        let new = queue.sent - std::mem::replace(&mut queue.reported, queue.sent);
        if let Some(counters) = self.counters.as_ref().filter(|_| new > 0) {
            counters.sent_bytes.inc_by(new);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a reply, a ping, or another frame that belongs to no channel. The bound does not apply: each reply
    /// answers one command, and a command starts only while there is [room](Self::room).
    pub fn push_control(&self, frame: &Bytes) {
        let queue = self.lock();
        if queue.closed.is_none() {
            self.put(queue, None, frame);
        }
    }

    /// If no frame waits, writes at once as much as the kernel accepts; returns the number of bytes written. Ignores
    /// errors, because the connection's own task sees them too.
    fn send(&self, queue: &mut Queue, frame: &[u8]) -> usize {
        let Some(stream) = self.stream.as_ref().filter(|_| !queue.ended && queue.frames.is_empty()) else {
            return 0;
        };
        // A direct `send`, because tokio's own write first checks its cached readiness.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = send(stream.as_fd(), frame, flags).unwrap_or(0);
        queue.sent += sent as u64;
        sent
    }

    fn put(&self, mut queue: MutexGuard<'_, Queue>, owner: Option<SubscriptionNumber>, frame: &Bytes) {
        let sent = self.send(&mut queue, frame);
        if sent == frame.len() {
            if queue.sent - queue.reported > REPORTED {
                self.report(&mut queue);
            }
            return;
        }
        let owner = owner.filter(|_| sent == 0);
        queue.part |= sent > 0;
        let frame = frame.slice(sent..);
        // From a quarter of the bound on, the reader must watch whether the waiting bytes make progress.
        let much = (self.bound / 4).max(1);
        let grows = queue.bytes < much && queue.bytes + frame.len() >= much;
        let first = queue.frames.is_empty();
        queue.put(owner, frame);
        drop(queue);
        if grows {
            self.grown.notify_one();
        }
        if first {
            self.filled.notify_one();
        }
    }

    /// Queues the answer to a client's ping, unless more bytes than the bound wait: such a client does not read.
    pub fn push_pong(&self, payload: &[u8]) {
        if self.waiting_bytes() <= self.bound {
            self.push_control(&frame::pong(payload));
        }
    }

    /// Queues a frame of a subscription.
    pub fn push(&self, subscription: SubscriptionNumber, frame: &Bytes) -> Pushed {
        self.push_together(subscription, frame, 1)
    }

    /// Queues `count` frames of a subscription, concatenated in `frame`.
    pub fn push_together(&self, subscription: SubscriptionNumber, frame: &Bytes, count: usize) -> Pushed {
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
        queue.deliveries += count as u64;
        self.put(queue, Some(subscription), frame);
        Pushed::Queued
    }

    /// Queues a close frame behind the waiting frames; nothing is accepted after it. Later closes are ignored.
    pub fn close(&self, close: Close) {
        self.close_with(close, &frame::close(close));
    }

    /// Answers the client's close frame with the client's code, unless the server closed first.
    pub fn answer_close(&self, code: Option<u16>) {
        self.close_with(Close::Normal, &frame::close_answer(code));
    }

    fn close_with(&self, close: Close, frame: &Bytes) {
        let mut queue = self.lock();
        if queue.closed.is_none() {
            queue.closed = Some(close);
            self.put(queue, None, frame);
            self.emptied.notify_one();
        }
    }

    /// Drops the waiting frames, because the client does not read them. Unless the connection was closed before, sends
    /// a close frame with `close`.
    pub fn give_up(&self, close: Close) {
        self.lock().clear();
        self.close(close);
    }

    /// Writes waiting frames as soon as the socket accepts them, until the socket fails or [`leave`](Self::leave) is
    /// called. Cancel-safe: the future may be dropped and the call repeated.
    pub async fn write(&self) {
        loop {
            while self.write_what_waits().await {}
            if self.lock().gone {
                return;
            }
            self.filled.notified().await;
        }
    }

    /// Writes what the socket accepts now; returns whether frames still wait.
    async fn write_what_waits(&self) -> bool {
        let waits = {
            let queue = self.lock();
            !queue.ended && !queue.frames.is_empty()
        };
        let Some(stream) = self.stream.as_ref().filter(|_| waits) else {
            return false;
        };
        let ready = stream.writable().await;
        let mut queue = self.lock();
        if queue.ended {
            return false;
        }
        if ready.and_then(|()| queue.flush(stream)).is_err() {
            drop(queue);
            self.leave();
            return false;
        }
        let empty = queue.frames.is_empty();
        if empty {
            self.report(&mut queue);
            self.emptied.notify_one();
        }
        !empty
    }

    /// Writes all waiting frames, and then shuts down the sending side of the stream.
    pub async fn finish(&self) {
        while self.write_what_waits().await {}
        self.end(&mut self.lock(), Shutdown::Write);
    }

    fn end(&self, queue: &mut Queue, how: Shutdown) {
        queue.ended = true;
        if let Some(stream) = &self.stream {
            // Fails only if the client has disconnected already, and then there is nothing to shut down.
            let _ = shutdown(stream.as_fd(), how);
        }
    }

    /// Ends the connection: drops the waiting frames, and shuts the stream down even if the outbox has other owners.
    pub fn leave(&self) {
        let mut queue = self.lock();
        self.end(&mut queue, Shutdown::Both);
        queue.part = false;
        queue.clear();
        queue.gone = true;
        self.report(&mut queue);
        drop(queue);
        self.filled.notify_one();
        self.emptied.notify_one();
    }

    /// Returns once no more bytes than the bound wait, or the connection has ended.
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

    /// Waits until the waiting bytes pass a quarter of the bound.
    pub async fn grown(&self) {
        self.grown.notified().await;
    }

    /// Returns when the waiting bytes last made progress, or when the first of them began to wait; `None` if none wait.
    pub fn stuck_since(&self) -> Option<Instant> {
        let queue = self.lock();
        (!queue.frames.is_empty()).then_some(queue.moved_at)
    }

    /// Returns why the server closed the connection, if it did.
    pub fn closed(&self) -> Option<Close> {
        self.lock().closed
    }

    /// Takes the waiting frames, for tests.
    #[cfg(test)]
    pub(crate) fn take_waiting(&self) -> Vec<Bytes> {
        let mut queue = self.lock();
        queue.bytes = 0;
        queue.frames.drain(..).map(|(_, frame)| frame).collect()
    }

    /// The number of bytes that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.lock().bytes
    }
}

#[cfg(test)]
mod tests;
