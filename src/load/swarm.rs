//! One thread that reads all sockets: it waits with epoll, reads into one buffer, looks at each message for its channel and
//! offset, and holds it against the channel's [`Ledger`]. Nothing is allocated for a delivery.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use tokio::sync::{Notify, mpsc, oneshot};

use super::door::{Joined, Opened};
use super::ledger::{Cursor, Faults, Ledger};
use super::stream::{self, Frame, Garbled, Message};
use crate::live::protocol::Codec;

/// What is read at once.
const BUFFER: usize = 256 * 1024;
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

    /// Waits until so many publications have arrived; whether they have, in this time.
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

struct Socket {
    stream: TcpStream,
    speech: Speech,
    /// Bytes of a frame that is not whole yet.
    partial: Vec<u8>,
    subscriptions: Vec<(usize, Cursor)>,
    end: Option<String>,
}

struct Channel {
    name: String,
    ledger: Ledger,
    /// When commands were sent whose events are still to come.
    sent: VecDeque<u64>,
}

/// What is known of channels and deliveries.
struct Books {
    shared: Arc<Shared>,
    answer: mpsc::Sender<Answered>,
    names: HashMap<String, usize>,
    channels: Vec<Channel>,
    times: Times,
    deliveries: u64,
    bytes: u64,
}

struct Reader {
    poll: Poll,
    inbox: std_mpsc::Receiver<Order>,
    sockets: Vec<Option<Box<Socket>>>,
    books: Books,
}

impl Reader {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            // What was said before a command is heard before its event is looked at.
            while let Ok(order) = self.inbox.try_recv() {
                if matches!(order, Order::Leave) {
                    return Ok(());
                }
                self.obey(order, &mut buffer)?;
            }
            for event in &events {
                if let Some(Some(socket)) = self.sockets.get_mut(event.token().0) {
                    socket.read(event.token().0, &mut buffer, &mut self.books);
                }
            }
            self.books.show();
        }
    }

    fn obey(&mut self, order: Order, buffer: &mut [u8]) -> anyhow::Result<()> {
        match order {
            Order::Join(key, mut socket, joined) => {
                for joined in joined {
                    let at = self.books.channel(&joined.position.channel);
                    let mut cursor = Cursor::at(joined.position.offset);
                    let ledger = &mut self.books.channels[at].ledger;
                    for offset in joined.replayed {
                        ledger.take(&mut cursor, offset, || (0, 0));
                    }
                    socket.subscriptions.push((at, cursor));
                }
                self.poll
                    .registry()
                    .register(&mut socket.stream, Token(key), Interest::READABLE)?;
                let early = std::mem::take(&mut socket.partial);
                socket.feed(key, &early, &mut self.books);
                socket.read(key, buffer, &mut self.books);
                if self.sockets.len() <= key {
                    self.sockets.resize_with(key + 1, || None);
                }
                self.sockets[key] = Some(socket);
            }
            Order::Write(key, bytes) => {
                if let Some(Some(socket)) = self.sockets.get_mut(key) {
                    socket.write(&bytes, &self.books);
                }
            }
            Order::Sent(channel, at) => self.books.of(&channel).sent.push_back(at),
            Order::Unsent(channel) => drop(self.books.of(&channel).sent.pop_back()),
            Order::Know(channel, offsets) => {
                let ledger = &mut self.books.of(&channel).ledger;
                offsets.into_iter().for_each(|offset| ledger.know(offset));
            }
            // Whoever asked may have gone.
            Order::Times(sender) => drop(sender.send(std::mem::replace(&mut self.books.times, Times::new()?))),
            Order::Judge(sender) => drop(sender.send(self.judge())),
            Order::Leave => {}
        }
        Ok(())
    }

    fn judge(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for (key, socket) in self.sockets.iter().enumerate() {
            let Some(socket) = socket else { continue };
            for (channel, cursor) in &socket.subscriptions {
                let channel = &self.books.channels[*channel];
                let who = format!("socket {key} on {}", channel.name);
                channel.ledger.judge(&who, cursor, &mut verdict.faults);
            }
            if let Some(end) = &socket.end
                && verdict.ends.len() < 5
            {
                verdict.ends.push(format!("socket {key}: {end}"));
            }
        }
        for Channel { name, ledger, .. } in &self.books.channels {
            verdict.publications.insert(name.clone(), ledger.after(0));
            verdict.last.insert(name.clone(), ledger.last());
        }
        verdict
    }
}

