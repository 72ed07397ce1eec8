//! What waits to be written to one connection: ready frames, bounded in bytes. Producers on any thread push; where nothing
//! waits, a frame goes to the socket at once, else it waits for the connection's own task, which writes as soon as the kernel
//! takes more ([`Outbox::write`]). Nothing here waits otherwise, so one stuck client delays nobody.
//!
//! Every byte is written under the queue's lock, and what the kernel took in part leaves its rest at the head of the queue,
//! where nothing overtakes or drops it: so a client reads whole frames in order, whoever writes.
//!
//! Over the bound a channel is dropped as a whole. Replies are always accepted, but no command is begun while more than the
//! bound waits ([`Outbox::room`]), so a client that asks and never reads costs the bound, one reply and the commands that may
//! wait. Bytes that do not move for too long are given up by the connection's reader.

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

/// Bytes of one connection that the node's counter need not know of at once.
const REPORTED: u64 = 16 * 1024;

/// The number of a subscription on its connection; frames carry it so that a channel can be dropped as a whole.
pub type SubscriptionNumber = u32;

/// The queue of one connection, and the connection's stream: it is closed with the last that holds this.
#[repr(C, align(64))]
pub struct Outbox {
    stream: Option<TcpStream>,
    queue: Mutex<Queue>,
    /// Something waits that did not before.
    filled: Notify,
    /// Everything that waited was taken, or nothing more will be.
    emptied: Notify,
    /// Much began to wait.
    grown: Notify,
    bound: usize,
    counters: Option<Arc<Counters>>,
    /// Given back after the stream is closed, since it counts files.
    _place: Option<Arc<Place>>,
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
    /// An empty queue that holds up to `bound` bytes of channels' frames. Without a stream all of them wait.
    #[must_use]
    pub fn new(bound: usize, stream: Option<TcpStream>) -> Arc<Self> {
        Self::make(bound, stream, None, None)
    }

    /// One whose bytes are counted, and that holds its place at the door.
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

    /// Reads what has come; 0 at the end of the stream.
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
            counters.sent_bytes.inc_by(new);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a reply, ping or other frame of no channel. It is always accepted: each answers one command, and a command
    /// is begun only while there is [room](Self::room).
    pub fn push_control(&self, frame: &Bytes) {
        let queue = self.lock();
        if queue.closed.is_none() {
            self.put(queue, None, frame);
        }
    }

    /// Sends at once what the kernel takes, where nothing waits; returns how many bytes. What is wrong with the socket is found by
    /// those who wait for it.
    fn send(&self, queue: &mut Queue, frame: &[u8]) -> usize {
        let Some(stream) = self.stream.as_ref().filter(|_| !queue.ended && queue.frames.is_empty()) else {
            return 0;
        };
        // Not the runtime's own writing, which looks its readiness up first.
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
        // So much that its reader should look when it last moved.
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

    /// Queues the answer to a client's ping, except where the client pings and does not read.
    pub fn push_pong(&self, payload: &[u8]) {
        if self.waiting_bytes() <= self.bound {
            self.push_control(&frame::pong(payload));
        }
    }

    /// Queues a frame of a subscription.
    pub fn push(&self, subscription: SubscriptionNumber, frame: &Bytes) -> Pushed {
        self.push_together(subscription, frame, 1)
    }

    /// Queues so many frames of a subscription, in one piece.
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

    /// Sends what waits and then a close frame; nothing is accepted after. The first close counts.
    pub fn close(&self, close: Close) {
        self.close_with(close, &frame::close(close));
    }

    /// Answers the client's close with its own code. Nothing is sent where we closed first.
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

    /// Throws away what waits: nobody reads it. Where it was not closed yet, `close` is why, and all that is still sent.
    pub fn give_up(&self, close: Close) {
        self.lock().clear();
        self.close(close);
    }

    /// Writes what waits, as soon as the socket takes it, until it takes nothing any more. Dropping and calling it again loses
    /// nothing.
    pub async fn write(&self) {
        loop {
            while self.write_what_waits().await {}
            if self.lock().gone {
                return;
            }
            self.filled.notified().await;
        }
    }

    /// Writes what the socket takes now; whether more waits.
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

    /// Writes all that waits, and then says that nothing more comes.
    pub async fn finish(&self) {
        while self.write_what_waits().await {}
        self.end(&mut self.lock(), Shutdown::Write);
    }

    fn end(&self, queue: &mut Queue, how: Shutdown) {
        queue.ended = true;
        if let Some(stream) = &self.stream {
            // One that the client has left already needs no end.
            let _ = shutdown(stream.as_fd(), how);
        }
    }

    /// The socket has gone: what waits is thrown away, and the client sees its end whoever still holds it.
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

    /// Takes what waits, for a test to look at.
    #[cfg(test)]
    pub(crate) fn take_waiting(&self) -> Vec<Bytes> {
        let mut queue = self.lock();
        queue.bytes = 0;
        queue.frames.drain(..).map(|(_, frame)| frame).collect()
    }

    /// Bytes that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.lock().bytes
    }
}

#[cfg(test)]
mod tests;
