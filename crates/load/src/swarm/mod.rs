//! One thread that reads all sockets: it waits with epoll, reads into one buffer, looks at each message for its channel and
//! offset, and holds it against the channel's [`super::ledger::Ledger`]. Nothing is allocated for a delivery.

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

/// Answers to commands that may wait for whoever sent them.
const ANSWERS: usize = 65_536;
/// A token of no socket.
const WAKE: Token = Token(usize::MAX);
/// The longest time that is told apart, in nanoseconds.
const LONGEST: u64 = 120_000_000_000;

/// How a socket of the swarm speaks.
#[derive(Clone, Copy, Debug)]
pub enum Speech {
    /// The client protocol.
    Protocol(Codec),
    /// Another: every frame is a delivery, but those that ping, which are answered.
    Frames {
        /// A ping.
        ping: &'static [u8],
        /// Its answer.
        pong: &'static [u8],
    },
}

/// An answer to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The socket's key.
    pub key: usize,
    /// The command's id.
    pub id: u32,
    /// Whether it was accepted.
    pub accepted: bool,
}

/// How long deliveries took, since that was asked last.
pub struct Times {
    /// From the change, as the event says, in nanoseconds.
    pub from_commit: Histogram<u64>,
    /// From the command that caused it.
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

/// What all subscribers got, held against each other.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What is wrong.
    pub faults: Faults,
    /// Publications known of each channel.
    pub publications: HashMap<String, u64>,
    /// The last offset that is known of each channel.
    pub last: HashMap<String, u64>,
    /// Why sockets ended, the first few.
    pub ends: Vec<String>,
}

/// How far a swarm is, for whoever only looks.
#[derive(Clone)]
pub struct Meter(Arc<Shared>);

impl Meter {
    /// Sockets that were taken in.
    #[must_use]
    pub fn sockets(&self) -> u64 {
        self.0.keys.load(Ordering::Relaxed) as u64
    }

    /// Publications with an offset that have arrived.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.0.deliveries.load(Ordering::SeqCst)
    }

    /// Sockets that have ended.
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

/// The sockets, as whoever drives them sees them. They are closed when it is dropped.
pub struct Swarm {
    orders: std_mpsc::Sender<Order>,
    waker: Arc<Waker>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// What is answered to commands.
    pub answers: mpsc::Receiver<Answered>,
}

impl Swarm {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no room for it.
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
                tracing::error!("the sockets cannot be read any more: {error:#}");
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
        self.orders
            .send(order)
            .ok()
            .context("the sockets are not read any more")?;
        Ok(self.waker.wake()?)
    }

    /// Takes a socket in; its key.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn join(&self, opened: Opened) -> anyhow::Result<usize> {
        let speech = Speech::Protocol(opened.codec);
        self.join_bare(opened.stream, speech, opened.rest, opened.joined)
    }

    /// Takes in a socket that has shaken hands; its key.
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

    /// Says that a command is sent now whose event will be the channel's next; said before it is sent.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn sent(&self, channel: &str) -> anyhow::Result<()> {
        self.order(Order::Sent(channel.to_owned(), stream::now()))
    }

    /// Says that the last command that was sent came to nothing.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn unsent(&self, channel: &str) -> anyhow::Result<()> {
        self.order(Order::Unsent(channel.to_owned()))
    }

    /// Says what the server's own log of a channel holds.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn know(&self, channel: &str, offsets: Vec<u64>) -> anyhow::Result<()> {
        self.order(Order::Know(channel.to_owned(), offsets))
    }

    /// Publications with an offset that have arrived.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.shared.deliveries.load(Ordering::SeqCst)
    }

    /// Bytes that have arrived.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Sockets that have ended.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// For whoever only looks.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter(self.shared.clone())
    }

    /// Waits until so many publications have arrived; whether they have, in this time. One waits at a time.
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

    /// How long deliveries have taken since this was asked last.
    ///
    /// # Errors
    /// The thread has ended.
    pub async fn times(&self) -> anyhow::Result<Times> {
        let (sender, times) = oneshot::channel();
        self.order(Order::Times(sender))?;
        Ok(times.await?)
    }

    /// Holds what every subscriber got against the others.
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
        // Where the thread has ended already there is nothing to end.
        let _ = self.order(Order::Leave);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
