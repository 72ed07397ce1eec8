//! Answers that are ready to be sent, in two levels: L1 in this process, bounded in bytes, and L2 in Redis, where nodes share
//! them for 300 s. An answer is kept with its [`Stamp`]: the version of what it shows, how it is written, and the epoch. Whoever asks names
//! the version that the database has just told together with the right to see it, so an answer that is out of date, written by
//! another release, or not for the caller, cannot be served; what a write leaves behind is only memory.

mod shared;

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus_client::metrics::counter::Counter;
use quick_cache::Weighter;

use crate::http::etag::Stamp;
use crate::ids::{GymId, PlanId};
use shared::Shared;

/// A compressed answer is kept where it is so many times shorter; room for it is counted from the beginning.
const SHORTER: usize = 4;
/// What an entry of L1 costs besides its bytes, about.
const ENTRY: u64 = 128;
/// The length of plans as JSON, about: a plan of 7 days, 5 meals and 4 items is this long.
const USUAL: u64 = 64 * 1024;

/// An answer that is ready to be sent, also in short.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    body: Bytes,
    /// The same, compressed when somebody first asks for it so.
    gzipped: Arc<OnceLock<Bytes>>,
}

impl From<Bytes> for Ready {
    fn from(body: Bytes) -> Self {
        Self {
            body,
            gzipped: Arc::default(),
        }
    }
}

impl Ready {
    /// As it is.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Compressed (RFC 1952), where it was before.
    #[must_use]
    pub fn kept_gzip(&self) -> Option<&Bytes> {
        self.gzipped.get()
    }

    /// Compressed. What does not become much shorter is not kept, since it would not be counted.
    #[must_use]
    pub fn gzip(&self) -> Bytes {
        if let Some(kept) = self.gzipped.get() {
            return kept.clone();
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // Writing to memory does not fail.
        let _ = encoder.write_all(&self.body);
        let short = Bytes::from(encoder.finish().unwrap_or_default());
        if short.len() <= self.body.len() / SHORTER {
            return self.gzipped.get_or_init(|| short).clone();
        }
        short
    }
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
            let ready = Ready::from(body);
            self.keep(gym, plan, stamp, ready.clone());
            return Some(ready);
        }
        self.counts.missed.inc();
        None
    }

    /// Keeps a plan's JSON in both levels.
    pub fn put_plan(&self, gym: GymId, plan: PlanId, stamp: Stamp, ready: Ready) {
        if let Some(shared) = &self.shared {
            shared.put(gym, plan, stamp, ready.body.clone());
        }
        self.keep(gym, plan, stamp, ready);
    }

    /// An answer that was long on its way does not take the place of a newer one.
    fn keep(&self, gym: GymId, plan: PlanId, stamp: Stamp, ready: Ready) {
        let newer = |kept: Kept| stamp.is_before(&kept.stamp);
        if !self.local.peek(&(gym, plan)).is_some_and(newer) {
            self.local.insert((gym, plan), Kept { stamp, ready });
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

    #[test]
    fn what_is_compressed_is_kept_only_where_it_is_much_shorter() {
        let spaces = Ready::from(Bytes::from(vec![b' '; 10_000]));
        assert!(spaces.clone().gzip().len() < 100);
        assert!(spaces.kept_gzip().is_some(), "for all who have it");
        let noise: Vec<u8> = (0..10_000).map(|_| rand::random()).collect();
        let noise = Ready::from(Bytes::from(noise));
        assert!(noise.gzip().len() > 9_000);
        assert!(noise.kept_gzip().is_none());
    }
}
