//! Which of the records that other nodes renew in Redis are fresh. A MAC does not tell whether a record was put back: this
//! module does. Pure; the time is an input.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant, SystemTime};

/// How far the clocks of two nodes may be apart.
const SKEW: Duration = Duration::from_secs(30);

/// One moment on the monotonic clock, and on the system's clock in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub instant: Instant,
    pub milliseconds: u64,
}

impl Moment {
    /// The present. The injected clock is the product's; leases concern running processes.
    pub fn now() -> Self {
        let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            instant: Instant::now(),
            milliseconds: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The time on the system's clock after this much more time.
    pub fn plus(self, time: Duration) -> u64 {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.saturating_add(time)
    }
}

/// Recognises replays of records that their writer renews: an expiry that is lower than one seen before is a replay,
/// and one that has not risen for longer than the records are valid is no longer renewed. Clocks of nodes matter only
/// for the first record of a writer, and may then be 30 s apart.
pub(crate) struct Freshness<K> {
    /// How long a record is valid without renewal.
    valid: Duration,
    /// The highest expiry of each writer, and when it was first seen.
    seen: HashMap<K, (u64, Instant)>,
}

impl<K: Eq + Hash> Freshness<K> {
    pub fn new(valid: Duration) -> Self {
        Self {
            valid,
            seen: HashMap::new(),
        }
    }

    /// True if the record with this expiry is the writer's latest, and is valid.
    pub fn accepts(&mut self, writer: K, expires: u64, now: Moment) -> bool {
        let known = self.seen.get(&writer);
        match known {
            Some((latest, _)) if expires < *latest => false,
            Some((latest, since)) if expires == *latest => now.instant.duration_since(*since) <= self.valid,
            _ => {
                let skew = u64::try_from(SKEW.as_millis()).unwrap_or(u64::MAX);
                let plausible =
                    expires.saturating_add(skew) > now.milliseconds && expires <= now.plus(self.valid + SKEW);
                if plausible {
                    self.seen.insert(writer, (expires, now.instant));
                }
                plausible
            }
        }
    }

    /// Forgets writers whose last record is so old that it would be refused as a first one.
    pub fn forget_old(&mut self, now: Moment) {
        let kept = self.valid + 3 * SKEW;
        self.seen
            .retain(|_, (_, since)| now.instant.duration_since(*since) <= kept);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_record_counts_after_a_later_one_of_its_writer(
            expiries in prop::collection::vec(0_u64..120_000, 1..30),
            step in 0_u64..5_000,
        ) {
            let (mut fresh, began, mut latest) = (Freshness::new(Duration::from_secs(4)), Instant::now(), None);
            for (n, expires) in expiries.iter().map(|offset| 940_000 + offset).enumerate() {
                let passed = step * n as u64;
                let now = Moment {
                    instant: began + Duration::from_millis(passed),
                    milliseconds: 1_000_000 + passed,
                };
                fresh.forget_old(now);
                if fresh.accepts((), expires, now) {
                    prop_assert!(latest <= Some(expires));
                    prop_assert!(expires + 30_000 > now.milliseconds - 4_000 && expires <= now.milliseconds + 34_000);
                    latest = Some(expires);
                }
            }
        }
    }

    #[test]
    fn renewed_records_count_and_replayed_ones_do_not() {
        let mut fresh = Freshness::new(Duration::from_secs(4));
        let start = Instant::now();
        let at = |seconds: u64| Moment {
            instant: start + Duration::from_secs(seconds),
            milliseconds: (1_000 + seconds) * 1_000,
        };
        let expiry = |written: u64| at(written).plus(Duration::from_secs(4));
        assert!(fresh.accepts('a', expiry(0), at(0)));
        assert!(fresh.accepts('a', expiry(1), at(1)));
        assert!(!fresh.accepts('a', expiry(0), at(1)), "an earlier record");
        assert!(fresh.accepts('a', expiry(1), at(5)), "still valid");
        assert!(!fresh.accepts('a', expiry(1), at(6)), "no longer renewed");
        assert!(fresh.accepts('a', expiry(7), at(7)), "renewed again");
        assert!(!fresh.accepts('b', expiry(0), at(60)), "another node's old record");
        assert!(!fresh.accepts('b', expiry(1_000_000), at(60)), "from the far future");
        fresh.forget_old(at(600));
        assert!(
            !fresh.accepts('a', expiry(7), at(600)),
            "forgotten, and too old for a first record"
        );
        assert!(fresh.seen.is_empty());
    }
}
