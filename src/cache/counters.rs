//! Leaky buckets by key that all nodes share in Redis, each with a twin in this process (`Sketch`). An attempt needs
//! room in both. So a Redis that fails, answers late or lies takes nothing from the bounds of one node; it only makes
//! nodes count apart.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{ConnectionInfo, FromRedisValue, Pipeline, RedisError};

use super::sketch::Sketch;
pub use super::sketch::{Bucket, Tag};
use liveplan_hub::cluster::client::{Link, Servers, at};

/// Timeout of a query; twice as long if the connection must be opened first. An attempt is rare, and one that Redis does
/// not count is counted by this node alone.
const PATIENCE: Duration = Duration::from_millis(200);
/// Pause without queries after a failure of Redis.
const REST: Duration = Duration::from_secs(1);
/// The hash tag keeps all keys in one slot of a cluster, since one script writes several.
const PREFIX: &str = "liveplan:{attempts}:";

/// Adds a unit to each bucket, or to none if one is full; returns the milliseconds until that one has room, else 0. A
/// key holds the instant at which its bucket is empty, in the server's time.
const ADD: &str = "
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local added, wait = {}, 0
    for i, key in ipairs(KEYS) do
        local full, unit = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
        local empty_at = math.min(math.max(tonumber(redis.call('GET', key)) or 0, now), now + full)
        added[i] = empty_at + unit
        wait = math.max(wait, added[i] - now - full)
    end
    if wait == 0 then
        for i, key in ipairs(KEYS) do
            redis.call('SET', key, string.format('%.0f', added[i]), 'PX', string.format('%.0f', added[i] - now))
        end
    end
    return wait";

/// Removes a unit from each bucket.
const REMOVE: &str = "
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    for i, key in ipairs(KEYS) do
        local left = (tonumber(redis.call('GET', key)) or 0) - tonumber(ARGV[2 * i]) - now
        if left > 0 then
            redis.call('SET', key, string.format('%.0f', left + now), 'PX', string.format('%.0f', left))
        else
            redis.call('DEL', key)
        end
    end
    return 0";

/// A kind of bucket.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name, in keys of Redis.
    pub name: &'static str,
    /// How it fills and drains.
    pub bucket: Bucket,
}

/// One bucket: the place of its kind in the list that [`Counters::new`] got, and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The place of its kind.
    pub kind: usize,
    /// The key.
    pub tag: Tag,
}

/// Buckets of several kinds.
pub struct Counters {
    kinds: &'static [Kind],
    local: Vec<Sketch>,
    shared: Option<Shared>,
}

impl Counters {
    /// Empty buckets of these kinds; shared if there is a Redis. Connects on first use.
    #[must_use]
    pub fn new(kinds: &'static [Kind], redis: Option<&Servers>) -> Self {
        Self {
            kinds,
            local: kinds.iter().map(|kind| Sketch::new(kind.bucket)).collect(),
            shared: redis.and_then(Shared::new),
        }
    }

    /// Adds a unit to each bucket, or to none. `now` is the time since any fixed instant, the same for all calls.
    ///
    /// # Errors
    /// The time until there is room, if a bucket is full.
    pub async fn add(&self, places: &[Place], now: Duration) -> Result<(), Duration> {
        let mut wait = Duration::ZERO;
        let mut added = Vec::with_capacity(places.len());
        for place in places {
            match self
                .local
                .get(place.kind)
                .map_or(Ok(()), |sketch| sketch.add(&place.tag, now))
            {
                Ok(()) => added.push(*place),
                Err(longer) => wait = wait.max(longer),
            }
        }
        if wait.is_zero()
            && let Some(shared) = &self.shared
            && let Some(milliseconds) = shared.ask::<u64>(&self.script(ADD, places)).await
        {
            // A Redis that lies can refuse, but not for longer than a full bucket would.
            let longest = places
                .iter()
                .filter_map(|place| Some(self.kinds.get(place.kind)?.bucket.full()));
            wait = Duration::from_millis(milliseconds).min(longest.max().unwrap_or_default());
        }
        if wait.is_zero() {
            return Ok(());
        }
        self.remove_here(&added);
        Err(wait)
    }

