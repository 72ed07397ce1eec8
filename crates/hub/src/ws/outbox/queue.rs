//! The state of an outbox: its waiting frames in order, and counts. Always accessed under the connection's lock.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::SubscriptionNumber;
use crate::protocol::close::Close;

/// Largest number of frames per write.
const TOGETHER: usize = 32;
/// The fields that each delivery touches come first, next to the stream: with a thousand subscribers each access is a
/// cache miss, and fetching a cache line costs about as much as the rest of the delivery.
#[repr(C)]
pub(crate) struct Queue {
    /// Why the connection was closed; nothing is accepted after that.
    pub(crate) closed: Option<Close>,
    /// Nothing more is written: the output has ended, or the socket has gone.
    pub(crate) ended: bool,
    /// The socket has gone.
    pub(crate) gone: bool,
    /// True if the first waiting frame is the rest of a partly written one.
    pub(crate) part: bool,
    pub(crate) bytes: usize,
    /// Number of accepted frames of channels.
    pub(crate) deliveries: u64,
    /// Bytes that the socket accepted, and how many of them were added to the node's counter.
    pub(crate) sent: u64,
    pub(crate) reported: u64,
    pub(crate) frames: VecDeque<(Option<SubscriptionNumber>, Bytes)>,
    /// When waiting bytes last made progress, or when the first began to wait.
    pub(crate) moved_at: Instant,
}

impl Queue {
    /// Creates an empty queue; `ended` if there is no stream.
    pub(crate) fn new(ended: bool) -> Self {
        Self {
            closed: None,
            ended,
            gone: false,
            part: false,
            bytes: 0,
            deliveries: 0,
            sent: 0,
            reported: 0,
            frames: VecDeque::new(),
            moved_at: Instant::now(),
        }
    }

    /// Writes as many waiting frames as the socket accepts.
    pub(crate) fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.frames.is_empty() {
            let mut slices = [IoSlice::new(&[]); TOGETHER];
            for (slice, (_, frame)) in slices.iter_mut().zip(&self.frames) {
                *slice = IoSlice::new(frame);
            }
            let count = self.frames.len().min(TOGETHER);
            match stream.try_write_vectored(&slices[..count]) {
                Ok(sent) => self.took(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes bytes that the socket accepted from the queue.
    fn took(&mut self, mut sent: usize) {
        self.sent += sent as u64;
        self.bytes = self.bytes.saturating_sub(sent);
        self.moved_at = Instant::now();
        while let Some((owner, frame)) = self.frames.front_mut() {
            if sent < frame.len() {
                if sent > 0 {
                    // A partly written frame must not be dropped with its channel.
                    *owner = None;
                    *frame = frame.slice(sent..);
                    self.part = true;
                }
                return;
            }
            sent -= frame.len();
            self.part = false;
            self.frames.pop_front();
        }
    }

    pub(crate) fn put(&mut self, owner: Option<SubscriptionNumber>, frame: Bytes) {
        if self.frames.is_empty() {
            self.moved_at = Instant::now();
        }
        self.bytes += frame.len();
        self.frames.push_back((owner, frame));
    }

    /// Drops the waiting frames except the rest of a partly written one: the client would read whatever followed as its
    /// continuation.
    pub(crate) fn clear(&mut self) {
        let rest = self.frames.pop_front().filter(|_| self.part);
        self.frames = rest.into_iter().collect();
        self.bytes = self.frames.iter().map(|(_, frame)| frame.len()).sum();
    }
}
