//! The frames of one connection that wait, in order, and what is known of them. Whoever has it has the connection's lock.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::SubscriptionNumber;
use crate::protocol::close::Close;

/// Frames that are written together.
const TOGETHER: usize = 32;
/// What each delivery touches comes first, beside the stream: with a thousand subscribers nothing of the others is in the
/// processor's cache, and each line that is fetched costs about as much as all that is done with it.
#[repr(C)]
pub(crate) struct Queue {
    /// Why it was closed; nothing is accepted after.
    pub(crate) closed: Option<Close>,
    /// Nothing more is written: all was, or the socket has gone.
    pub(crate) ended: bool,
    /// The socket has gone.
    pub(crate) gone: bool,
    /// The first that waits is the rest of a frame.
    pub(crate) part: bool,
    pub(crate) bytes: usize,
    /// Channels' frames that were accepted.
    pub(crate) deliveries: u64,
    /// Bytes that the socket took, and those of them that the node's counter knows of.
    pub(crate) sent: u64,
    pub(crate) reported: u64,
    pub(crate) frames: VecDeque<(Option<SubscriptionNumber>, Bytes)>,
    /// When a frame was last taken, or began to wait behind none.
    pub(crate) moved_at: Instant,
}

impl Queue {
    /// An empty one; `ended` where there is nothing to write to.
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

    /// Writes what the socket takes of what waits.
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

    /// Notes that the socket took so many bytes of what waits.
    fn took(&mut self, mut sent: usize) {
        self.sent += sent as u64;
        self.bytes = self.bytes.saturating_sub(sent);
        self.moved_at = Instant::now();
        while let Some((owner, frame)) = self.frames.front_mut() {
            if sent < frame.len() {
                if sent > 0 {
                    // A part is dropped with no channel.
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

    /// Drops what waits, but for the rest of a frame: what comes after would be read as its continuation.
    pub(crate) fn clear(&mut self) {
        let rest = self.frames.pop_front().filter(|_| self.part);
        self.frames = rest.into_iter().collect();
        self.bytes = self.frames.iter().map(|(_, frame)| frame.len()).sum();
    }
}
