//! A cache of serialised plans with two levels: L1 in this process, bounded in bytes, and L2 in Redis, which all nodes
//! share and which expires after 300 s. Each entry has a [`Stamp`]: version of the plan, shape of the JSON, and epoch.
//!
//! A reader asks for the stamp of the version that the database has just returned together with the right to read it.
//! So the cache never serves a stale plan, one from another release, or one the caller may not read, and needs no
//! invalidation: a stale entry only takes up memory.

pub mod counters;
mod redis_level;
mod sketch;

use std::io::Write as _;
use std::sync::{Arc, LazyLock, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus_client::metrics::counter::Counter;
use quick_cache::Weighter;

use crate::error::{Code, Result};
use crate::http::etag::Stamp;
use crate::ids::{GymId, PlanId};
use crate::turns::Turns;
use liveplan_hub::cluster::OtherNodes;
use redis_level::RedisLevel;

/// A compressed body is kept if it is at most 1/4 of the original. The weight of an entry includes this quarter from
/// the start.
const SHORTER: usize = 4;
/// Approximate overhead of an L1 entry, in bytes.
const ENTRY: u64 = 128;
/// Typical length of a plan as JSON, in bytes: a plan of 7 days, 5 meals a day and 4 items a meal.
const USUAL: u64 = 64 * 1024;

/// Bodies up to this many bytes are compressed on the calling thread: a switch to another thread would take longer.
const AT_ONCE: usize = 4 * 1024;

/// Permits for compression.
static TURNS: LazyLock<Turns> = LazyLock::new(|| Turns::new(Code::Busy));

/// A serialised body, and on demand its compressed form. Clones share the compressed form.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    body: Bytes,
    short: Arc<Short>,
}

/// The compressed form, once a client has asked for it.
#[derive(Debug, Default)]
struct Short {
    kept: OnceLock<Bytes>,
    /// Held while one caller compresses; the others wait for its result.
    making: tokio::sync::Mutex<()>,
}

impl From<Bytes> for Ready {
    fn from(body: Bytes) -> Self {
        Self {
            body,
            short: Arc::default(),
        }
    }
}

impl Ready {
    /// The body, not compressed.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body compressed with gzip (RFC 1952). A long body is compressed on a blocking thread, once for all
    /// concurrent callers. A result over 1/4 of the body is not kept, since the cache's weight does not include it.
    ///
    /// # Errors
    /// 503 if no permit is free in time.
    pub async fn gzip(&self) -> Result<Bytes> {
        self.gzip_by(gzip).await
    }

    async fn gzip_by(&self, compress: impl FnOnce(&[u8]) -> Bytes + Send + 'static) -> Result<Bytes> {
        let kept = || self.short.kept.get().cloned();
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        if self.body.len() <= AT_ONCE {
            return Ok(self.keep(compress(&self.body)));
        }
        let _making = TURNS.within(self.short.making.lock()).await?;
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        let body = self.body.clone();
        let short = TURNS.take(move || compress(&body)).await?;
        Ok(self.keep(short))
    }

    fn keep(&self, short: Bytes) -> Bytes {
        if short.len() <= self.body.len() / SHORTER {
            return self.short.kept.get_or_init(|| short).clone();
        }
        short
    }
}

fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default().into()
}

/// A plan as JSON, with its stamp.
#[derive(Clone, Debug)]
struct Kept {
    stamp: Stamp,
    ready: Ready,
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<(GymId, PlanId), Kept> for ByBytes {
    fn weight(&self, _: &(GymId, PlanId), kept: &Kept) -> u64 {
        let length = kept.ready.body.len();
        ENTRY + (length + length / SHORTER) as u64
    }
}

/// Hits per level, and misses.
#[derive(Debug, Default)]
pub struct Counts {
    /// Hits of L1.
    pub local: Counter,
    /// Hits of L2.
    pub shared: Counter,
    /// Misses of both.
    pub missed: Counter,
}

/// The cache of plans as JSON.
pub struct Cache {
    local: quick_cache::sync::Cache<(GymId, PlanId), Kept, ByBytes>,
    shared: Option<RedisLevel>,
    counts: Counts,
}

impl Cache {
    /// A cache with at most `bytes` in L1, and with an L2 if all nodes use a single Redis server. With a Redis cluster
    /// there is no L2; only the broker uses the cluster.
    #[must_use]
    pub fn new(bytes: u64, others: Option<&OtherNodes>) -> Self {
        let entries = usize::try_from(bytes / USUAL).unwrap_or(usize::MAX).max(16);
        Self {
            local: quick_cache::sync::Cache::with_weighter(entries, bytes, ByBytes),
            shared: others.and_then(RedisLevel::new),
            counts: Counts::default(),
        }
    }

    /// A plan's JSON with this stamp, if a level has it.
    pub async fn plan(&self, gym: GymId, plan: PlanId, stamp: Stamp) -> Option<Ready> {
        let local = self.local.get(&(gym, plan)).filter(|kept| kept.stamp == stamp);
        if let Some(kept) = local {
            self.counts.local.inc();
            return Some(kept.ready);
        }
        if let Some(shared) = &self.shared
            && let Some(body) = shared.get(gym, plan, stamp).await
        {
            self.counts.shared.inc();
            return Some(self.keep(gym, plan, stamp, body.into()));
        }
        self.counts.missed.inc();
        None
    }

