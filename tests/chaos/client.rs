//! A client that behaves like an SDK: it reconnects by the SDKs' rules for codes and backoff, recovers from its
//! position and applies publications. It records whatever must never happen.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use liveplan_hub::protocol::Codec;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::seen::{Channel, Seen, State, Watches, plan_of};
use crate::wire::{self, Answered, Ask, Heard, Refusal, Started};

/// The time without an answer after which the client closes its socket, as in the SDKs.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The silence after which the client closes its socket: 5 s between pings plus the SDKs' 10 s.
const SILENCE: Duration = Duration::from_secs(15);
const MIN_DELAY_MS: u64 = 100;
const MAX_DELAY_MS: u64 = 2000;

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What the test makes a client do.
pub enum Order {
    /// Drops the socket without a close frame.
    Cut,
    /// Stays offline for a while.
    Offline(Duration),
    /// Sends a command; `done` gets its outcome.
    Call {
        method: String,
        data: Value,
        done: oneshot::Sender<Called>,
    },
}

/// The outcome of a command.
#[derive(Debug)]
pub enum Called {
    Acknowledged,
    Refused(Refusal),
    /// The command may or may not have taken effect.
    Unknown,
}

pub struct Client {
    pub name: String,
    pub watches: Watches,
    seen: Arc<Mutex<Seen>>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Client {
    pub fn start(
        name: String,
        codec: Codec,
        token: String,
        watches: Watches,
        nodes: [SocketAddr; 2],
        seed: u64,
    ) -> Arc<Self> {
        let seen = Arc::<Mutex<Seen>>::default();
        let (sender, orders) = mpsc::unbounded_channel();
        let task = Task {
            codec,
            token,
            watches: watches.clone(),
            nodes,
            seen: seen.clone(),
            orders,
            rng: StdRng::seed_from_u64(seed),
            step: 0,
            next_id: 0,
            pending: HashMap::new(),
            later: Vec::new(),
        };
        tokio::spawn(task.run());
        Arc::new(Self {
            name,
            watches,
            seen,
            orders: sender,
        })
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic")
    }

    pub fn order(&self, order: Order) {
        // A client that was closed permanently takes no orders.
        let _ = self.orders.send(order);
    }

    /// Sends a command over the client's socket.
    pub async fn call(&self, method: &str, data: &Value) -> Called {
        let (done, result) = oneshot::channel();
        self.order(Order::Call {
            method: method.to_owned(),
            data: data.clone(),
            done,
        });
        result.await.unwrap_or(Called::Unknown)
    }
}

enum Pending {
    Connect,
    Subscribe(String),
    Call(oneshot::Sender<Called>),
}

/// How a socket ended, and when to reconnect.
enum End {
    Soon,
    After(Duration),
    Never,
}

struct Task {
    codec: Codec,
    token: String,
    watches: Watches,
    nodes: [SocketAddr; 2],
    seen: Arc<Mutex<Seen>>,
    orders: mpsc::UnboundedReceiver<Order>,
    rng: StdRng,
    step: u32,
    next_id: u32,
    pending: HashMap<u64, (Pending, Instant)>,
    /// Channels with a temporary refusal, and when to subscribe again.
    later: Vec<(Instant, String)>,
}

impl Task {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic")
    }

    async fn run(mut self) {
        loop {
            let end = self.one_socket().await;
            self.drop_pending();
            self.later.clear();
            {
                let mut seen = self.seen();
                seen.connected = false;
                for channel in seen.channels.values_mut() {
                    if !matches!(channel.state, State::Ended(_)) {
                        channel.state = State::Away;
                    }
                }
            }
            let delay = match end {
                End::Never => return,
                End::After(delay) => delay,
                End::Soon => self.backoff(),
            };
            if !self.wait(delay).await {
                return;
            }
        }
    }

    /// The SDKs' backoff: a random part of a maximum that doubles with every failure.
    fn backoff(&mut self) -> Duration {
        let most = MAX_DELAY_MS.min(MIN_DELAY_MS << self.step.min(10));
        self.step += 1;
        let delay = MAX_DELAY_MS.min(MIN_DELAY_MS + self.rng.random_range(0..=most));
        Duration::from_millis(delay)
    }