impl Socket {
    /// Reads what there is. Less than a buffer full says that there is no more for now.
    fn read(&mut self, key: usize, buffer: &mut [u8], books: &mut Books) {
        while self.end.is_none() {
            match self.stream.read(buffer) {
                Ok(0) => self.ended("the server ended it", books),
                Ok(length) => {
                    books.bytes += length as u64;
                    self.feed(key, &buffer[..length], books);
                    if length < buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => self.ended(&error.to_string(), books),
            }
        }
    }

    /// Looks at the whole frames of some bytes and keeps the rest.
    fn feed(&mut self, key: usize, bytes: &[u8], books: &mut Books) {
        let now = stream::now();
        if self.partial.is_empty() {
            let used = self.frames(key, bytes, now, books);
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(bytes);
            let used = self.frames(key, &whole, now, books);
            whole.drain(..used);
            self.partial = whole;
        }
    }

    fn frames(&mut self, key: usize, bytes: &[u8], now: u64, books: &mut Books) -> usize {
        let mut used = 0;
        while self.end.is_none() {
            match stream::frame(&bytes[used..]) {
                Ok(None) => break,
                Ok(Some((frame, length))) => {
                    used += length;
                    let read = match frame {
                        Frame::Data(payload) => self.payload(key, payload, now, books),
                        Frame::Close(code) => {
                            self.ended(&format!("closed with {}", code.unwrap_or_default()), books);
                            Ok(())
                        }
                        Frame::Other => Ok(()),
                    };
                    if read.is_err() {
                        self.ended("the server sent what is not the protocol", books);
                    }
                }
                Err(Garbled) => self.ended("the server sent what is no frame", books),
            }
        }
        used
    }

    fn payload(&mut self, key: usize, payload: &[u8], now: u64, books: &mut Books) -> Result<(), Garbled> {
        let codec = match self.speech {
            Speech::Protocol(codec) => codec,
            Speech::Frames { ping, pong } if payload == ping => {
                self.write(&stream::masked(Codec::Json, pong), books);
                return Ok(());
            }
            Speech::Frames { .. } => {
                books.deliveries += 1;
                return Ok(());
            }
        };
        let (mut pings, mut gone) = (false, false);
        let subscriptions = &mut self.subscriptions;
        stream::messages(codec, payload, |message| match message {
            Message::Publication { channel, offset, data } => {
                books.delivered(subscriptions, channel, offset, data, now);
            }
            Message::Ping => pings = true,
            Message::Reply { id, accepted } => {
                // Nobody waits for more of them than fit.
                let _ = books.answer.try_send(Answered { key, id, accepted });
            }
            // Nobody unsubscribes: it is the server that does.
            Message::Push(_) => gone = true,
        })?;
        if pings {
            self.write(&stream::masked(codec, codec.ping()), books);
        }
        if gone {
            self.ended("the server ended a subscription", books);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], books: &Books) {
        match self.stream.write(bytes) {
            Ok(length) if length == bytes.len() => {}
            Ok(_) => self.ended("the server does not take what it is sent", books),
            Err(error) => self.ended(&format!("cannot be written to: {error}"), books),
        }
    }

    fn ended(&mut self, why: &str, books: &Books) {
        if self.end.is_none() {
            self.end = Some(why.to_owned());
            books.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Books {
    fn channel(&mut self, name: &str) -> usize {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        let at = self.channels.len();
        self.names.insert(name.to_owned(), at);
        self.channels.push(Channel {
            name: name.to_owned(),
            ledger: Ledger::default(),
            sent: VecDeque::new(),
        });
        at
    }

    fn of(&mut self, name: &str) -> &mut Channel {
        let at = self.channel(name);
        &mut self.channels[at]
    }

    /// A publication has come. What has no offset is not stored, and nobody is owed it.
    fn delivered(&mut self, of: &mut [(usize, Cursor)], channel: &[u8], offset: u64, data: &[u8], now: u64) {
        let channels = &mut self.channels;
        let found = of.iter_mut().find(|(at, _)| channels[*at].name.as_bytes() == channel);
        let Some((at, cursor)) = found.filter(|_| offset > 0) else {
            return;
        };
        let Channel { ledger, sent, .. } = &mut channels[*at];
        let new = || {
            (
                stream::begun(data).unwrap_or_default(),
                sent.pop_front().unwrap_or_default(),
            )
        };
        if let Some(entry) = ledger.take(cursor, offset, new) {
            let Times { from_commit, from_send } = &mut self.times;
            for (since, histogram) in [(entry.at, from_commit), (entry.sent, from_send)] {
                if since > 0 {
                    histogram.saturating_record(now.saturating_sub(since));
                }
            }
        }
        self.deliveries += 1;
    }

    /// Shows others how far it is.
    fn show(&self) {
        self.shared.bytes.store(self.bytes, Ordering::Relaxed);
        self.shared.deliveries.store(self.deliveries, Ordering::SeqCst);
        if self.deliveries >= self.shared.wanted.load(Ordering::SeqCst) {
            self.shared.reached.notify_one();
        }
    }
}
