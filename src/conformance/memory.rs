//! [`Memory`]: a backend with logs in memory. Each channel has its own log, so the offsets of a channel are
//! consecutive.

use std::collections::{HashMap, VecDeque};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::tokens;
use crate::clock::Clock;
use crate::error::Result;
use liveplan_hub::Hub;
use liveplan_hub::backend::{
    Answer, Answers, Ask, Backend, Failure, Found, Identity, Kind, Location, Notice, Offers, PresenceChange, Session,
    Standing, Unrecoverable, Want, WhoIsOnline,
};
use liveplan_hub::ids::{LogId, UserId};
use liveplan_hub::log::change::{Bounds, Committed, Head, LoggedEvent, Missed};

/// Maximum bytes of a channel's name.
const NAME_BYTES: usize = 255;
/// Maximum changes that a log keeps.
const CHANGES: usize = 2000;
/// Maximum bytes of payloads that a log keeps.
const BYTES: usize = 4 << 20;
/// Maximum number of logs; beyond it, names of new channels are unknown.
const LOGS: usize = 100_000;

/// A backend with logs in memory.
pub struct Memory {
    hub: Hub,
    clock: Clock,
    /// The logs of all channels that were used.
    logs: Mutex<HashMap<LogId, Log>>,
}

/// The log of one channel, with its last publications.
struct Log {
    head: Head,
    events: VecDeque<(u64, LoggedEvent)>,
    bytes: usize,
}

impl Log {
    fn new() -> Self {
        let mut epoch = Uuid::new_v4().simple().to_string();
        epoch.truncate(8);
        Self {
            head: Head {
                epoch: epoch.into(),
                seq: 0,
            },
            events: VecDeque::new(),
            bytes: 0,
        }
    }

    fn append(&mut self, log: LogId, event: LoggedEvent) -> Committed {
        self.head.seq += 1;
        self.bytes += event.payload.len();
        self.events.push_back((self.head.seq, event.clone()));
        while self.events.len() > CHANGES || self.bytes > BYTES {
            let Some((_, oldest)) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.payload.len();
        }
        self.committed(log, self.head.seq, event)
    }

    fn committed(&self, log: LogId, seq: u64, event: LoggedEvent) -> Committed {
        Committed {
            log,
            epoch: self.head.epoch.clone(),
            seq,
            events: vec![event],
            committed_at: None,
            more_soon: false,
        }
    }

    /// The events with numbers above `after`.
    fn after(&self, after: u64) -> impl Iterator<Item = &(u64, LoggedEvent)> {
        self.events.iter().skip_while(move |(seq, _)| *seq <= after)
    }

    fn missed(&self, epoch: &str, after: u64, bounds: Bounds) -> Result<Vec<(u64, Bytes)>, Unrecoverable> {
        if !epoch.is_empty() && *epoch != *self.head.epoch {
            return Err(Unrecoverable::Epoch);
        }
        if after > self.head.seq {
            return Err(Unrecoverable::Ahead);
        }
        let mut events = self.after(after).peekable();
        if after < self.head.seq && events.peek().is_none_or(|(seq, _)| *seq != after + 1) {
            return Err(Unrecoverable::Retention);
        }
        Missed::within(events.map(|(seq, event)| (*seq, event.payload.clone())), bounds).complete()
    }

    fn tail(&self, limit: i64) -> Vec<(u64, Bytes)> {
        let limit = usize::try_from(limit).unwrap_or(0);
        let skipped = self.events.len().saturating_sub(limit);
        let tail = self.events.iter().skip(skipped);
        tail.map(|(seq, event)| (*seq, event.payload.clone())).collect()
    }
}

impl Memory {
    /// A backend without any log.
    #[must_use]
    pub fn new(hub: Hub, clock: Clock) -> Self {
        Self {
            hub,
            clock,
            logs: Mutex::default(),
        }
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<LogId, Log>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends to a channel's log and hands the change to the hub. Returns the change's number.
    pub fn append(&self, log: LogId, channel: &str, payload: Bytes) -> u64 {
        let event = LoggedEvent {
            channel: channel.into(),
            payload,
        };
        // The lock is held until the hand-over, so that the hub gets changes in the order of their numbers.
        let mut logs = self.logs();
        let mut change = logs.entry(log).or_insert_with(Log::new).append(log, event);
        change.committed_at = Some(Instant::now());
        let seq = change.seq;
        self.hub.committed(change);
        seq
    }

    fn identity(&self, token: &str) -> Result<Identity> {
        let now = self.clock.now();
        let claims = match token {
            "" => tokens::Claims::default(),
            token => tokens::connection(token, now)?,
        };
        let left = claims.ends().map(|ends| (ends - now).to_std().unwrap_or_default());
        let personal = format!("#{}", claims.sub);
        let channels = match &*claims.sub {
            "" => Vec::new(),
            _ => vec![personal.as_str().into()],
        };
        Ok(Identity {
            session: Session {
                log: LogId(id("log", &personal)),
                user: UserId(id("user", &claims.sub)),
                name: claims.sub.into(),
                id: Uuid::nil(),
                expires_at: left.map(|left| tokio::time::Instant::now() + left),
                claims: Arc::new(()),
            },
            channels,
        })
    }
}

impl Backend for Memory {
    /// Accepts a client without a token as an anonymous user.
    fn authenticate<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<Option<Identity>, Failure>> {
        ready(self.identity(token).map(Some).map_err(Failure::from)).boxed_local()
    }

