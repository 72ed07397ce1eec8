//! Rate limits: a token bucket.

use tokio::time::Instant;

/// A token bucket: refills at a constant rate, up to its burst size.
#[derive(Debug)]
pub struct Pace {
    per_second: f64,
    at_once: f64,
    left: f64,
    at: Instant,
}

impl Pace {
    /// Creates a full bucket.
    #[must_use]
    pub fn new(per_second: u32, at_once: u32) -> Self {
        Self {
            per_second: per_second.into(),
            at_once: at_once.into(),
            left: at_once.into(),
            at: Instant::now(),
        }
    }

    /// Takes tokens. If the bucket holds fewer, takes none and returns false.
    pub fn take(&mut self, tokens: usize) -> bool {
        self.take_at(tokens, Instant::now())
    }

    fn take_at(&mut self, tokens: usize, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + gained).min(self.at_once);
        self.at = now;
        // A number that does not fit into 32 bits is more than any bucket holds.
        let tokens = u32::try_from(tokens).map_or(f64::INFINITY, f64::from);
        if tokens > self.left {
            return false;
        }
        self.left -= tokens;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn after_a_burst_the_rate_limits_what_passes() {
        let mut pace = Pace::new(10, 30);
        let start = pace.at;
        let after = |ms| start + Duration::from_millis(ms);
        assert!(pace.take_at(30, after(0)));
        assert!(!pace.take_at(1, after(0)));
        assert!(!pace.take_at(2, after(150)));
        assert!(pace.take_at(1, after(150)));
        assert!(pace.take_at(5, after(650)));
        assert!(!pace.take_at(31, after(60_000)), "the bucket holds at most 30");
        assert!(pace.take_at(30, after(60_000)));
        assert!(!pace.take_at(usize::MAX, after(90_000)));
    }
}
