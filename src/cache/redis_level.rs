//! L2: the cache that nodes share in Redis. Its timeouts are short and its failures are no errors, since the database
//! has all data. Redis is not trusted: every value is sealed for its key, and one that does not open is a miss. A value
//! that was put back has another stamp than the reader asks for, or is the very one that it asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use redis::{FromRedisValue, Pipeline};

use crate::http::etag::{Shape, Stamp};
use crate::ids::{GymId, PlanId};
use liveplan_hub::cluster::OtherNodes;
use liveplan_hub::cluster::client::{Link, Servers};
use liveplan_hub::cluster::keyring::{Keyring, Kind};

/// Seconds after which an entry expires; the same as in the system that this one replaces.
const KEPT: u64 = 300;
/// Timeout of a query; twice as long if the connection must be opened first.
const PATIENCE: Duration = Duration::from_millis(50);
/// Pause without queries after a failure of Redis.
const REST: Duration = Duration::from_secs(1);

/// The cache on one Redis server.
#[derive(Clone)]
pub(super) struct RedisLevel(Arc<Inner>);

struct Inner {
    link: Link,
    keyring: Keyring,
    began: Instant,
    /// End of the pause after a failure, in milliseconds since `began`.
    rests_until: AtomicU64,
}

impl RedisLevel {
    /// The cache on the server that all nodes use; `None` for a cluster. Connects on first use.
    pub(super) fn new(others: &OtherNodes) -> Option<Self> {
        let Servers::One(info) = &others.servers else {
            return None;
        };
        Some(Self(Arc::new(Inner {
            link: Link::new((**info).clone(), PATIENCE),
            keyring: others.keyring.clone(),
            began: Instant::now(),
            rests_until: AtomicU64::new(0),
        })))
    }

    /// A plan's JSON with this stamp, if Redis has it and answers in time.
    pub(super) async fn get(&self, gym: GymId, plan: PlanId, stamp: Stamp) -> Option<Bytes> {
        let key = key(gym, plan, stamp.shape);
        let mut get = redis::pipe();
        get.get(&key);
        let (found,): (Option<Vec<u8>>,) = self.ask(&get).await?;
        let sealed = Bytes::from(found?);
        let value = self.0.keyring.open(Kind::Value, &[key.as_bytes()], &sealed)?;
        let found = sealed.slice_ref(value);
        let head = head(stamp);
        found.starts_with(head.as_bytes()).then(|| found.slice(head.len()..))
    }

    /// Stores a plan's JSON in the background.
    pub(super) fn put(&self, gym: GymId, plan: PlanId, stamp: Stamp, body: Bytes) {
        let shared = self.clone();
        tokio::spawn(async move {
            let head = head(stamp);
            let mut value = BytesMut::with_capacity(head.len() + body.len());
            value.put_slice(head.as_bytes());
            value.put_slice(&body);
            let key = key(gym, plan, stamp.shape);
            let sealed = shared.0.keyring.seal(Kind::Value, &[key.as_bytes()], &value);
            let mut set = redis::pipe();
            set.set_ex(key, sealed, KEPT).ignore();
            let _: Option<()> = shared.ask(&set).await;
        });
    }

    /// Queries Redis within the timeout, unless it has just failed.
    async fn ask<T: FromRedisValue>(&self, commands: &Pipeline) -> Option<T> {
        let now = || u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now() < self.0.rests_until.load(Ordering::Relaxed) {
            return None;
        }
        let asked = tokio::time::timeout(2 * PATIENCE, self.0.link.query(commands));
        let answer = asked.await.ok().and_then(Result::ok);
        if answer.is_none() {
            let rest = u64::try_from(REST.as_millis()).unwrap_or(u64::MAX);
            self.0.rests_until.store(now().saturating_add(rest), Ordering::Relaxed);
        }
        answer
    }
}

/// The key contains the shape, so that nodes of two releases do not replace each other's entries.
fn key(gym: GymId, plan: PlanId, shape: Shape) -> String {
    format!("gym:{gym}:plan:{plan}:{shape}")
}

/// The prefix of a stored value, before the body.
fn head(stamp: Stamp) -> String {
    format!("{stamp}\n")
}