    fn locate(&self, _: &Session, channel: &str) -> Option<Location> {
        let named = !channel.is_empty() && channel.len() <= NAME_BYTES && !channel.contains(char::is_control);
        let log = LogId(id("log", channel));
        let logs = self.logs();
        let room = logs.len() < LOGS || logs.contains_key(&log);
        (named && room).then(|| Location {
            log,
            offers: Offers {
                presence: true,
                history: if channel.starts_with("smallhistory:") { 2 } else { 100 },
            },
        })
    }

    fn read<'a>(
        &'a self,
        log: LogId,
        _: Option<&'a Session>,
        asks: &'a [Ask],
        _: &'a dyn WhoIsOnline,
    ) -> LocalBoxFuture<'a, Result<Answers, Failure>> {
        let mut logs = self.logs();
        let log = logs.entry(log).or_insert_with(Log::new);
        let answer = |ask: &Ask| Answer::Granted {
            lasts: None,
            found: match &ask.want {
                Want::Right => Found::Nothing,
                Want::State => Found::State(Bytes::new()),
                Want::Tail(limit) => Found::Tail(log.tail(*limit)),
                Want::Since {
                    epoch,
                    after,
                    bounds,
                    or_state,
                } => {
                    let missed = log.missed(epoch, *after, *bounds);
                    let state = (missed.is_err() && *or_state).then(Bytes::new);
                    Found::Since { missed, state }
                }
            },
        };
        let more = asks.iter().any(|ask| !matches!(ask.want, Want::Right));
        let answers = Answers {
            standing: Standing::Good,
            head: more.then(|| log.head.clone()),
            answers: asks.iter().map(answer).collect(),
        };
        ready(Ok(answers)).boxed_local()
    }

    fn heads<'a>(&'a self, wanted: &'a [LogId]) -> BoxFuture<'a, Result<HashMap<LogId, Head>, Failure>> {
        let mut logs = self.logs();
        let head = |id: &LogId| (*id, logs.entry(*id).or_insert_with(Log::new).head.clone());
        ready(Ok(wanted.iter().map(head).collect())).boxed()
    }

    fn since(&self, log: LogId, after: u64, limit: u64) -> BoxFuture<'_, Result<(Vec<Committed>, Head), Failure>> {
        let mut logs = self.logs();
        let found = logs.entry(log).or_insert_with(Log::new);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let change = |(seq, event): &(u64, LoggedEvent)| found.committed(log, *seq, event.clone());
        let changes = found.after(after).take(limit).map(change).collect();
        ready(Ok((changes, found.head.clone()))).boxed()
    }

    fn seen<'a>(
        &'a self,
        _: LogId,
        _: &'a [(UserId, DateTime<Utc>)],
        _: &'a [PresenceChange],
    ) -> BoxFuture<'a, Result<Vec<Notice>, Failure>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn call<'a>(&'a self, _: &'a Session, _: &'a str, _: Value) -> Option<LocalBoxFuture<'a, Result<String, Failure>>> {
        None
    }

    fn takes_publications(&self) -> bool {
        true
    }

    fn publish<'a>(&'a self, log: LogId, channel: &'a str, payload: Bytes) -> LocalBoxFuture<'a, Result<(), Failure>> {
        self.append(log, channel, payload);
        ready(Ok(())).boxed_local()
    }

    fn subscription_token(
        &self,
        session: &Session,
        channel: &str,
        token: &str,
    ) -> Option<Result<Option<Duration>, Failure>> {
        let now = self.clock.now();
        let ends = tokens::subscription(token, &session.name, channel, now);
        let lasts = ends.map(|ends| ends.map(|ends| (ends - now).to_std().unwrap_or_default()));
        Some(lasts.map_err(Failure::from))
    }

    fn failure(&self, kind: Kind) -> Failure {
        crate::channels::failure(kind)
    }
}

/// A stable id for a name, by its digest.
fn id(kind: &str, name: &str) -> Uuid {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(kind)
        .chain_update([0])
        .chain_update(name)
        .finalize()
        .into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}
