//! One thread that reads all sockets: it waits with epoll, reads into one buffer, extracts channel and offset of each
//! message, and records them in the channel's [`super::ledger::Ledger`]. A delivery allocates nothing.

mod books;
mod reader;
mod socket;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Poll, Token, Waker};
use tokio::sync::{Notify, mpsc, oneshot};

use super::door::{Joined, Opened};
use super::ledger::Faults;
use super::stream;
use crate::wire::Codec;
use books::Books;
use reader::Reader;
use socket::Socket;

/// Capacity of the queue of replies to commands.
const ANSWERS: usize = 65_536;
/// The token of the waker; no socket has it.
const WAKE: Token = Token(usize::MAX);
/// The upper bound of recorded latencies, in nanoseconds (two minutes).
const LONGEST: u64 = 120_000_000_000;

/// The protocol of a socket.
#[derive(Clone, Copy, Debug)]
pub enum Speech {
    /// The client protocol.
    Protocol(Codec),
    /// Another protocol: every frame is a delivery, except pings, which are answered.
    Frames {
        /// The payload of a ping.
        ping: &'static [u8],
        /// The payload of its reply.
        pong: &'static [u8],
    },
}

/// A reply to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The socket's key.
    pub key: usize,
    /// The command's id.
    pub id: u32,
    /// Whether it was accepted.
    pub accepted: bool,
}

/// Latencies of deliveries since the previous call.
pub struct Times {
    /// From the change, by the event's `at`, in nanoseconds.
    pub from_commit: Histogram<u64>,
    /// From sending the command that caused it, in nanoseconds.
    pub from_send: Histogram<u64>,
}

impl Times {
    fn new() -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1000, LONGEST, 3);
        Ok(Self {
            from_commit: histogram()?,
            from_send: histogram()?,
        })
    }
}

/// The comparison of what all subscribers got.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The faults found.
    pub faults: Faults,
    /// Known publications per channel.
    pub publications: HashMap<String, u64>,
    /// The last known offset per channel.
    pub last: HashMap<String, u64>,
    /// Why sockets were lost, the first few.
    pub ends: Vec<String>,
}

/// A read-only view of a swarm's counts.
#[derive(Clone)]
pub struct Meter(Arc<Shared>);

impl Meter {
    /// Sockets that joined.
    #[must_use]
    pub fn sockets(&self) -> u64 {
        self.0.keys.load(Ordering::Relaxed) as u64
    }

    /// Publications with an offset that arrived.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.0.deliveries.load(Ordering::SeqCst)
    }

    /// Sockets that were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

struct Shared {
    deliveries: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    wanted: AtomicU64,
    reached: Notify,
    keys: AtomicUsize,
}

enum Order {
    Join(usize, Box<Socket>, Vec<Joined>),
    Write(usize, Vec<u8>),
    Sent(String, u64),
    Unsent(String),
    Know(String, Vec<u64>),
    Times(oneshot::Sender<Times>),
    Judge(oneshot::Sender<Verdict>),
    Leave,
}

/// A handle to the thread and its sockets. Dropping it closes them.
pub struct Swarm {
    orders: std_mpsc::Sender<Order>,
    waker: Arc<Waker>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Replies to commands.
    pub answers: mpsc::Receiver<Answered>,
}

impl Swarm {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system cannot start it.
    pub fn start() -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let shared = Arc::new(Shared {
            deliveries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            wanted: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
            keys: AtomicUsize::new(0),
        });
        let (orders, inbox) = std_mpsc::channel();
        let (answer, answers) = mpsc::channel(ANSWERS);
        let mut reader = Reader {
            poll,
            inbox,
            sockets: Vec::new(),
            books: Books {
                shared: shared.clone(),
                answer,
                names: HashMap::new(),
                channels: Vec::new(),
                times: Times::new()?,
                deliveries: 0,
                bytes: 0,
            },
        };
        let thread = std::thread::Builder::new().name("swarm".into()).spawn(move || {
            if let Err(error) = reader.run() {
                tracing::error!("the reader thread failed: {error:#}");
            }
        })?;
        Ok(Self {
            orders,
            waker,
            shared,
            thread: Some(thread),
            answers,
        })
    }

    fn order(&self, order: Order) -> anyhow::Result<()> {
        self.orders.send(order).ok().context("the reader thread has ended")?;
        Ok(self.waker.wake()?)
    }

    /// Adds a socket and returns its key.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn join(&self, opened: Opened) -> anyhow::Result<usize> {
        let speech = Speech::Protocol(opened.codec);
        self.join_bare(opened.stream, speech, opened.rest, opened.joined)
    }

    /// Adds a socket that has completed its handshake and returns its key.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn join_bare(
        &self,
        stream: std::net::TcpStream,
        speech: Speech,
        rest: Vec<u8>,
        joined: Vec<Joined>,
    ) -> anyhow::Result<usize> {
        stream.set_nonblocking(true)?;
        let key = self.shared.keys.fetch_add(1, Ordering::Relaxed);
        let socket = Socket {
            stream: TcpStream::from_std(stream),
            speech,
            partial: rest,
            subscriptions: Vec::new(),
            end: None,
        };
        self.order(Order::Join(key, Box::new(socket), joined))?;
        Ok(key)
    }

    /// Sends a frame's payload over a socket.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn write(&self, key: usize, codec: Codec, payload: &[u8]) -> anyhow::Result<()> {
        self.order(Order::Write(key, stream::masked(codec, payload)))
    }

    /// Announces that a command will be sent now whose event will be the channel's next. Call it before sending.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn sent(&self, channel: &str) -> anyhow::Result<()> {
        self.order(Order::Sent(channel.to_owned(), stream::now()))
    }

    /// Withdraws the last announcement: the command was refused.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn unsent(&self, channel: &str) -> anyhow::Result<()> {
        self.order(Order::Unsent(channel.to_owned()))
    }

    /// Adds offsets from the server's own log of a channel.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn know(&self, channel: &str, offsets: Vec<u64>) -> anyhow::Result<()> {
        self.order(Order::Know(channel.to_owned(), offsets))
    }

    /// Publications with an offset that arrived.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.shared.deliveries.load(Ordering::SeqCst)
    }

    /// Bytes that arrived.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Sockets that were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// A read-only view of the counts.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter(self.shared.clone())
    }

    /// Waits until this many publications have arrived, and returns whether they did within the time. Only one caller
    /// may wait at a time.
    pub async fn reached(&self, deliveries: u64, within: Duration) -> bool {
        self.shared.wanted.store(deliveries, Ordering::SeqCst);
        let arrived = async {
            while self.deliveries() < deliveries {
                self.shared.reached.notified().await;
            }
        };
        let arrived = tokio::time::timeout(within, arrived).await.is_ok();
        self.shared.wanted.store(u64::MAX, Ordering::SeqCst);
        arrived
    }

    /// The latencies of deliveries since the previous call.
    ///
    /// # Errors
    /// The thread has ended.
    pub async fn times(&self) -> anyhow::Result<Times> {
        let (sender, times) = oneshot::channel();
        self.order(Order::Times(sender))?;
        Ok(times.await?)
    }

    /// Compares what every subscriber got with the channel's ledger.
    ///
    /// # Errors
    /// The thread has ended.
    pub async fn judge(&self) -> anyhow::Result<Verdict> {
        let (sender, verdict) = oneshot::channel();
        self.order(Order::Judge(sender))?;
        Ok(verdict.await?)
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        // If the thread has ended already, there is nothing to stop.
        let _ = self.order(Order::Leave);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
