//! Answers that are ready to be sent, in two levels: L1 in this process, bounded in bytes, and L2 in Redis, where nodes share
//! them for 300 s. An answer is kept with the version of what it shows. Whoever asks names the version that the database
//! has just told together with the right to see it, so an answer that is out of date, or not for the caller, cannot be
//! served; what a write leaves behind is only memory.

mod shared;

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quick_cache::Weighter;

use crate::ids::{GymId, PlanId};
use shared::Shared;

/// What an entry of L1 costs besides its bytes, about.
const ENTRY: u64 = 128;
/// The length of plans as JSON, about: a plan of 7 days, 5 meals and 4 items is this long.
const USUAL: u64 = 64 * 1024;

/// A plan as JSON, in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    version: i64,
    body: Bytes,
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<(GymId, PlanId), Kept> for ByBytes {
    fn weight(&self, _: &(GymId, PlanId), kept: &Kept) -> u64 {
        ENTRY + kept.body.len() as u64
    }
}

/// How often each level had what it was asked for.
#[derive(Debug, Default)]
pub struct Counts {
    /// L1 had it.
    pub local: AtomicU64,
    /// L2 had it.
    pub shared: AtomicU64,
    /// Neither had it.
    pub missed: AtomicU64,
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

    /// A plan's JSON in this version, where a level has it.
    pub async fn plan(&self, gym: GymId, plan: PlanId, version: i64) -> Option<Bytes> {
        let count = |n: &AtomicU64| n.fetch_add(1, Ordering::Relaxed);
        let local = self.local.get(&(gym, plan)).filter(|kept| kept.version == version);
        if let Some(kept) = local {
            count(&self.counts.local);
            return Some(kept.body);
        }
        if let Some(shared) = &self.shared
            && let Some(body) = shared.get(gym, plan, version).await
        {
            count(&self.counts.shared);
            self.keep(gym, plan, version, body.clone());
            return Some(body);
        }
        count(&self.counts.missed);
        None
    }

    /// Keeps a plan's JSON in both levels.
    pub fn put_plan(&self, gym: GymId, plan: PlanId, version: i64, body: Bytes) {
        if let Some(shared) = &self.shared {
            shared.put(gym, plan, version, body.clone());
        }
        self.keep(gym, plan, version, body);
    }

    /// An answer that was long on its way does not take the place of a newer one.
    fn keep(&self, gym: GymId, plan: PlanId, version: i64, body: Bytes) {
        let newer = |kept: Kept| kept.version > version;
        if !self.local.peek(&(gym, plan)).is_some_and(newer) {
            self.local.insert((gym, plan), Kept { version, body });
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

    #[tokio::test]
    async fn only_the_version_that_is_asked_for_is_served_and_the_newest_is_kept() {
        let cache = Cache::new(1 << 20, None).expect("a cache");
        let (gym, plan) = (GymId::new(), PlanId::new());
        assert_eq!(cache.plan(gym, plan, 1).await, None);
        cache.put_plan(gym, plan, 2, Bytes::from_static(b"two"));
        cache.put_plan(gym, plan, 1, Bytes::from_static(b"one"));
        assert_eq!(cache.plan(gym, plan, 1).await, None);
        assert_eq!(cache.plan(GymId::new(), plan, 2).await, None);
        assert_eq!(cache.plan(gym, plan, 2).await, Some(Bytes::from_static(b"two")));
        let counts = cache.counts();
        assert_eq!(
            (
                counts.local.load(Ordering::Relaxed),
                counts.missed.load(Ordering::Relaxed)
            ),
            (1, 3)
        );
    }

    #[tokio::test]
    async fn the_first_level_is_bounded_in_bytes() {
        let cache = Cache::new(1 << 20, None).expect("a cache");
        let (gym, body) = (GymId::new(), Bytes::from(vec![b' '; 10_000]));
        for _ in 0..1_000 {
            cache.put_plan(gym, PlanId::new(), 1, body.clone());
        }
        assert!(cache.local.weight() <= 1 << 20, "{}", cache.local.weight());
    }
}