    /// Waits; commands that arrive meanwhile end as `Unknown`. Returns false when the test has dropped the client.
    async fn wait(&mut self, delay: Duration) -> bool {
        let mut until = Instant::now() + delay;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                order = self.orders.recv() => match order {
                    None => return false,
                    Some(Order::Offline(longer)) => until = until.max(Instant::now() + longer),
                    Some(Order::Call { done, .. }) => drop(done.send(Called::Unknown)),
                    Some(Order::Cut) => {}
                },
            }
        }
    }

    fn drop_pending(&mut self) {
        for (_, (pending, _)) in self.pending.drain() {
            if let Pending::Call(done) = pending {
                // The caller may be gone.
                let _ = done.send(Called::Unknown);
            }
        }
    }

    async fn open(&mut self) -> Option<Stream> {
        let node = self.nodes[self.rng.random_range(0..2)];
        self.seen().attempts += 1;
        let mut request = format!("ws://{node}/connection/websocket").into_client_request().ok()?;
        if self.codec == Codec::Protobuf {
            let offer = Codec::Protobuf.subprotocol().parse().ok()?;
            request.headers_mut().insert("Sec-WebSocket-Protocol", offer);
        }
        let opened = tokio::time::timeout(ANSWER_WITHIN, tokio_tungstenite::connect_async(request)).await;
        opened.ok()?.ok().map(|(stream, _)| stream)
    }

    fn ask(&mut self, ask: Ask, pending: Pending, asks: &mut Vec<(u32, Ask)>) {
        self.next_id += 1;
        let by = Instant::now() + ANSWER_WITHIN;
        self.pending.insert(self.next_id.into(), (pending, by));
        asks.push((self.next_id, ask));
    }

    /// Connects, and subscribes to its channels in the same frame, as the JavaScript SDK does.
    fn opening(&mut self) -> Vec<(u32, Ask)> {
        let mut asks = Vec::new();
        let (mut subs, mut others) = (BTreeMap::new(), Vec::new());
        for (name, channel) in &self.seen().channels {
            if channel.server_side {
                subs.extend(channel.position.clone().map(|from| (name.clone(), from)));
            } else if channel.state == State::Away {
                others.push(name.clone());
            }
        }
        let token = self.token.clone();
        self.ask(Ask::Connect { token, subs }, Pending::Connect, &mut asks);
        for channel in others {
            self.subscribe(&channel, &mut asks);
        }
        asks
    }

    fn subscribe(&mut self, name: &str, asks: &mut Vec<(u32, Ask)>) {
        let from = {
            let mut seen = self.seen();
            let channel = seen
                .channels
                .entry(name.to_owned())
                .or_insert_with(|| Channel::new(false));
            match channel.state {
                State::Live => return,
                State::Asking { .. } => {
                    channel.state = State::Asking { again: true };
                    return;
                }
                // After a permanent end the client subscribes without a position.
                State::Ended(_) => channel.position = None,
                State::Away => {}
            }
            channel.state = State::Asking { again: false };
            channel.position.clone()
        };
        let channel = name.to_owned();
        self.ask(
            Ask::Subscribe { channel, from },
            Pending::Subscribe(name.to_owned()),
            asks,
        );
    }

    /// Runs one socket from its opening to its end.
    async fn one_socket(&mut self) -> End {
        let Some(mut stream) = self.open().await else {
            return End::Soon;
        };
        let asks = self.opening();
        if stream.send(wire::commands(self.codec, &asks)).await.is_err() {
            return End::Soon;
        }
        let mut silent_until = Instant::now() + SILENCE;
        loop {
            let answer_by = self.pending.values().map(|(_, by)| *by).min();
            let deadline = answer_by.map_or(silent_until, |by| by.min(silent_until));
            let again_at = self.later.iter().map(|(at, _)| *at).min();
            let mut asks = Vec::new();
            tokio::select! {
                frame = stream.next() => {
                    silent_until = Instant::now() + SILENCE;
                    match frame {
                        Some(Ok(Message::Close(frame))) => return self.closed(frame.map(|f| (f.code.into(), f.reason.to_string()))),
                        Some(Ok(frame)) => {
                            let all = wire::heard(self.codec, frame).unwrap_or_else(|error| {
                                self.seen().violations.push(format!("an unreadable frame: {error}"));
                                Vec::new()
                            });
                            for heard in all {
                                if matches!(heard, Heard::Ping) {
                                    if stream.send(wire::pong(self.codec)).await.is_err() {
                                        return End::Soon;
                                    }
                                } else if let Some(end) = self.hear(heard, &mut asks) {
                                    return end;
                                }
                            }
                        }
                        Some(Err(_)) | None => return End::Soon,
                    }
                }
                order = self.orders.recv() => match order {
                    None => return End::Never,
                    Some(Order::Cut) => return End::Soon,
                    Some(Order::Offline(time)) => return End::After(time),
                    Some(Order::Call { method, data, done }) => {
                        self.ask(Ask::Rpc { method, data }, Pending::Call(done), &mut asks);
                    }
                },
                () = async { tokio::time::sleep_until(again_at.unwrap_or(deadline)).await }, if again_at.is_some() => {
                    let now = Instant::now();
                    for (_, channel) in self.later.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
                        self.want(&channel, &mut asks);
                    }
                }
                // No answer in time, or silence for too long.
                () = tokio::time::sleep_until(deadline) => return End::Soon,
            }
            if !asks.is_empty() && stream.send(wire::commands(self.codec, &asks)).await.is_err() {
                return End::Soon;
            }
        }
    }

    fn closed(&mut self, close: Option<(u16, String)>) -> End {
        let mut seen = self.seen();
        let Some((code, reason)) = close else { return End::Soon };
        *seen.codes.entry(code.into()).or_default() += 1;
        if reason.is_empty() {
            seen.violations.push(format!("close {code} without a reason"));
        }
        if matches!(code, 3500..4000 | 4500..5000) {
            seen.terminal = Some(code);
            return End::Never;
        }
        End::Soon
    }

    fn hear(&mut self, heard: Heard, asks: &mut Vec<(u32, Ask)>) -> Option<End> {
        match heard {
            Heard::Ping | Heard::Other => {}
            Heard::Published { channel, offset, data } => self.publication(&channel, offset, data, asks),
            Heard::Unsubscribed { channel, code } => self.unsubscribed(&channel, code, asks),
            Heard::Reply { id, result } => {
                let Some((pending, _)) = self.pending.remove(&id) else {
                    self.seen()
                        .violations
                        .push(format!("an answer to nothing: {id} {result:?}"));
                    return None;
                };
                return self.answered(pending, result, asks);
            }
        }
        None
    }

    fn answered(
        &mut self,
        pending: Pending,
        result: Result<Answered, Refusal>,
        asks: &mut Vec<(u32, Ask)>,
    ) -> Option<End> {
        match (pending, result) {
            (Pending::Connect, Ok(Answered::Connected(subs))) => {
                self.step = 0;
                {
                    let mut seen = self.seen();
                    seen.connected = true;
                    seen.connections += 1;
                }
                for (channel, result) in subs {
                    self.begin(&channel, result, true, asks);
                }
                if let Watches::Fixed(channels) = self.watches.clone() {
                    for channel in channels {
                        self.want(&channel, asks);
                    }
                }
                if let Watches::ItsRoster { own } = self.watches.clone() {
                    self.want(&own, asks);
                }
            }
            // These tokens outlive the run, so every refusal of a connect is temporary.
            (Pending::Connect, Err(refusal)) => {
                *self.seen().codes.entry(refusal.code).or_default() += 1;
                return Some(End::Soon);
            }
            (Pending::Subscribe(channel), Ok(Answered::Subscribed(result))) => {
                self.begin(&channel, result, false, asks);
            }
            (Pending::Subscribe(channel), Err(refusal)) => self.refused(&channel, &refusal, asks),
            (Pending::Call(done), Ok(Answered::Called)) => drop(done.send(Called::Acknowledged)),
            (Pending::Call(done), Err(refusal)) => drop(done.send(if refusal.temporary {
                Called::Unknown
            } else {
                Called::Refused(refusal)
            })),
            (_, Ok(other)) => self
                .seen()
                .violations
                .push(format!("an answer to something else: {other:?}")),
        }
        None
    }

    /// Subscribes to a channel unless it is live; one that has ended is subscribed to anew.
    fn want(&mut self, channel: &str, asks: &mut Vec<(u32, Ask)>) {
        let state = self.seen().channels.get(channel).map(|c| c.state);
        if state != Some(State::Live) {
            self.subscribe(channel, asks);
        }
    }

    fn refused(&mut self, name: &str, refusal: &Refusal, asks: &mut Vec<(u32, Ask)>) {
        let again = {
            let mut seen = self.seen();
            *seen.codes.entry(refusal.code).or_default() += 1;
            let channel = seen.channels.get_mut(name).expect("it was asked for");
            let again = channel.state == State::Asking { again: true };
            channel.state = if refusal.temporary {
                State::Away
            } else {
                State::Ended(refusal.code)
            };
            if !refusal.temporary && refusal.code != 103 {
                let text = format!("{name}: refused with {} {}", refusal.code, refusal.message);
                seen.violations.push(text);
            }
            again
        };
        if refusal.temporary {
            let delay = Duration::from_millis(self.rng.random_range(200..800));
            self.later.push((Instant::now() + delay, name.to_owned()));
        } else if again {
            self.subscribe(name, asks);
        }
    }

    fn unsubscribed(&mut self, name: &str, code: u64, asks: &mut Vec<(u32, Ask)>) {
        {
            let mut seen = self.seen();
            *seen.codes.entry(code).or_default() += 1;
            let Some(channel) = seen.channels.get_mut(name) else {
                seen.violations
                    .push(format!("the end of {name}, which was not watched"));
                return;
            };
            channel.state = if code < 2500 { State::Ended(code) } else { State::Away };
        }
        // The client's own channel may show this one again by the time the unsubscribe arrives.
        if code >= 2500 || self.shown_as_ones_own(name) {
            self.subscribe(name, asks);
        }
    }

    fn shown_as_ones_own(&self, name: &str) -> bool {
        let seen = self.seen();
        let shown = |own: &str| seen.channels.get(own).map(|channel| &channel.shown);
        match &self.watches {
            Watches::Fixed(_) => false,
            Watches::ItsPlan { own } => shown(own).is_some_and(|shown| Some(name) == plan_of(shown).as_deref()),
            Watches::ItsRoster { own } => shown(own).is_some_and(|shown| {
                name.strip_prefix("member:")
                    .is_some_and(|member| shown["members"].get(member).is_some())
            }),
        }
    }

    fn begin(&mut self, name: &str, result: Started, server_side: bool, asks: &mut Vec<(u32, Ask)>) {
        self.seen().begin(name, result, server_side);
        self.look_for_more(name, asks);
    }

    fn publication(&mut self, name: &str, offset: u64, data: Value, asks: &mut Vec<(u32, Ask)>) {
        self.seen().publish(name, offset, data);
        if offset > 0 {
            self.look_for_more(name, asks);
        }
    }

    /// Subscribes to the channels that the client's own channel refers to.
    fn look_for_more(&mut self, name: &str, asks: &mut Vec<(u32, Ask)>) {
        let wanted: Vec<String> = {
            let seen = self.seen();
            let Some(channel) = seen.channels.get(name) else { return };
            match &self.watches {
                Watches::ItsPlan { own } if own == name => plan_of(&channel.shown).into_iter().collect(),
                Watches::ItsRoster { own } if own == name => {
                    let members = channel.shown["members"].as_object();
                    members
                        .into_iter()
                        .flat_map(|members| members.keys().map(|member| format!("member:{member}")))
                        .collect()
                }
                _ => return,
            }
        };
        for channel in wanted {
            self.want(&channel, asks);
        }
    }
}