    /// Removes a unit from each bucket, a moment after it was added; in Redis in the background.
    pub fn remove(&self, places: &[Place]) {
        self.remove_here(places);
        if let Some(shared) = self.shared.clone() {
            let script = self.script(REMOVE, places);
            tokio::spawn(async move { shared.ask::<u64>(&script).await });
        }
    }

    fn remove_here(&self, places: &[Place]) {
        for place in places {
            if let Some(sketch) = self.local.get(place.kind) {
                sketch.remove(&place.tag);
            }
        }
    }

    fn script(&self, script: &str, places: &[Place]) -> Pipeline {
        let kinds = || {
            places
                .iter()
                .filter_map(|place| Some((self.kinds.get(place.kind)?, place.tag)))
        };
        let mut pipeline = redis::pipe();
        let command = pipeline.cmd("EVAL").arg(script).arg(kinds().count());
        for (kind, tag) in kinds() {
            command.arg(format!("{PREFIX}{}:{:032x}", kind.name, u128::from_be_bytes(tag)));
        }
        for (kind, _) in kinds() {
            let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            command
                .arg(milliseconds(kind.bucket.full()))
                .arg(milliseconds(kind.bucket.drains));
        }
        pipeline
    }
}

/// The server that has the keys: the only one, or in a cluster the one that owns their slot.
#[derive(Clone)]
struct Shared {
    servers: Arc<Vec<ConnectionInfo>>,
    current: Arc<Mutex<Current>>,
}

struct Current {
    link: Link,
    /// Which of the servers it leads to, unless a redirection led elsewhere.
    place: usize,
    rests_until: Option<Instant>,
}

impl Shared {
    fn new(servers: &Servers) -> Option<Self> {
        let servers = match servers.clone() {
            Servers::One(server) => vec![*server],
            Servers::Cluster(seeds) => seeds,
        };
        let first = servers.first().cloned()?;
        Some(Self {
            servers: Arc::new(servers),
            current: Arc::new(Mutex::new(Current {
                link: Link::new(first, PATIENCE),
                place: 0,
                rests_until: None,
            })),
        })
    }

    /// Queries Redis within the timeout, unless it has just failed. Follows one redirection of a cluster.
    async fn ask<T: FromRedisValue>(&self, commands: &Pipeline) -> Option<T> {
        let link = {
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            if current.rests_until.is_some_and(|until| Instant::now() < until) {
                return None;
            }
            current.link.clone()
        };
        let asked = async {
            let error = match query(&link, commands).await {
                Ok((answer,)) => return Some(answer),
                Err(error) => error,
            };
            let link = self.redirected(&error)?;
            query(&link, commands).await.ok().map(|(answer,)| answer)
        };
        let answer = tokio::time::timeout(2 * PATIENCE, asked).await.ok().flatten();
        if answer.is_none() {
            self.rest();
        }
        answer
    }

    /// The server that a cluster's answer names, from now on.
    fn redirected(&self, error: &RedisError) -> Option<Link> {
        let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
        let server = at(self.servers.first()?, host, port.parse().ok()?);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.link = Link::new(server, PATIENCE);
        Some(current.link.clone())
    }

    /// Pauses after a failure, and continues with the next server.
    fn rest(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.rests_until = Some(Instant::now() + REST);
        current.place = (current.place + 1) % self.servers.len();
        if let Some(next) = self.servers.get(current.place) {
            current.link = Link::new(next.clone(), PATIENCE);
        }
    }
}

async fn query<T: FromRedisValue>(link: &Link, commands: &Pipeline) -> Result<(T,), RedisError> {
    link.query(commands).await
}
