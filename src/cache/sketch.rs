//! Leaky buckets by key in fixed memory: a count-min sketch. Each key has one cell in each of four rows; a unit is added
//! to all four, and the emptiest of them tells the key's level. Keys that share a cell add up, so a level may be too
//! high, never too low: nobody can push a key out by sending many others, as in a table with a bounded number of keys.
//!
//! A cell is the instant at which its bucket will be empty, so it drains without any work. With 65,536 cells a row, a
//! bucket that drains one unit in 90 s stays nearly empty under 100 other units a second: 0.14 units at a time on
//! average, in each of four cells.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A key: the first bytes of a MAC, so that nobody can choose keys that share cells.
pub type Tag = [u8; 16];

const ROWS: usize = 4;
/// Cells of a row; with four bytes each, a sketch has 1 MiB.
const CELLS: usize = 1 << 16;
/// Milliseconds of a tick, the unit of a cell: 13 years fit.
const TICK_MS: u64 = 100;

/// How a bucket fills and drains.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Units that it holds.
    pub holds: u32,
    /// The time in which one unit drains.
    pub drains: Duration,
}

impl Bucket {
    /// The time in which a full one drains.
    #[must_use]
    pub fn full(self) -> Duration {
        self.drains * self.holds
    }
}

/// The buckets of all keys.
pub struct Sketch {
    bucket: Bucket,
    cells: Box<[AtomicU32]>,
}

impl Sketch {
    /// Empty buckets.
    #[must_use]
    pub fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            cells: std::iter::repeat_with(AtomicU32::default).take(ROWS * CELLS).collect(),
        }
    }

    /// The cells of a key, one in each row.
    fn of(&self, tag: &Tag) -> [&AtomicU32; ROWS] {
        let (parts, _) = tag.as_chunks::<4>();
        std::array::from_fn(|row| {
            let hash = u32::from_le_bytes(parts[row]) as usize;
            &self.cells[row * CELLS + hash % CELLS]
        })
    }

    /// Adds a unit to a key's bucket. `now` is the time since any fixed instant, the same for all calls.
    ///
    /// # Errors
    /// The time until it has room, if the bucket is full. Then nothing was added.
    pub fn add(&self, tag: &Tag, now: Duration) -> Result<(), Duration> {
        let (now, unit) = (ticks(now), ticks(self.bucket.drains));
        let added = self.of(tag).map(|cell| {
            let more = |empty_at: u32| empty_at.max(now).saturating_add(unit);
            more(
                cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| Some(more(at)))
                    .unwrap_or_else(|at| at),
            )
        });
        let level = added.into_iter().min().unwrap_or(now) - now;
        let over = level.saturating_sub(ticks(self.bucket.full()));
        if over == 0 {
            return Ok(());
        }
        // Concurrent callers may each see the other's unit before it is removed: both are refused then, and none passes
        // that should not.
        self.remove(tag);
        Err(Duration::from_millis(u64::from(over) * TICK_MS))
    }

    /// Removes a unit that [`Self::add`] added a moment ago. What drained meanwhile is removed as well, from whoever
    /// shares a cell: some seconds of many.
    pub fn remove(&self, tag: &Tag) {
        let unit = ticks(self.bucket.drains);
        for cell in self.of(tag) {
            let less = |empty_at: u32| Some(empty_at.saturating_sub(unit));
            let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}

fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / u128::from(TICK_MS)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEN: Bucket = Bucket {
        holds: 10,
        drains: Duration::from_secs(90),
    };

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_bucket_holds_its_units_and_drains_one_at_a_time() {
        let sketch = Sketch::new(TEN);
        let start = seconds(1_000);
        for _ in 0..10 {
            sketch.add(&[7; 16], start).expect("room");
        }
        assert_eq!(sketch.add(&[7; 16], start), Err(seconds(90)));
        assert_eq!(sketch.add(&[7; 16], start + seconds(89)), Err(seconds(1)));
        sketch.add(&[7; 16], start + seconds(90)).expect("room for one");
        assert_eq!(sketch.add(&[7; 16], start + seconds(90)), Err(seconds(90)));
        sketch.add(&[8; 16], start).expect("another key");
        sketch.remove(&[7; 16]);
        sketch.add(&[7; 16], start + seconds(90)).expect("room for one");
        for _ in 0..10 {
            sketch.add(&[7; 16], start + seconds(990)).expect("empty again");
        }
    }

    #[test]
    fn many_other_keys_neither_empty_a_bucket_nor_fill_one() {
        let sketch = Sketch::new(TEN);
        let victim: Tag = rand::random();
        for _ in 0..10 {
            sketch.add(&victim, seconds(0)).expect("room");
        }
        // 100 a second for a quarter of an hour, each from a stranger.
        for n in 0..90_000_u64 {
            let _ = sketch.add(&rand::random(), Duration::from_millis(n * 10));
            if n % 1_000 == 0 && n * 10 < 90_000 {
                assert!(sketch.add(&victim, Duration::from_millis(n * 10)).is_err(), "{n}");
            }
        }
        let full = (0..10_000).filter(|_| {
            let tag: Tag = rand::random();
            (0..8).any(|_| sketch.add(&tag, seconds(900)).is_err())
        });
        assert_eq!(full.count(), 0, "buckets of strangers are nearly full");
    }

    #[test]
    fn concurrent_units_never_exceed_a_bucket() {
        let sketch = Sketch::new(TEN);
        let added: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..50).filter(|_| sketch.add(&[1; 16], seconds(5)).is_ok()).count()))
                .collect();
            threads.into_iter().map(|t| t.join().expect("joined")).sum()
        });
        assert!((1..=10).contains(&added), "{added}");
        // Refused units were removed again.
        let left = (0..20).filter(|_| sketch.add(&[1; 16], seconds(5)).is_ok()).count();
        assert_eq!(added + left, 10);
    }

    proptest! {
        /// Against one exact bucket per key.
        #[test]
        fn a_level_is_never_too_low(adds in proptest::collection::vec((0..4_u8, 0..200_u64), 1..80)) {
            let sketch = Sketch::new(TEN);
            let (mut now, mut exact) = (1_000_u64, [0_u64; 4]);
            for (key, pause) in adds {
                now += pause;
                let empty_at = &mut exact[usize::from(key)];
                let next = (*empty_at).max(now) + 90;
                let room = next - now <= 900;
                let added = sketch.add(&[key; 16], seconds(now)).is_ok();
                prop_assert_eq!(added, room);
                if room {
                    *empty_at = next;
                }
            }
        }
    }
}
