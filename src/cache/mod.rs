//! Answers that are ready to be sent, in two levels: L1 in this process, bounded in bytes, and L2 in Redis, where nodes share
//! them for 300 s. An answer is kept with its [`Stamp`]: the version of what it shows, how it is written, and the epoch. Whoever asks names
//! the version that the database has just told together with the right to see it, so an answer that is out of date, written by
//! another release, or not for the caller, cannot be served; what a write leaves behind is only memory.

mod shared;

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
use shared::Shared;

/// A compressed answer is kept where it is so many times shorter; room for it is counted from the beginning.
const SHORTER: usize = 4;
/// What an entry of L1 costs besides its bytes, about.
const ENTRY: u64 = 128;
/// The length of plans as JSON, about: a plan of 7 days, 5 meals and 4 items is this long.
const USUAL: u64 = 64 * 1024;

/// An answer of so many bytes is compressed in less time than it takes to hand it to another thread and back, about.
const AT_ONCE: usize = 4 * 1024;

/// Answers that may be compressed at the same time.
static TURNS: LazyLock<Turns> = LazyLock::new(|| Turns::new(Code::Busy));

/// An answer that is ready to be sent, also in short. Clones share what was compressed.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    body: Bytes,
    short: Arc<Short>,
}

/// An answer compressed, once somebody has asked for it so.
#[derive(Debug, Default)]
struct Short {
    kept: OnceLock<Bytes>,
    /// Held by who compresses; the others wait for what it makes.
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
    /// As it is.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Compressed (RFC 1952), a long one on another thread and once for all who ask at the same time. What does not become
    /// much shorter is not kept, since it would not be counted.
    ///
    /// # Errors
    /// 503 where it is not this one's turn in time.
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

/// A plan as JSON, of one stamp.
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

/// How often each level had what it was asked for.
#[derive(Debug, Default)]
pub struct Counts {
    /// L1 had it.
    pub local: Counter,
    /// L2 had it.
    pub shared: Counter,
    /// Neither had it.
    pub missed: Counter,
}

/// Plans as JSON.
pub struct Cache {
    local: quick_cache::sync::Cache<(GymId, PlanId), Kept, ByBytes>,
    shared: Option<Shared>,
    counts: Counts,
}

impl Cache {
    /// A cache with at most `bytes` in L1, and an L2 where `redis_url` names a server. Redis Cluster is left to the
    /// broker: there L1 stands alone.
    ///
    /// # Errors
    /// A URL that cannot be read.
    pub fn new(bytes: u64, redis_url: Option<&str>) -> anyhow::Result<Self> {
        let entries = usize::try_from(bytes / USUAL).unwrap_or(usize::MAX).max(16);
        Ok(Self {
            local: quick_cache::sync::Cache::with_weighter(entries, bytes, ByBytes),
            shared: redis_url.map(Shared::new).transpose()?.flatten(),
            counts: Counts::default(),
        })
    }

    /// A plan's JSON of this stamp, where a level has it.
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

    /// Keeps a plan's JSON in both levels, and returns what is kept of this stamp.
    pub fn put_plan(&self, gym: GymId, plan: PlanId, stamp: Stamp, ready: Ready) -> Ready {
        if let Some(shared) = &self.shared {
            shared.put(gym, plan, stamp, ready.body.clone());
        }
        self.keep(gym, plan, stamp, ready)
    }

    /// An answer that was long on its way does not take the place of a newer one, and of those that were made at the same time
    /// the first stays, so that it is compressed once.
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

    /// How often each level had what it was asked for.
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

    /// A version of a plan, written in one of several ways.
    fn stamp(version: i64, way: u32) -> Stamp {
        Stamp {
            version,
            shape: Shape::of::<String>(way),
            epoch: Epoch::of("e"),
        }
    }

    #[tokio::test]
    async fn only_the_version_that_is_asked_for_is_served_and_the_newest_is_kept() {
        let cache = Cache::new(1 << 20, None).expect("a cache");
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
    async fn what_was_written_in_another_way_is_not_served_and_makes_room() {
        let cache = Cache::new(1 << 20, None).expect("a cache");
        let (gym, plan) = (GymId::new(), PlanId::new());
        cache.put_plan(gym, plan, stamp(7, 1), Bytes::from_static(b"old").into());
        assert!(cache.plan(gym, plan, stamp(7, 2)).await.is_none());
        cache.put_plan(gym, plan, stamp(3, 2), Bytes::from_static(b"new").into());
        let new = cache.plan(gym, plan, stamp(3, 2)).await.expect("kept");
        assert_eq!(new.body().as_ref(), b"new");
    }

    #[tokio::test]
    async fn the_first_level_is_bounded_in_bytes() {
        let cache = Cache::new(1 << 20, None).expect("a cache");
        let (gym, body) = (GymId::new(), Ready::from(Bytes::from(vec![b' '; 10_000])));
        for _ in 0..1_000 {
            cache.put_plan(gym, PlanId::new(), stamp(1, 1), body.clone());
        }
        assert!(cache.local.weight() <= 1 << 20, "{}", cache.local.weight());
    }

    #[tokio::test]
    async fn what_is_compressed_is_kept_only_where_it_is_much_shorter() {
        let kept = |ready: &Ready| ready.short.kept.get().is_some();
        for length in [AT_ONCE, 10 * AT_ONCE] {
            let spaces = Ready::from(Bytes::from(vec![b' '; length]));
            assert!(spaces.clone().gzip().await.expect("its turn").len() < 100);
            assert!(kept(&spaces), "for all who have it");
            let noise: Vec<u8> = (0..length).map(|_| rand::random()).collect();
            let noise = Ready::from(Bytes::from(noise));
            assert!(noise.gzip().await.expect("its turn").len() > length * 9 / 10);
            assert!(!kept(&noise));
        }
    }

    #[tokio::test]
    async fn a_long_answer_is_compressed_once_and_not_by_the_worker_that_asks() {
        let cache = Cache::new(1 << 20, None).expect("a cache");
        let (gym, plan) = (GymId::new(), PlanId::new());
        let (worker, made) = (std::thread::current().id(), Arc::new(AtomicUsize::new(0)));
        // Read from the database by each of them.
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
