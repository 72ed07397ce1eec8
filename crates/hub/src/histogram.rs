//! A histogram of durations, counted by relaxed atomics: the measured path takes no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets in seconds; one more bucket counts longer durations.
const BOUNDS: [f64; 15] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// See the module.
#[derive(Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_nanoseconds: AtomicU64,
}

/// A copy of a histogram's counts.
pub struct Observed {
    /// Each bucket's upper bound in seconds and its count; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all observed durations, in seconds.
    pub sum: f64,
    /// Number of observed durations.
    pub count: u64,
}

impl Histogram {
    /// Counts a duration `times` times.
    pub fn observe(&self, took: Duration, times: u64) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(times, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanoseconds
            .fetch_add(nanoseconds.saturating_mul(times), Ordering::Relaxed);
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn read(&self) -> Observed {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        Observed {
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
            sum: Duration::from_nanos(self.sum_nanoseconds.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_lowest_bucket_that_fits() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(100), 1);
        histogram.observe(Duration::from_micros(101), 3);
        histogram.observe(Duration::from_mins(1), 1);
        let observed = histogram.read();
        let counted: Vec<_> = observed.buckets.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [&(0.000_1, 1), &(0.000_25, 3), &(f64::INFINITY, 1)]);
        assert_eq!(observed.count, 5);
        assert!((observed.sum - 60.000_403).abs() < 1e-9, "{}", observed.sum);
    }
}
