//! L2: what nodes share through Redis. It is never waited for long, and what is wrong with it is never an error: the
//! database has everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bb8_redis::RedisConnectionManager;
use bytes::{BufMut as _, Bytes, BytesMut};
use redis::AsyncCommands as _;

use crate::http::etag::{Shape, Stamp};
use crate::ids::{GymId, PlanId};

/// How long an answer is kept, in seconds: the number of the system that this one replaces.
const KEPT: u64 = 300;
/// How long Redis may take to answer.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long Redis is left alone after it has failed.
const REST: Duration = Duration::from_secs(1);
/// Commands are short, so few connections do.
const CONNECTIONS: u32 = 4;

/// A Redis server that keeps answers.
#[derive(Clone)]
pub(super) struct Shared(Arc<Inner>);

struct Inner {
    pool: bb8::Pool<RedisConnectionManager>,
    began: Instant,
    /// Milliseconds since `began` until which Redis is left alone.
    rests_until: AtomicU64,
}

impl Shared {
    /// The server that a URL names; none for a cluster. Connects when it is first needed.
    pub(super) fn new(url: &str) -> anyhow::Result<Option<Self>> {
        if url
            .split("://")
            .next()
            .is_some_and(|scheme| scheme.ends_with("+cluster"))
        {
            return Ok(None);
        }
        // The error would show the URL's password.
        let manager = RedisConnectionManager::new(url)
            .ok()
            .context("REDIS_URL is not redis://host:port")?;
        let pool = bb8::Pool::builder()
            .max_size(CONNECTIONS)
            .connection_timeout(PATIENCE)
            .retry_connection(false)
            .build_unchecked(manager);
        Ok(Some(Self(Arc::new(Inner {
            pool,
            began: Instant::now(),
            rests_until: AtomicU64::new(0),
        }))))
    }

    /// A plan's JSON of this stamp.
    pub(super) async fn get(&self, gym: GymId, plan: PlanId, stamp: Stamp) -> Option<Bytes> {
        let found: Vec<u8> = self
            .ask(async |conn| conn.get(key(gym, plan, stamp.shape)).await)
            .await?;
        let found = Bytes::from(found);
        let head = head(stamp);
        found.starts_with(head.as_bytes()).then(|| found.slice(head.len()..))
    }

    /// Keeps a plan's JSON, without waiting for it.
    pub(super) fn put(&self, gym: GymId, plan: PlanId, stamp: Stamp, body: Bytes) {
        let shared = self.clone();
        tokio::spawn(async move {
            let head = head(stamp);
            let mut value = BytesMut::with_capacity(head.len() + body.len());
            value.put_slice(head.as_bytes());
            value.put_slice(&body);
            let value = value.as_ref();
            let _: Option<()> = shared
                .ask(async |conn| conn.set_ex(key(gym, plan, stamp.shape), value, KEPT).await)
                .await;
        });
    }

    /// Asks Redis within its time, unless it has just failed.
    async fn ask<T>(
        &self,
        command: impl AsyncFnOnce(&mut redis::aio::MultiplexedConnection) -> redis::RedisResult<T>,
    ) -> Option<T> {
        let now = || u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now() < self.0.rests_until.load(Ordering::Relaxed) {
            return None;
        }
        let asked = tokio::time::timeout(PATIENCE, async {
            let mut conn = self.0.pool.get().await.ok()?;
            command(&mut conn).await.ok()
        });
        let answer = asked.await.ok().flatten();
        if answer.is_none() {
            let rest = u64::try_from(REST.as_millis()).unwrap_or(u64::MAX);
            self.0.rests_until.store(now().saturating_add(rest), Ordering::Relaxed);
        }
        answer
    }
}

/// The shape is in the key, so that nodes of two releases do not take each other's place.
fn key(gym: GymId, plan: PlanId, shape: Shape) -> String {
    format!("gym:{gym}:plan:{plan}:{shape}")
}

/// What stands before the body.
fn head(stamp: Stamp) -> String {
    format!("{stamp}\n")
}