    /// Stores a plan's JSON in both levels. Returns the entry to serve: the one already stored with this stamp, if any.
    pub fn put_plan(&self, gym: GymId, plan: PlanId, stamp: Stamp, ready: Ready) -> Ready {
        if let Some(shared) = &self.shared {
            shared.put(gym, plan, stamp, ready.body.clone());
        }
        self.keep(gym, plan, stamp, ready)
    }

    /// Stores an entry in L1, unless L1 has a newer version. Of several with the same stamp it keeps the first, so that
    /// the plan is compressed once.
    fn keep(&self, gym: GymId, plan: PlanId, stamp: Stamp, ready: Ready) -> Ready {
        match self.local.peek(&(gym, plan)) {
            Some(kept) if kept.stamp == stamp => kept.ready,
            Some(kept) if stamp.is_before(&kept.stamp) => ready,
            _ => {
                let kept = Kept {
                    stamp,
                    ready: ready.clone(),
                };
                self.local.insert((gym, plan), kept);
                ready
            }
        }
    }

    /// Hits per level, and misses.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;
    use crate::http::etag::{Epoch, Shape};

    /// The stamp of a version in one of several shapes.
    fn stamp(version: i64, way: u32) -> Stamp {
        Stamp {
            version,
            shape: Shape::of::<String>(way),
            epoch: Epoch::of("e"),
        }
    }

    #[tokio::test]
    async fn only_the_requested_version_is_served_and_the_newest_is_kept() {
        let cache = Cache::new(1 << 20, None);
        let (gym, plan) = (GymId::new(), PlanId::new());
        let (one, two) = (stamp(1, 1), stamp(2, 1));
        assert!(cache.plan(gym, plan, one).await.is_none());
        cache.put_plan(gym, plan, two, Bytes::from_static(b"two").into());
        cache.put_plan(gym, plan, one, Bytes::from_static(b"one").into());
        assert!(cache.plan(gym, plan, one).await.is_none());
        assert!(cache.plan(GymId::new(), plan, two).await.is_none());
        let two = cache.plan(gym, plan, two).await.expect("kept");
        assert_eq!(two.body().as_ref(), b"two");
        let counts = cache.counts();
        assert_eq!((counts.local.get(), counts.missed.get()), (1, 3));
    }

    #[tokio::test]
    async fn an_entry_with_another_shape_is_not_served_and_is_replaced() {
        let cache = Cache::new(1 << 20, None);
        let (gym, plan) = (GymId::new(), PlanId::new());
        cache.put_plan(gym, plan, stamp(7, 1), Bytes::from_static(b"old").into());
        assert!(cache.plan(gym, plan, stamp(7, 2)).await.is_none());
        cache.put_plan(gym, plan, stamp(3, 2), Bytes::from_static(b"new").into());
        let new = cache.plan(gym, plan, stamp(3, 2)).await.expect("kept");
        assert_eq!(new.body().as_ref(), b"new");
    }

    #[tokio::test]
    async fn the_first_level_is_bounded_in_bytes() {
        let cache = Cache::new(1 << 20, None);
        let (gym, body) = (GymId::new(), Ready::from(Bytes::from(vec![b' '; 10_000])));
        for _ in 0..1_000 {
            cache.put_plan(gym, PlanId::new(), stamp(1, 1), body.clone());
        }
        assert!(cache.local.weight() <= 1 << 20, "{}", cache.local.weight());
    }

    #[tokio::test]
    async fn a_compressed_body_is_kept_only_if_it_is_much_shorter() {
        let kept = |ready: &Ready| ready.short.kept.get().is_some();
        for length in [AT_ONCE, 10 * AT_ONCE] {
            let spaces = Ready::from(Bytes::from(vec![b' '; length]));
            assert!(spaces.clone().gzip().await.expect("a permit").len() < 100);
            assert!(kept(&spaces), "clones share it");
            let noise: Vec<u8> = (0..length).map(|_| rand::random()).collect();
            let noise = Ready::from(Bytes::from(noise));
            assert!(noise.gzip().await.expect("a permit").len() > length * 9 / 10);
            assert!(!kept(&noise));
        }
    }

    #[tokio::test]
    async fn a_long_body_is_compressed_once_and_not_on_the_calling_worker() {
        let cache = Cache::new(1 << 20, None);
        let (gym, plan) = (GymId::new(), PlanId::new());
        let (worker, made) = (std::thread::current().id(), Arc::new(AtomicUsize::new(0)));
        // Each caller has read the plan from the database.
        let answers: Vec<_> = (0..50)
            .map(|_| cache.put_plan(gym, plan, stamp(1, 1), Bytes::from(vec![b' '; 1 << 16]).into()))
            .collect();
        let asks = answers.iter().map(|ready| {
            let made = made.clone();
            ready.gzip_by(move |body| {
                assert_ne!(std::thread::current().id(), worker);
                made.fetch_add(1, Ordering::SeqCst);
                gzip(body)
            })
        });
        let short = join_all(asks).await;
        assert!(short.iter().all(|short| short.as_ref().is_ok_and(|s| s.len() < 200)));
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }
}
