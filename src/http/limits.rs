//! Limits on attempts per key in a time window, such as uses of a link. Each node counts for itself, in memory,
//! and drops the keys whose windows have ended.

use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use dashmap::DashMap;

use crate::error::{Code, Error, Result};

/// Number of new windows after which the keys with ended windows are dropped.
const SWEEP_EVERY: usize = 1024;

/// A number of attempts in a window.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Number of attempts.
    pub attempts: u32,
    /// Length of the window, which begins with the first attempt.
    pub window: TimeDelta,
}

struct Window {
    ends_at: DateTime<Utc>,
    used: u32,
}

/// Counters by key.
#[derive(Default)]
pub struct Limits {
    windows: DashMap<String, Window>,
    inserts: AtomicUsize,
}

impl Limits {
    /// Counts an attempt.
    ///
    /// # Errors
    /// [`Code::TooMany`] with the seconds to wait, if the window has no attempts left.
    pub fn take(&self, key: &str, limit: Limit, now: DateTime<Utc>) -> Result<()> {
        if let Some(mut window) = self.windows.get_mut(key)
            && window.ends_at > now
        {
            if window.used >= limit.attempts {
                let seconds = (window.ends_at - now).num_seconds() + 1;
                return Err(Error::new(Code::TooMany).with("seconds", seconds));
            }
            window.used += 1;
            return Ok(());
        }
        self.windows.insert(
            key.to_owned(),
            Window {
                ends_at: now + limit.window,
                used: 1,
            },
        );
        if self.inserts.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.windows.retain(|_, w| w.ends_at > now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_allows_as_many_attempts_as_its_limit() {
        let limits = Limits::default();
        let limit = Limit {
            attempts: 2,
            window: TimeDelta::seconds(10),
        };
        let start = DateTime::UNIX_EPOCH;
        assert!(limits.take("a", limit, start).is_ok());
        assert!(limits.take("a", limit, start).is_ok());
        assert_eq!(limits.take("a", limit, start).expect_err("over").code, Code::TooMany);
        assert!(limits.take("b", limit, start).is_ok());
        assert!(limits.take("a", limit, start + TimeDelta::seconds(11)).is_ok());
    }
}
