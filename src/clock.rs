//! Time as a dependency: handlers and jobs ask [`Clock`], never the system, so that tests can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;

/// The system's clock, shifted by an offset that is zero outside tests.
#[derive(Clone, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The present instant.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn now(&self) -> DateTime<Utc> {
        // Postgres keeps microseconds; what is returned must equal what is read back.
        let now = Utc::now() + TimeDelta::milliseconds(self.offset_ms.load(Ordering::Relaxed));
        DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
    }

    /// Moves this clock, and all clones of it, forward.
    pub fn advance(&self, by: TimeDelta) {
        self.offset_ms.fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }
}

/// The day that `instant` belongs to in `zone`, where a day begins `day_start` minutes after midnight: a snack at 01:30
/// still belongs to yesterday in a gym whose day starts at 04:00.
#[must_use]
pub fn local_day(instant: DateTime<Utc>, zone: Tz, day_start: i32) -> NaiveDate {
    let local = instant.with_timezone(&zone).naive_local();
    (local - TimeDelta::minutes(day_start.into())).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_the_gyms_hour_in_the_members_zone() {
        let zone: Tz = "Europe/Madrid".parse().expect("a zone");
        let instant = "2026-06-10T00:30:00Z".parse().expect("an instant"); // 02:30 in Madrid
        assert_eq!(local_day(instant, zone, 0).to_string(), "2026-06-10");
        assert_eq!(local_day(instant, zone, 240).to_string(), "2026-06-09");
    }

    #[test]
    fn the_day_of_the_clock_change_is_one_day() {
        let zone: Tz = "Europe/Madrid".parse().expect("a zone");
        for instant in ["2026-10-24T22:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T22:59:00Z"] {
            assert_eq!(
                local_day(instant.parse().expect("an instant"), zone, 0).to_string(),
                "2026-10-25"
            );
        }
    }
}
